//! Random weights in memory, coded as files code them.

use super::Random;
use argand_codec::Codec;
use argand_cpu::{Stored, WeightSource};
use argand_graph::{Graph, WeightRef};
use std::borrow::Cow;
use std::collections::HashMap;
use std::error::Error;

/// A coded weight and the values that it stands for.
#[derive(Clone)]
pub struct Tensor {
    pub codec: Codec,
    pub rows: usize,
    pub cols: usize,
    /// Of a stack: how many of these rows follow one another.
    pub members: usize,
    offset: f32,
    bytes: Vec<u8>,
    pub values: Vec<f64>,
}

/// Weights by canonical name.
pub struct Weights(pub HashMap<String, Tensor>);

impl Weights {
    /// All weights of a graph; `codec` says how each matrix is stored.
    pub fn random(graph: &Graph, codec: impl Fn(&str) -> Codec) -> Weights {
        let weights = graph.weights().into_iter().enumerate();
        Weights(weights.map(|(i, w)| (w.name.clone(), Tensor::random(&w, &codec, i as u64))).collect())
    }
}

impl Tensor {
    fn random(w: &WeightRef, codec: impl Fn(&str) -> Codec, seed: u64) -> Tensor {
        let mut random = Random(seed * 77 + 5);
        let (codec, rows, cols) = match w.shape.as_slice() {
            // Rows that are no whole blocks stay floats.
            [rows, cols] => {
                let coded = codec(&w.name);
                (if cols % coded.block_len() == 0 { coded } else { Codec::F32 }, *rows, *cols)
            }
            [members, rows, cols] => {
                let coded = codec(&w.name);
                (if cols % coded.block_len() == 0 { coded } else { Codec::F32 }, members * rows, *cols)
            }
            shape => (Codec::F32, 1, shape[0]),
        };
        // Some files store the weight of a norm minus one.
        let offset = if w.name.ends_with("post_norm") { 1.0 } else { 0.0 };
        let (middle, spread) = match () {
            () if w.name.ends_with("norm") => (1.0 - f64::from(offset), 0.2),
            () if w.name.ends_with("bias") => (0.0, 0.2),
            () if w.name == "token_embd" => (0.0, 1.0),
            // Keeps the variance of what is multiplied.
            () => (0.0, (3.0 / cols as f64).sqrt()),
        };
        let drawn: Vec<f32> = (0..rows * cols).map(|_| (middle + spread * random.unit()) as f32).collect();
        let mut bytes = vec![0; rows * codec.row_bytes(cols).unwrap()];
        codec.encode(&drawn, &mut bytes).unwrap();
        let mut decoded = vec![0.0; rows * cols];
        codec.decode(&bytes, &mut decoded).unwrap();
        let values = decoded.iter().map(|v| f64::from(v + offset)).collect();
        let members =
            if w.shape.len() == 3 || w.name.ends_with(".bias") && w.shape.len() == 2 { w.shape[0] } else { 1 };
        Tensor { codec, rows, cols, members, offset, bytes, values }
    }

    /// One matrix of a stack.
    pub fn member(&self, member: usize) -> Tensor {
        let rows = self.rows / self.members;
        let values = self.values[member * rows * self.cols..][..rows * self.cols].to_vec();
        let size = self.bytes.len() / self.members;
        let bytes = self.bytes[member * size..][..size].to_vec();
        Tensor { rows, members: 1, bytes, values, ..*self }
    }
}

impl WeightSource for Weights {
    fn weight(&self, name: &str) -> Result<Stored<'_>, Box<dyn Error + Send + Sync>> {
        let (name, member) = name.split_once('#').unwrap_or((name, "0"));
        let t = self.0.get(name).ok_or_else(|| format!("no weight `{name}`"))?;
        let (size, rows) = (t.bytes.len() / t.rows, t.rows / t.members);
        let first = member.parse::<usize>()? * rows;
        let row = Box::new(move |row: usize| Cow::Borrowed(&t.bytes[(first + row) * size..][..size]));
        Ok(Stored { codec: t.codec, rows, cols: t.cols, offset: t.offset, row })
    }
}
