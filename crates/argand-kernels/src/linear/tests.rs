//! Products against `f64` sums over what the codec decodes, on every tier that this machine runs.

use super::*;
use crate::packed::PackedMatrix;
use crate::tier::Tier;
use argand_codec::Codec;

const EPSILON: f64 = f32::EPSILON as f64 / 2.0;

/// A small multiplicative generator: tests need spread, not quality.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as u32
    }

    /// Uniform in -1..1.
    fn unit(&mut self) -> f32 {
        self.next() as f32 / (1u32 << 30) as f32 - 1.0
    }
}

/// Offsets of the `f16` factors of a block.
fn factors_of(codec: Codec) -> &'static [usize] {
    match codec {
        Codec::Q8_0 | Codec::Q4_0 | Codec::Q5_0 | Codec::Iq4Nl | Codec::Iq4Xs => &[0],
        Codec::Q4_1 | Codec::Q5_1 | Codec::Q4K | Codec::Q5K => &[0, 2],
        Codec::Q2K => &[80, 82],
        Codec::Q3K => &[108],
        Codec::Q6K => &[208],
        Codec::Mxfp4 | Codec::F32 | Codec::F16 | Codec::BF16 => &[],
    }
}

fn block_codecs() -> impl Iterator<Item = Codec> {
    Codec::ALL.iter().copied().filter(|codec| codec.block_len() > 1)
}

/// A weight in its file form, and what it decodes to.
struct Weight {
    codec: Codec,
    rows: usize,
    cols: usize,
    bytes: Vec<u8>,
    values: Vec<f32>,
}

impl Weight {
    /// Random levels and sub-scales from `byte`; `f16` factors and exponents from `factor`.
    fn new(
        codec: Codec,
        rows: usize,
        cols: usize,
        mut byte: impl FnMut() -> u8,
        mut factor: impl FnMut() -> f32,
    ) -> Weight {
        let mut bytes = vec![0; rows * codec.row_bytes(cols).unwrap()];
        for block in bytes.chunks_mut(codec.block_bytes()) {
            match codec {
                Codec::F32 => block.copy_from_slice(&factor().to_le_bytes()),
                Codec::F16 => block.copy_from_slice(&half::f16::from_f32(factor()).to_le_bytes()),
                Codec::BF16 => block.copy_from_slice(&half::bf16::from_f32(factor()).to_le_bytes()),
                _ => block.fill_with(&mut byte),
            }
            for &at in factors_of(codec) {
                block[at..at + 2].copy_from_slice(&half::f16::from_f32(factor()).to_le_bytes());
            }
            if codec == Codec::Mxfp4 {
                block[0] = (128.0 + factor().abs().log2().round()) as u8;
            }
        }
        let mut values = vec![0.0; rows * cols];
        codec.decode(&bytes, &mut values).unwrap();
        Weight { codec, rows, cols, bytes, values }
    }

    fn random(codec: Codec, rows: usize, cols: usize, seed: u64) -> Weight {
        let (mut bytes, mut factors) = (Random(seed), Random(seed ^ 7));
        Weight::new(codec, rows, cols, || bytes.next() as u8, || factors.unit() / 16.0)
    }

    fn row(&self, row: usize) -> &[u8] {
        let size = self.bytes.len() / self.rows;
        &self.bytes[row * size..][..size]
    }

    fn pack(&self, tier: Tier) -> PackedMatrix {
        PackedMatrix::pack(tier, self.codec, self.rows, self.cols, |row| self.row(row)).unwrap()
    }

    fn values_of(&self, row: usize) -> impl Iterator<Item = f64> {
        self.values[row * self.cols..][..self.cols].iter().map(|&w| f64::from(w))
    }
}

/// Quantised rows in aligned memory.
struct Quantised {
    layout: ActLayout,
    blocks: Vec<ActBlock>,
}

impl Quantised {
    fn of(tier: Tier, x: &[f32], cols: usize, terms: usize) -> Quantised {
        let (layout, rows) = (ActLayout::new(cols, terms), x.len() / cols);
        let mut blocks = vec![ActBlock::default(); rows * layout.stride];
        // SAFETY: `x` has the rows, `blocks` the layout's size.
        unsafe { quantize_rows(tier, x.as_ptr(), cols, 0..rows, cols, layout, blocks.as_mut_ptr()) };
        Quantised { layout, blocks }
    }

