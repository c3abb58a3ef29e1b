//! The kernel against the reference over shapes, masks, types and tiers.

use super::reference::Reference;
use super::*;
use crate::kv::{kv_read, kv_write};
use crate::tier::Tier;
use proptest::prelude::*;

/// What a test varies.
#[derive(Clone, Debug)]
struct Case {
    spec: KvSpec,
    heads: usize,
    rows: usize,
    past: usize,
    causal: bool,
    window: Option<usize>,
    softcap: Option<f32>,
    sinks: bool,
    bias: Option<Bias>,
    seed: u32,
}

/// What is added to the scores.
#[derive(Clone, Copy, Debug)]
enum Bias {
    Slopes,
    /// A table that reaches so far.
    Table(usize),
}

/// Numbers in [-1, 1), the same for the same seed.
struct Noise(u32);

impl Noise {
    fn next(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0 as f32 / u32::MAX as f32 * 2.0 - 1.0
    }

    fn row(&mut self, len: usize, scale: f32) -> Vec<f32> {
        (0..len).map(|_| self.next() * scale).collect()
    }
}

/// Runs the case on a tier and compares every output with the reference.
fn check(tier: Tier, case: &Case) {
    let Case { spec, heads, rows, past, .. } = *case;
    let tokens = past + rows;
    let mut noise = Noise(case.seed.wrapping_mul(0x9E37_79B9) | 1);
    let page_count = tokens.div_ceil(PAGE_TOKENS);
    // Pages in reverse with a gap before each; memory that is never written holds NaN in any type.
    let stride = spec.page_bytes() + 64;
    let mut pool = vec![0xFFu8; stride * (page_count + 1)];
    let pages: Vec<u32> = (0..page_count as u32).rev().map(|page| page + 1).collect();
    let kv_head = spec.kv_heads - 1;
    let (mut keys, mut values) = (Vec::new(), Vec::new());
    for t in 0..tokens {
        let at = pages[t / PAGE_TOKENS] as usize * stride;
        let (mut k, mut v) = (noise.row(spec.dim_k, 1.0), noise.row(spec.dim_v, 2.0));
        let page = &mut pool[at..at + spec.page_bytes()];
        // SAFETY: the slice is one page.
        unsafe { kv_write(tier, &spec, page.as_mut_ptr(), t % PAGE_TOKENS, kv_head, &k, &v) };
        kv_read(&spec, page, t % PAGE_TOKENS, kv_head, &mut k, &mut v);
        keys.push(k);
        values.push(v);
    }
    let (q_stride, out_stride) = (heads * spec.dim_k + 3, heads * spec.dim_v + 5);
    let q = noise.row(rows * q_stride, 4.0);
    let sinks = noise.row(heads, 3.0);
    let scale = 1.0 / (spec.dim_k as f32).sqrt();
    let reach = if let Some(Bias::Table(reach)) = case.bias { reach } else { 0 };
    let slopes = noise.row(heads, 0.1);
    let table = noise.row(heads * (2 * reach + 1), 2.0);
    let bias = case.bias.map(|bias| match bias {
        Bias::Slopes => DistanceBias::Slopes(&slopes),
        Bias::Table(_) => DistanceBias::Table(&table),
    });
    let mut out = vec![7.0f32; rows * out_stride];
    let mut scratch = vec![f32::NAN; scratch_len(&spec, heads, rows)];
    let args = AttendArgs {
        spec: &spec,
        base: pool.as_ptr(),
        page_stride: stride,
        pages: &pages,
        kv_head,
        heads,
        q: q.as_ptr(),
        q_stride,
        rows,
        past,
        tokens,
        causal: case.causal,
        window: case.window,
        scale,
        softcap: case.softcap,
        bias,
        sinks: case.sinks.then_some(&sinks[..]),
        out: out.as_mut_ptr(),
        out_stride,
    };
    // SAFETY: the buffers above are as described.
    unsafe { attend(tier, &args, &mut scratch) };
    let reference = Reference {
        keys: &keys,
        values: &values,
        past,
        causal: case.causal,
        window: case.window,
        scale,
        softcap: case.softcap,
    };
    for r in 0..rows {
        let (q, out) = (&q[r * q_stride..], &out[r * out_stride..][..out_stride]);
        for h in 0..heads {
            let sink = case.sinks.then_some(sinks[h]);
            let bias = |distance: isize| match case.bias {
                None => 0.0,
                Some(Bias::Slopes) => slopes[h] * distance as f32,
                Some(Bias::Table(reach)) => {
                    let at = distance.clamp(-(reach as isize), reach as isize) + reach as isize;
                    table[h * (2 * reach + 1) + at as usize]
                }
            };
            let (exact, bound) = reference.attend(r, &q[h * spec.dim_k..][..spec.dim_k], sink, bias);
            for (i, y) in exact.iter().enumerate() {
                let x = f64::from(out[h * spec.dim_v + i]);
                let close = (x - y).abs() <= bound;
                assert!(close, "{tier}, row {r}, head {h}, dim {i}: {x} is not {y}: {case:?}");
            }
        }
        assert_eq!(out[heads * spec.dim_v..], [7.0; 5], "{tier}: wrote past a row");
    }
}

