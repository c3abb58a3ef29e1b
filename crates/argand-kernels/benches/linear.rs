//! Speed of products with packed weights: bandwidth of the streaming kernels next to that of plain
//! reads of the same memory, operations per second of the panel kernels, and speed of packing.
//!
//! `cargo bench -p argand-cpu --bench linear [-- pack|stream|pieces|tiles [CODEC]]`

use argand_codec::Codec;
use argand_kernels::linear::{
    ActBlock, ActLayout, Acts, Finish, Out, Pieces, linear_f32, linear_int, linear_pieces, quantize_rows,
};
use argand_kernels::packed::PackedMatrix;
use argand_kernels::tier::Tier;
use std::hint::black_box;
use std::time::Instant;

const CODECS: [Codec; 7] = [Codec::Q4_1, Codec::Q5_0, Codec::Q8_0, Codec::Q4K, Codec::Q6K, Codec::Q4_0, Codec::F16];

fn main() {
    let tier = Tier::from_env_or_detect().expect("tier");
    let only: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let wanted = |name: &str| only.first().is_none_or(|only| only == name);
    let codecs = || CODECS.into_iter().filter(|codec| only.get(1).is_none_or(|only| only == codec.name()));
    println!("tier {tier}");
    if wanted("pack") {
        codecs().for_each(|codec| bench_pack(tier, codec));
    }
    if wanted("stream") {
        codecs().for_each(|codec| bench_stream(tier, codec));
    }
    if wanted("pieces") {
        let shapes = [(96, 1, 64, 256), (96, 9, 64, 64), (96, 9, 256, 256), (49, 9, 512, 512), (96, 1, 2048, 512)];
        shapes
            .into_iter()
            .chain([(16, 1, 512, 2048), (96, 1, 384, 1536), (96, 1, 16, 96)])
            .for_each(|s| bench_pieces(tier, s));
    }
    if wanted("tiles") {
        for (rows, cols) in [(1536, 576), (4864, 896), (8960, 1536)] {
            codecs().for_each(|codec| bench_tiles(tier, codec, rows, cols));
        }
    }
}

/// A weight of small pseudo-random values.
fn weight(tier: Tier, codec: Codec, rows: usize, cols: usize) -> PackedMatrix {
    let mut state = 1u32;
    let mut value = || {
        state = state.wrapping_mul(1664525).wrapping_add(1013904223);
        (state >> 8) as f32 / (1 << 24) as f32 - 0.5
    };
    let row: Vec<f32> = (0..cols).map(|_| value()).collect();
    let mut bytes = vec![0; codec.row_bytes(cols).expect("whole blocks")];
    codec.encode(&row, &mut bytes).expect("an encoder");
    PackedMatrix::pack(tier, codec, rows, cols, |_| &bytes).expect("memory")
}

/// Quantised activations of `n` rows.
struct Activations {
    floats: Vec<f32>,
    blocks: Vec<ActBlock>,
    layout: ActLayout,
}

impl Activations {
    fn new(tier: Tier, n: usize, cols: usize) -> Activations {
        let floats: Vec<f32> = (0..n * cols).map(|i| (i * 31 % 201) as f32 / 100.0 - 1.0).collect();
        let layout = ActLayout::new(cols, 1);
        let mut blocks = vec![ActBlock::default(); n * layout.stride];
        // SAFETY: both hold `n` rows.
        unsafe { quantize_rows(tier, floats.as_ptr(), cols, 0..n, cols, layout, blocks.as_mut_ptr()) };
        Activations { floats, blocks, layout }
    }

    /// One whole product on `threads` threads.
    fn product(&self, tier: Tier, w: &PackedMatrix, n: usize, out: &mut [f32], threads: usize) {
        let out = out.as_mut_ptr() as usize;
        let share = w.groups().div_ceil(threads).next_multiple_of(2);
        std::thread::scope(|scope| {
            for thread in 0..threads {
                let groups = (thread * share).min(w.groups())..((thread + 1) * share).min(w.groups());
                let work = move || {
                    let out = out as *mut f32;
                    let acts = Acts { data: self.blocks.as_ptr(), layout: self.layout };
                    // SAFETY: activations and results hold `n` rows; groups are disjoint.
                    unsafe {
                        match w.codec().block_len() {
                            1 => linear_f32(tier, w, groups, self.floats.as_ptr(), w.cols(), n, out, w.rows()),
                            _ => linear_int(tier, w, groups, acts, n, out, w.rows()),
                        }
                    }
                };
                match threads {
                    1 => work(),
                    _ => drop(scope.spawn(work)),
                }
            }
        });
    }
}

