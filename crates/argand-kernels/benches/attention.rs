//! Attention throughput on one thread: bytes of cache per second when decoding, arithmetic per
//! second when prefilling. `cargo bench -p argand-cpu --bench attention [TIER]`.

use argand_kernels::attention::{AttendArgs, attend, scratch_len};
use argand_kernels::kv::{KvSpec, KvType, PAGE_TOKENS, kv_write};
use argand_kernels::tier::Tier;
use std::time::Instant;

/// Key-value heads of the pool: enough that decoding streams from memory, not from caches.
const KV_HEADS: usize = 8;
/// Rows per call when prefilling.
const ROW_TILE: usize = 16;

fn main() {
    let forced = std::env::args().skip(1).find_map(|name| name.parse().ok());
    let tier: Tier = forced.unwrap_or_else(Tier::detect);
    println!("tier {tier}");
    for dtype in [KvType::F16, KvType::Q8_0] {
        for dim in [64, 128] {
            for heads in [1, 3, 4, 8] {
                for context in [2048, 8192] {
                    decode(tier, dtype, dim, heads, context);
                }
            }
            for rows in [512, 2048] {
                prefill(tier, dtype, dim, 3, rows);
            }
        }
    }
}

/// A filled pool for one layer.
struct Cache {
    spec: KvSpec,
    pool: Vec<u8>,
    pages: Vec<u32>,
}

impl Cache {
    fn new(tier: Tier, dtype: KvType, dim: usize, tokens: usize) -> Cache {
        let spec = KvSpec { kv_heads: KV_HEADS, dim_k: dim, dim_v: dim, dtype };
        let pages: Vec<u32> = (0..tokens.div_ceil(PAGE_TOKENS) as u32).collect();
        let mut pool = vec![0u8; pages.len() * spec.page_bytes()];
        let row: Vec<f32> = (0..dim).map(|i| (i * 37 % 64) as f32 / 32.0 - 1.0).collect();
        for t in 0..tokens {
            let page = &mut pool[t / PAGE_TOKENS * spec.page_bytes()..];
            for head in 0..KV_HEADS {
                // SAFETY: the slice starts at a whole page.
                unsafe { kv_write(tier, &spec, page.as_mut_ptr(), t % PAGE_TOKENS, head, &row, &row) };
            }
        }
        Cache { spec, pool, pages }
    }
}

/// Seconds of all calls that `rows` rows after `past` tokens need, over all key-value heads: the sum
/// of each call's best, so that one interruption does not spoil a whole step.
fn step(tier: Tier, cache: &Cache, heads: usize, past: usize, rows: usize) -> f64 {
    let (spec, tokens) = (&cache.spec, past + rows);
    let tile = ROW_TILE.min(rows);
    let width = heads * spec.dim_k;
    let q: Vec<f32> = (0..rows * width).map(|i| (i % 13) as f32 / 13.0).collect();
    let mut out = vec![0.0f32; rows * width];
    let mut scratch = vec![0.0; scratch_len(spec, heads, tile)];
    let mut best = vec![f64::INFINITY; KV_HEADS * rows.div_ceil(tile)];
    for _ in 0..9 {
        let mut call = best.iter_mut();
        for kv_head in 0..KV_HEADS {
            for row in (0..rows).step_by(tile) {
                let args = AttendArgs {
                    spec,
                    base: cache.pool.as_ptr(),
                    page_stride: spec.page_bytes(),
                    pages: &cache.pages,
                    kv_head,
                    heads,
                    q: q[row * width..].as_ptr(),
                    q_stride: width,
                    rows: tile.min(rows - row),
                    past: past + row,
                    tokens,
                    causal: true,
                    window: None,
                    scale: 1.0 / (spec.dim_k as f32).sqrt(),
                    softcap: None,
                    bias: None,
                    sinks: None,
                    out: out[row * width..].as_mut_ptr(),
                    out_stride: width,
                };
                let start = Instant::now();
                // SAFETY: the buffers hold these rows, and the cache all tokens.
                unsafe { attend(tier, &args, &mut scratch) };
                let seconds = start.elapsed().as_secs_f64();
                if let Some(best) = call.next() {
                    *best = best.min(seconds);
                }
            }
        }
    }
    best.iter().sum()
}

fn decode(tier: Tier, dtype: KvType, dim: usize, heads: usize, context: usize) {
    let cache = Cache::new(tier, dtype, dim, context);
    let seconds = step(tier, &cache, heads, context - 1, 1);
    let rate = cache.pool.len() as f64 / seconds / 1e9;
    println!("decode  {dtype:?} dim {dim} heads {heads} context {context}: {rate:.1} GB/s");
}

fn prefill(tier: Tier, dtype: KvType, dim: usize, heads: usize, rows: usize) {
    let cache = Cache::new(tier, dtype, dim, rows);
    let seconds = step(tier, &cache, heads, 0, rows);
    let pairs = KV_HEADS * heads * rows * (rows + 1) / 2;
    let rate = (pairs * 4 * dim) as f64 / seconds / 1e9;
    println!("prefill {dtype:?} dim {dim} heads {heads} rows {rows}: {rate:.1} GFLOP/s");
}