    /// Activations that are integers of scale 1, from -127 to 127.
    fn integers(rows: usize, cols: usize, mut q: impl FnMut() -> i8) -> Quantised {
        let layout = ActLayout::new(cols, 1);
        let mut x = vec![0.0; rows * cols];
        x.fill_with(|| f32::from(q()));
        let mut quantised = Quantised { layout, blocks: vec![ActBlock::default(); rows * layout.stride] };
        for (t, x) in x.chunks(cols).enumerate() {
            for (b, x) in x.chunks(32).enumerate() {
                quantised.blocks[t * layout.stride + b] = block_of(x, 1.0);
            }
        }
        quantised
    }

    fn acts(&self) -> Acts {
        Acts { data: self.blocks.as_ptr(), layout: self.layout }
    }

    /// The blocks of one term of a row.
    fn term(&self, row: usize, term: usize) -> &[ActBlock] {
        &self.blocks[row * self.layout.stride + term * self.layout.blocks..][..self.layout.blocks]
    }

    fn values_of(&self, row: usize) -> Vec<f64> {
        let mut values = vec![0.0; 32 * self.layout.blocks];
        for term in 0..self.layout.terms {
            let scaled = self.term(row, term).iter().flat_map(|b| b.q.map(|q| f64::from(q) * f64::from(b.scale)));
            values.iter_mut().zip(scaled).for_each(|(value, scaled)| *value += scaled);
        }
        values
    }
}

/// The meaning of a block, from integers that are given as floats.
fn block_of(q: &[f32], scale: f32) -> ActBlock {
    let mut block = ActBlock { scale, ..ActBlock::default() };
    let mut sums = [0i16; 2];
    for (k, &q) in q.iter().enumerate() {
        block.q[k] = q as i8;
        block.half_negs[k / 16][k % 4 / 2] -= q as i16;
        sums[k / 16] += q as i16;
    }
    block.neg = [0, 1].map(|pair| block.half_negs[0][pair] + block.half_negs[1][pair]);
    block.sum = scale * f32::from(sums[0] + sums[1]);
    block.half_sums = sums.map(|sum| scale * f32::from(sum));
    block
}

/// Runs the integer product on ragged ranges of groups, into rows longer than needed whose surplus must
/// stay untouched.
fn run_int(tier: Tier, w: &PackedMatrix, acts: Acts, n_rows: usize) -> Vec<f32> {
    run(w, n_rows, |groups, out, stride| {
        // SAFETY: `out` holds all rows; the activations are the test's.
        unsafe { linear_int(tier, w, groups, acts, n_rows, out, stride) };
    })
}

fn run(w: &PackedMatrix, n_rows: usize, product: impl Fn(std::ops::Range<usize>, *mut f32, usize)) -> Vec<f32> {
    let stride = w.rows() + 3;
    let mut out = vec![f32::NAN; n_rows * stride];
    let cut = w.groups() / 3;
    product(0..cut, out.as_mut_ptr(), stride);
    product(cut..w.groups(), out.as_mut_ptr(), stride);
    let rows = out.chunks(stride).flat_map(|row| {
        assert!(row[w.rows()..].iter().all(|x| x.is_nan()), "written past the rows");
        row[..w.rows()].iter().copied()
    });
    rows.collect()
}

const ROW_COUNTS: [usize; 8] = [1, 2, 3, 4, 5, 8, 13, 33];

#[test]
fn rows_decode_bit_for_bit() {
    for (i, &codec) in Codec::ALL.iter().enumerate() {
        let cols = if codec.block_len() == 1 { 301 } else { codec.block_len() * 9 };
        let weight = Weight::random(codec, 21, cols, i as u64);
        for tier in Tier::supported() {
            let packed = weight.pack(tier);
            for row in 0..weight.rows {
                let mut found = vec![0.0; cols];
                decode_row(tier, &packed, row, &mut found);
                let expected = &weight.values[row * cols..][..cols];
                let same = found.iter().zip(expected).all(|(a, b)| a == b);
                assert!(same, "{codec} {tier} row {row}");
            }
        }
    }
}

