//! The pool of cache pages: for every layer, memory for the same number of pages. Who owns which page is decided above.

use crate::region::Region;
use argand_kernels::kv::{KvSpec, KvType};
use std::io;

/// A state of a layer: its number among the states of its kind in a graph, and what it is.
pub(crate) type Numbered = (usize, argand_graph::KvSpec);

/// For each layer of a graph the cache layer of its own state and of a memory's. States of one number that are alike are one in
/// all graphs that share a cache: what one writes as memory another one recalls, and pages of one never hold tokens of the other.
pub(crate) fn place(graph: &argand_graph::Graph, all: &mut Vec<Numbered>) -> Vec<[Option<usize>; 2]> {
    let bodies = graph.repeats().flat_map(|(_, bodies, order)| order.iter().map(|b| &bodies[*b]));
    let mut counts = [0; 2];
    let of_layer = |body: &std::sync::Arc<argand_graph::Body>| {
        let mut places = [None; 2];
        for kv in body.states() {
            let kind = usize::from(kv.memory);
            let state = (counts[kind], *kv);
            places[kind] = Some(all.iter().position(|s| *s == state).unwrap_or_else(|| {
                all.push(state);
                all.len() - 1
            }));
            counts[kind] += 1;
        }
        places
    };
    bodies.map(of_layer).collect()
}

/// Pages of all layers.
pub(crate) struct Cache {
    layers: Vec<LayerCache>,
    pages: usize,
}

/// Pages of one layer.
pub(crate) struct LayerCache {
    /// What a page holds.
    pub spec: KvSpec,
    memory: Region,
}

impl Cache {
    /// Room for `pages` pages in each layer; memory is taken when a page is first written.
    ///
    /// # Errors
    /// When the system has no such room.
    pub(crate) fn new(states: &[Numbered], dtype: KvType, pages: usize) -> io::Result<Self> {
        let layer = |(_, s): &Numbered| {
            let spec = KvSpec { kv_heads: s.heads, dim_k: s.dim_k, dim_v: s.dim_v, dtype };
            let bytes = spec.page_bytes().checked_mul(pages).ok_or(io::ErrorKind::OutOfMemory)?;
            Ok(LayerCache { spec, memory: Region::sparse(bytes)? })
        };
        Ok(Cache { layers: states.iter().map(layer).collect::<io::Result<_>>()?, pages })
    }

    pub(crate) fn pages(&self) -> usize {
        self.pages
    }

    /// Bytes that one page takes over all layers.
    pub(crate) fn page_bytes(&self) -> usize {
        self.layers.iter().map(|l| l.spec.page_bytes()).sum()
    }

    pub(crate) fn layer(&self, layer: usize) -> &LayerCache {
        &self.layers[layer]
    }

    /// Copies one page onto another in every layer.
    pub(crate) fn copy(&mut self, from: u32, to: u32) {
        assert!((from as usize) < self.pages && (to as usize) < self.pages, "page {from} or {to} of {}", self.pages);
        for layer in self.layers.iter_mut().filter(|_| from != to) {
            let bytes = layer.spec.page_bytes();
            // SAFETY: both pages lie in the layer's memory and are different; nobody else has access.
            unsafe { std::ptr::copy_nonoverlapping(layer.page(from), layer.page(to), bytes) };
        }
    }
}

impl LayerCache {
    /// Where the pages begin.
    pub(crate) fn base(&self) -> *mut u8 {
        self.memory.as_ptr()
    }

    /// Where a page begins.
    pub(crate) fn page(&self, page: u32) -> *mut u8 {
        let at = page as usize * self.spec.page_bytes();
        assert!(at < self.memory.len(), "page {page} is not in the pool");
        // SAFETY: the offset is inside the region.
        unsafe { self.memory.as_ptr().add(at) }
    }
}
