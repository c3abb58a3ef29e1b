//! Every token, head, type and tier reads back what was written, and nothing else changes.

use super::*;
use crate::tier::Tier;

const DIMS: [(usize, usize); 6] = [(1, 1), (6, 20), (20, 6), (64, 64), (80, 96), (192, 128)];

fn value(slot: usize, head: usize, i: usize) -> f32 {
    ((slot * 131 + head * 71 + i * 37) % 257) as f32 / 16.0 - 8.0
}

#[test]
fn tokens_read_back_within_the_rounding_of_their_type() {
    for tier in Tier::supported() {
        for dtype in [KvType::F32, KvType::F16, KvType::Q8_0] {
            for (dim_k, dim_v) in DIMS {
                let spec = KvSpec { kv_heads: 3, dim_k, dim_v, dtype };
                let mut page = vec![0xFFu8; spec.page_bytes()];
                let row = |slot, head, n, salt| -> Vec<f32> { (0..n).map(|i| value(slot, head, i + salt)).collect() };
                for slot in 0..PAGE_TOKENS {
                    for head in 0..3 {
                        let (k, v) = (row(slot, head, dim_k, 0), row(slot, head, dim_v, 999));
                        // SAFETY: the page has `page_bytes` bytes.
                        unsafe { kv_write(tier, &spec, page.as_mut_ptr(), slot, head, &k, &v) };
                    }
                }
                let (mut k, mut v) = (vec![0.0; dim_k], vec![0.0; dim_v]);
                for slot in 0..PAGE_TOKENS {
                    for head in 0..3 {
                        kv_read(&spec, &page, slot, head, &mut k, &mut v);
                        let written = [row(slot, head, dim_k, 0), row(slot, head, dim_v, 999)].concat();
                        for (x, y) in k.iter().chain(&v).zip(written) {
                            // Half an ulp of 8, or half a step of 8 / 127 plus the scale's rounding.
                            let bound = match dtype {
                                KvType::F32 => 0.0,
                                KvType::F16 => 8.0 / 2048.0,
                                KvType::Q8_0 => 8.0 / 127.0 * 0.5 + 8.0 / 2048.0,
                            };
                            assert!((x - y).abs() <= bound, "{tier} {spec:?}: {x}, wrote {y}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn every_tier_writes_the_same_bytes() {
    for dtype in [KvType::F32, KvType::F16, KvType::Q8_0] {
        let spec = KvSpec { kv_heads: 2, dim_k: 80, dim_v: 20, dtype };
        let pages: Vec<Vec<u8>> = Tier::supported()
            .map(|tier| {
                let mut page = vec![0u8; spec.page_bytes()];
                let k: Vec<f32> = (0..80).map(|i| value(5, 1, i)).collect();
                // SAFETY: the page has `page_bytes` bytes.
                unsafe { kv_write(tier, &spec, page.as_mut_ptr(), 37, 1, &k, &k[..20]) };
                page
            })
            .collect();
        assert!(pages.iter().all(|page| page == &pages[0]));
    }
}

#[test]
fn huge_values_are_stored_finite() {
    let spec = KvSpec { kv_heads: 1, dim_k: 2, dim_v: 2, dtype: KvType::F16 };
    for tier in Tier::supported() {
        let mut page = vec![0u8; spec.page_bytes()];
        // SAFETY: the page has `page_bytes` bytes.
        unsafe { kv_write(tier, &spec, page.as_mut_ptr(), 0, 0, &[1e9, -1e9], &[1e6, 2.0]) };
        let (mut k, mut v) = ([0.0; 2], [0.0; 2]);
        kv_read(&spec, &page, 0, 0, &mut k, &mut v);
        assert_eq!((k, v), ([65504.0, -65504.0], [65504.0, 2.0]));
    }
}