const SPEC: KvSpec = KvSpec { kv_heads: 2, dim_k: 64, dim_v: 64, dtype: KvType::F16 };

fn plain() -> Case {
    let (window, softcap, bias) = (None, None, None);
    Case { spec: SPEC, heads: 3, rows: 1, past: 0, causal: true, window, softcap, sinks: false, bias, seed: 1 }
}

#[test]
fn the_first_row_sees_only_itself() {
    for tier in Tier::supported() {
        check(tier, &plain());
        check(tier, &Case { window: Some(1), rows: 70, ..plain() });
    }
}

#[test]
fn whole_and_broken_pages() {
    for tier in Tier::supported() {
        for past in [1, 15, 16, 62, 63, 64, 65, 127, 300] {
            check(tier, &Case { past, ..plain() });
            check(tier, &Case { past, rows: 17, ..plain() });
        }
    }
}

#[test]
fn every_number_of_heads_has_its_kernel() {
    for tier in Tier::supported() {
        for dtype in [KvType::F32, KvType::F16, KvType::Q8_0] {
            for heads in 1..=13 {
                let spec = KvSpec { dtype, ..SPEC };
                check(tier, &Case { spec, heads, past: 90, ..plain() });
            }
        }
    }
}

/// Pages left of the window may be gone: their entries point outside the pool.
#[test]
fn pages_outside_the_window_are_not_touched() {
    let spec = KvSpec { kv_heads: 1, dim_k: 16, dim_v: 16, dtype: KvType::F16 };
    let mut page = vec![0u8; spec.page_bytes()];
    for tier in Tier::supported() {
        // SAFETY: one page.
        unsafe { kv_write(tier, &spec, page.as_mut_ptr(), 5, 0, &[1.0; 16], &[3.0; 16]) };
        let (q, mut out) = ([1.0f32; 16], [0.0f32; 16]);
        let mut scratch = vec![0.0; scratch_len(&spec, 1, 1)];
        let args = AttendArgs {
            spec: &spec,
            base: page.as_ptr(),
            page_stride: spec.page_bytes(),
            pages: &[u32::MAX, u32::MAX, 0],
            kv_head: 0,
            heads: 1,
            q: q.as_ptr(),
            q_stride: 16,
            rows: 1,
            past: 2 * PAGE_TOKENS + 5,
            tokens: 2 * PAGE_TOKENS + 6,
            causal: true,
            window: Some(1),
            scale: 1.0,
            softcap: None,
            bias: None,
            sinks: None,
            out: out.as_mut_ptr(),
            out_stride: 16,
        };
        // SAFETY: the window ends before the pages that are gone.
        unsafe { attend(tier, &args, &mut scratch) };
        assert_eq!(out, [3.0; 16]);
        // SAFETY: a row without tokens reads no page.
        unsafe { attend(tier, &AttendArgs { tokens: 0, ..args }, &mut scratch) };
        assert_eq!(out, [0.0; 16]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn attention_matches_its_definition(
        dim_k in prop::sample::select(&[1usize, 6, 20, 33, 64, 80, 96, 128, 192][..]),
        dim_v in prop::sample::select(&[1usize, 6, 20, 33, 64, 80, 96, 128][..]),
        quantised: bool,
        heads in 1usize..10,
        rows in 1usize..40,
        past in 0usize..200,
        causal: bool,
        window in prop::option::of(1usize..150),
        softcap in prop::option::of(prop::sample::select(&[2.0f32, 30.0][..])),
        sinks: bool,
        bias in prop::option::of(prop_oneof![Just(Bias::Slopes), (0usize..100).prop_map(Bias::Table)]),
        seed: u32,
    ) {
        let dtype = if quantised { KvType::Q8_0 } else { KvType::F16 };
        let spec = KvSpec { kv_heads: 2, dim_k, dim_v, dtype };
        let case = Case { spec, heads, rows, past, causal, window, softcap, sinks, bias, seed };
        for tier in Tier::supported() {
            check(tier, &case);
        }
    }
}