#[test]
fn every_exponent_of_mxfp4_decodes() {
    let mut bytes = vec![0x70; 17 * 256];
    bytes.chunks_mut(17).enumerate().for_each(|(i, block)| block[0] = i as u8);
    let mut expected = vec![0.0; 32 * 256];
    Codec::Mxfp4.decode(&bytes, &mut expected).unwrap();
    for tier in Tier::supported() {
        let packed = PackedMatrix::pack(tier, Codec::Mxfp4, 1, 32 * 256, |_| &bytes).unwrap();
        let mut found = vec![0.0; expected.len()];
        decode_row(tier, &packed, 0, &mut found);
        assert_eq!(found, expected, "{tier}");
    }
}

/// With scales and activations that are small integers every partial sum is an integer below 2^24, so
/// that `f32` rounds nothing and the integer part must be right in every bit.
fn check_exact(codec: Codec, bytes: impl Fn() -> Box<dyn FnMut() -> u8>, q: impl Fn() -> Box<dyn FnMut() -> i8>) {
    for (rows, n_rows) in ROW_COUNTS.iter().enumerate().map(|(i, &n)| ([1, 8, 21, 35][i % 4], n)) {
        let cols = if codec.block_len() == 32 { 96 } else { 256 };
        let mut weight = Weight::new(codec, rows, cols, bytes(), || 1.0);
        // Sub-scales of eight bits could leave the exact range.
        let sub_scales = match codec {
            Codec::Q6K => 192..208,
            Codec::Q4K | Codec::Q5K => 4..16,
            Codec::Q2K => 0..16,
            _ => 0..0,
        };
        for block in weight.bytes.chunks_mut(codec.block_bytes()) {
            if codec == Codec::Iq4Xs {
                block[2..8].copy_from_slice(&[0xAA, 0xAA, 0x21, 0x21, 0x21, 0x21]);
            }
            block[sub_scales.clone()].iter_mut().enumerate().for_each(|(i, s)| *s = 1 + i as u8 % 3);
        }
        codec.decode(&weight.bytes, &mut weight.values).unwrap();
        let acts = Quantised::integers(n_rows, cols, q());
        for tier in Tier::supported() {
            let found = run_int(tier, &weight.pack(tier), acts.acts(), n_rows);
            for (i, found) in found.into_iter().enumerate() {
                let activations = acts.values_of(i / rows);
                let expected: f64 = weight.values_of(i % rows).zip(activations).map(|(w, a)| w * a).sum();
                assert!(expected.abs() < 16_777_216.0, "the test left the exact range");
                assert_eq!(f64::from(found), expected, "{codec} {tier} {rows}x{cols}, {n_rows} rows, result {i}");
            }
        }
    }
}

#[test]
fn integer_parts_are_exact() {
    for codec in block_codecs() {
        let bytes = || -> Box<dyn FnMut() -> u8> {
            let mut random = Random(3);
            Box::new(move || random.next() as u8)
        };
        check_exact(codec, bytes, || {
            let mut random = Random(4);
            Box::new(move || ((random.next() % 255) as i32 - 127) as i8)
        });
    }
}

#[test]
fn integer_parts_are_exact_at_the_extremes() {
    for codec in block_codecs() {
        for byte in [0x00, 0xFF, 0x80, 0x7F] {
            for q in [127, -127] {
                check_exact(codec, || Box::new(move || byte), || Box::new(move || q));
            }
        }
    }
}

#[test]
fn integer_products_stay_within_rounding() {
    for codec in block_codecs() {
        for (case, n_rows) in ROW_COUNTS.into_iter().enumerate() {
            // More than one panel of columns, and not a whole number of them.
            let cols = [288usize, 1024 + 256][case % 2].next_multiple_of(codec.block_len());
            let weight = Weight::random(codec, 21, cols, case as u64);
            let mut random = Random(9);
            let x: Vec<f32> = (0..n_rows * cols).map(|_| random.unit()).collect();
            for (tier, terms) in
                Tier::supported().flat_map(|tier| (1..=most_terms(codec)).map(move |terms| (tier, terms)))
            {
                let acts = Quantised::of(tier, &x, cols, terms);
                let found = run_int(tier, &weight.pack(tier), acts.acts(), n_rows);
                check_sums(&weight, n_rows, &found, |t| acts.values_of(t), 4.0, terms * cols / 16);
            }
        }
    }
}