/// The shortest of several runs, in seconds.
fn fastest(runs: usize, mut work: impl FnMut()) -> f64 {
    let time = |_| {
        let start = Instant::now();
        work();
        start.elapsed().as_secs_f64()
    };
    (0..runs).map(time).fold(f64::INFINITY, f64::min)
}

/// Packs a weight again and again into the same memory.
fn bench_pack(tier: Tier, codec: Codec) {
    let (rows, cols) = (8192, 2048);
    let row_bytes = codec.row_bytes(cols).expect("whole blocks");
    let source: Vec<u8> = (0..rows * row_bytes).map(|i| (i * 31 % 251) as u8).collect();
    let mut packed = PackedMatrix::zeroed(tier, codec, rows, cols).expect("memory");
    let time = fastest(6, || {
        for mut part in packed.parts(16) {
            part.pack(|row| &source[row * row_bytes..][..row_bytes]).expect("whole rows");
        }
    });
    println!(
        "{codec:>5} packs {:4} MiB at {:5.2} GB/s, 1 thread",
        source.len() >> 20,
        source.len() as f64 * 1e-9 / time
    );
}

fn bench_stream(tier: Tier, codec: Codec) {
    let cols = 1536;
    let rows = (256 << 20) / codec.row_bytes(cols).expect("whole blocks") / 16 * 16;
    let w = weight(tier, codec, rows, cols);
    let bytes = vec![1u64; w.bytes() / 8];
    let mut line = format!("{codec:>5} {:4} MiB", w.bytes() >> 20);
    for threads in [1, 2] {
        let read = fastest(4, || {
            std::thread::scope(|scope| {
                for part in bytes.chunks(bytes.len().div_ceil(threads)) {
                    let work = move || black_box(part.iter().fold(0u64, |sum, x| sum ^ x));
                    match threads {
                        1 => drop(work()),
                        _ => drop(scope.spawn(work)),
                    }
                }
            })
        });
        line += &format!("  {threads} threads: read {:5.1} GB/s", bytes.len() as f64 * 8e-9 / read);
        for n in [1, 2, 4, 8] {
            let acts = Activations::new(tier, n, cols);
            let mut out = vec![0.0; n * rows];
            let time = fastest(4, || acts.product(tier, &w, n, &mut out, threads));
            line += &format!(", n={n} {:5.1}", w.bytes() as f64 * 1e-9 / time);
        }
    }
    println!("{line}");
}

fn bench_tiles(tier: Tier, codec: Codec, rows: usize, cols: usize) {
    if !cols.is_multiple_of(codec.block_len()) {
        return;
    }
    let w = weight(tier, codec, rows, cols);
    let mut line = format!("{codec:>5} {rows:5} x {cols:4} GMAC/s, 1 thread:");
    for n in [1, 2, 4, 8, 32, 512] {
        let acts = Activations::new(tier, n, cols);
        let mut out = vec![0.0; n * rows];
        let macs = (n * rows * cols) as f64;
        let runs = (3e9 / macs) as usize + 3;
        let time = fastest(runs.min(200), || acts.product(tier, &w, n, &mut out, 1));
        line += &format!("  n={n} {:5.1}", macs * 1e-9 / time);
    }
    println!("{line}");
}

/// Rows in pieces times plain floats, as convolutions have them: rows, pieces of a row, values in one, and rows of the weight.
fn bench_pieces(tier: Tier, (n, count, len, rows): (usize, usize, usize, usize)) {
    let w = weight(tier, Codec::F32, rows, count * len);
    let floats: Vec<f32> = (0..n * count * len).map(|i| (i * 31 % 201) as f32 / 100.0 - 1.0).collect();
    let at: Vec<*const f32> = floats.chunks(len).map(<[f32]>::as_ptr).collect();
    let mut out = vec![0.0; n * rows];
    let flops = 2.0 * (n * count * len * rows) as f64;
    let rounds = (1e9 / flops) as usize + 1;
    let time = fastest(8, || {
        for _ in 0..rounds {
            let (x, out) =
                (Pieces { at: at.as_ptr(), count }, Out { data: out.as_mut_ptr(), stride: rows, resume: false });
            // SAFETY: the rows and the results are as long as said.
            unsafe { linear_pieces(tier, &w, 0..w.groups(), x, n, out, &Finish::default()) };
        }
    });
    println!("{n:3} rows of {count} x {len:4} times {rows:4}: {:6.1} GFLOP/s", flops * rounds as f64 * 1e-9 / time);
}