#[test]
fn float_products_stay_within_rounding() {
    for &codec in Codec::ALL {
        for (case, n_rows) in ROW_COUNTS.into_iter().enumerate() {
            let cols = match codec.block_len() {
                1 => [37, 300][case % 2],
                block => [block, 320usize.next_multiple_of(block)][case % 2],
            };
            let weight = Weight::random(codec, 21, cols, case as u64);
            let mut random = Random(9);
            let x: Vec<f32> = (0..n_rows * cols).map(|_| random.unit()).collect();
            for tier in Tier::supported() {
                let packed = weight.pack(tier);
                let found = run(&packed, n_rows, |groups, out, stride| {
                    // SAFETY: `x` and `out` hold all rows.
                    unsafe { linear_f32(tier, &packed, groups, x.as_ptr(), cols, n_rows, out, stride) };
                });
                let row = |t: usize| x[t * cols..][..cols].iter().map(|&x| f64::from(x)).collect();
                check_sums(&weight, n_rows, &found, row, 1.0, cols);
            }
        }
    }
}

/// What one activation row gives alone is what it gives among others, in every bit.
#[test]
fn results_do_not_depend_on_the_number_of_rows() {
    // Several panels of columns; and rows so long that few of them are streamed at a time.
    let cases = Codec::ALL.iter().map(|&codec| (codec, 1280)).chain([(Codec::Q8_0, 1 << 15)]);
    for (codec, cols) in cases {
        let mut random = Random(9);
        let x: Vec<f32> = (0..13 * cols).map(|_| random.unit()).collect();
        let weight = Weight::random(codec, 21, cols, 5);
        for tier in Tier::supported() {
            let packed = weight.pack(tier);
            let product = |x: &[f32]| {
                let rows = x.len() / cols;
                let floats = run(&packed, rows, |groups, out, stride| {
                    // SAFETY: `x` and `out` hold all rows.
                    unsafe { linear_f32(tier, &packed, groups, x.as_ptr(), cols, rows, out, stride) };
                });
                let integers = |terms| match codec.block_len() {
                    1 => Vec::new(),
                    _ if terms > most_terms(codec) => Vec::new(),
                    _ => run_int(tier, &packed, Quantised::of(tier, x, cols, terms).acts(), rows),
                };
                [floats, integers(1), integers(2)]
            };
            let together = product(&x);
            for (t, x) in x.chunks(cols).enumerate() {
                for (alone, together) in product(x).iter().zip(&together).filter(|(alone, _)| !alone.is_empty()) {
                    assert_eq!(alone[..], together[t * weight.rows..][..weight.rows], "{codec} {tier} row {t}");
                }
            }
        }
    }
}

/// Each result must be within the error of `terms` sequential `f32` additions of products whose weights
/// are at most `spread` times the largest of their row: centred levels and minima may be larger than
/// the values that they add up to.
fn check_sums(
    weight: &Weight,
    n_rows: usize,
    found: &[f32],
    acts: impl Fn(usize) -> Vec<f64>,
    spread: f64,
    terms: usize,
) {
    for t in 0..n_rows {
        let acts = acts(t);
        let magnitude: f64 = acts.iter().map(|a| a.abs()).sum();
        for row in 0..weight.rows {
            let expected: f64 = weight.values_of(row).zip(&acts).map(|(w, a)| w * a).sum();
            let largest = weight.values_of(row).fold(0.0, |m: f64, w| m.max(w.abs()));
            let bound = (2 * terms + 8) as f64 * EPSILON * spread * largest * magnitude;
            let found = f64::from(found[t * weight.rows + row]);
            let error = (found - expected).abs();
            assert!(error <= bound, "{} {found} is not {expected}: {error:e} > {bound:e}", weight.codec);
        }
    }
}

#[test]
fn quantised_rows_keep_their_meaning_on_every_tier() {
    let cols = 83;
    let mut random = Random(1);
    let mut x: Vec<f32> = (0..5 * cols).map(|_| random.unit() * 9.0).collect();
    x[..32].fill(0.0);
    x[32..64].fill(1e-38);
    let reference = Quantised::of(Tier::Scalar, &x, cols, 2);
    for tier in Tier::supported() {
        assert_eq!(Quantised::of(tier, &x, cols, 2).blocks, reference.blocks, "{tier}");
    }
    for (t, x) in x.chunks(cols).enumerate() {
        for (b, x) in x.chunks(32).enumerate() {
            // What a term leaves is what the next one quantises.
            let mut rest = x.to_vec();
            for block in [0, 1].map(|term| reference.term(t, term)[b]) {
                let q = block.q.map(f32::from);
                assert_eq!(block, block_of(&q, block.scale));
                assert!(block.q[x.len()..].iter().all(|&q| q == 0));
                for (rest, q) in rest.iter_mut().zip(q) {
                    let bound = block.scale * 0.5 * (1.0 + 512.0 * f32::EPSILON) + 1e-35;
                    let left = *rest - block.scale * q;
                    assert!(left.abs() <= bound, "{rest} became {q} x {}", block.scale);
                    *rest = left;
                }
            }
            let largest = x.iter().fold(0.0f32, |m, x| m.max(x.abs()));
            assert!(
                rest.iter().all(|r| r.abs() <= largest / (250.0 * 250.0) + 1e-35),
                "two terms left {rest:?} of {x:?}"
            );
        }
    }
}

#[test]
fn values_that_are_not_finite_are_not_hidden() {
    for tier in Tier::supported() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut x = [1.0; 32];
            x[5] = bad;
            assert!(!Quantised::of(tier, &x, 32, 2).blocks[0].scale.is_finite(), "{tier} {bad}");
        }
    }
}

/// Rows in pieces, in ragged ranges of groups: each sum within its bound of `f64`, and bit for bit that of [`linear_f32`] with what
/// follows it.
#[test]
fn rows_in_pieces_are_products_of_whole_rows() {
    use crate::rows::{Binary, Unary, binary_in_place, unary_in_place};
    for (i, (pieces, len)) in [(1, 1), (1, 700), (9, 16), (3, 300), (25, 11), (1, 0)].into_iter().enumerate() {
        let (cols, rows) = (pieces * len, [1, 8, 21, 35][i % 4]);
        for n in ROW_COUNTS {
            let mut random = Random(i as u64);
            let mut noise = |len: usize| (0..len).map(|_| random.unit()).collect::<Vec<f32>>();
            let (values, x, bias, more) = (noise(rows * cols), noise(n * cols), noise(rows), noise(n * (rows + 3)));
            let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            let at: Vec<*const f32> = (0..n * pieces).map(|i| x[i * len..].as_ptr()).collect();
            for tier in Tier::supported() {
                let row = |row: usize| &bytes[row * cols * 4..][..cols * 4];
                let packed = PackedMatrix::pack(tier, Codec::F32, rows, cols, row).unwrap();
                let run_pieces = |finish: &Finish<'_>| {
                    run(&packed, n, |groups, data, stride| {
                        let (x, out) = (Pieces { at: at.as_ptr(), count: pieces }, Out { data, stride, resume: false });
                        // SAFETY: all pieces are as long as said, and `out` holds all rows.
                        unsafe { linear_pieces(tier, &packed, groups, x, n, out, finish) };
                    })
                };
                let mut expected = run(&packed, n, |groups, out, stride| {
                    // SAFETY: `x` and `out` hold all rows.
                    unsafe { linear_f32(tier, &packed, groups, x.as_ptr(), cols, n, out, stride) };
                });
                assert_eq!(run_pieces(&Finish::default()), expected, "{tier} {pieces} x {len}, {n} rows");
                for (i, found) in expected.iter().enumerate() {
                    let term = |k: usize| f64::from(values[i % rows * cols + k]) * f64::from(x[i / rows * cols + k]);
                    let exact: f64 = (0..cols).map(term).sum();
                    assert!((f64::from(*found) - exact).abs() <= 2.0 * EPSILON * (cols * cols) as f64, "{tier} {i}");
                }
                for bound in [Unary::Relu, Unary::Clamp(-0.5, 0.25)] {
                    for (t, row) in expected.chunks_mut(rows).enumerate() {
                        binary_in_place(tier, Binary::Add, row, &bias);
                        binary_in_place(tier, Binary::Add, row, &more[t * (rows + 3)..][..rows]);
                        unary_in_place(tier, bound, row);
                    }
                    let finish = Finish { bias: Some(&bias), add: Some(more.as_ptr()), bound: Some(bound) };
                    assert_eq!(run_pieces(&finish), expected, "{tier} {pieces} x {len}, {n} rows, {bound:?}");
                    expected = run_pieces(&Finish::default());
                }
            }
        }
    }
}
