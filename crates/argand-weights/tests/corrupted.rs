//! Hundreds of damaged files for each format, the same ones in every run: opening and reading them never panics, and
//! each refusal names the file and a field.

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};

use argand_weights::{Checkpoint, Error};

/// A small deterministic generator (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}

/// Numbers at the edges of the integer types.
const LIES: [u64; 12] = [
    0,
    1,
    u8::MAX as u64,
    i32::MAX as u64,
    u32::MAX as u64,
    1 << 32,
    1 << 40,
    i64::MAX as u64,
    1 << 63,
    u64::MAX,
    u64::MAX - 31,
    1 << 61,
];

/// Damages a file; `header` is where to hit hardest.
fn damage(valid: &[u8], header: usize, random: &mut Random) -> Vec<u8> {
    let mut bytes = valid.to_vec();
    match random.below(5) {
        0 => bytes.truncate(random.below(valid.len())),
        1 => {
            for _ in 0..=random.below(8) {
                bytes[random.below(header)] ^= 1 << random.below(8);
            }
        }
        2 => {
            let at = random.below(header - 8);
            bytes[at..at + 8].copy_from_slice(&LIES[random.below(LIES.len())].to_le_bytes());
        }
        3 => {
            // A piece of the header over another one: repeated names, shifted fields.
            let (from, to, len) = (random.below(header), random.below(header), random.below(64));
            let piece = valid[from..(from + len).min(header)].to_vec();
            let end = (to + piece.len()).min(bytes.len());
            bytes[to..end].copy_from_slice(&piece[..end - to]);
        }
        _ => {
            let at = random.below(header);
            let gone = random.below(16).min(valid.len() - at);
            bytes.drain(at..at + gone);
        }
    }
    bytes
}

/// Digits of JSON headers are worth their own lies.
fn change_digits(valid: &[u8], header: usize, random: &mut Random) -> Vec<u8> {
    let mut bytes = valid.to_vec();
    for _ in 0..=random.below(3) {
        let digits: Vec<usize> = (8..header).filter(|&at| bytes[at].is_ascii_digit()).collect();
        bytes[digits[random.below(digits.len())]] = b'0' + random.below(10) as u8;
    }
    bytes
}

fn check(case: usize, bytes: Vec<u8>) -> bool {
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        Checkpoint::from_bytes("damaged.bin", bytes).map(|checkpoint| common::read_everything(&checkpoint))
    }));
    let Err(error) = outcome.unwrap_or_else(|_| panic!("case {case} panicked")) else { return true };
    let message = error.to_string();
    assert!(message.starts_with("damaged.bin: ") && message.len() < 1500, "case {case}: {message}");
    let field = match error {
        Error::Truncated { field, .. }
        | Error::Malformed { field, .. }
        | Error::Unsupported { field, .. }
        | Error::ForbiddenGlobal { field, .. }
        | Error::Duplicate { field, .. } => field,
        Error::Overlap { name, .. } => name,
        other => panic!("case {case}: a damaged header gives an error with a field, not {other:?}"),
    };
    assert!(!field.is_empty(), "case {case}: {message}");
    false
}

#[test]
fn damaged_gguf() {
    let valid = common::tiny_gguf();
    let whole = Checkpoint::from_bytes("valid", valid.clone()).unwrap();
    let header = whole.tensors().map(|info| info.offset()).min().unwrap();
    let mut random = Random(1);
    let opened = (0..600).filter(|&case| check(case, damage(&valid, header, &mut random))).count();
    // Some damage only changes values or names; were all refused or all accepted, the test would show nothing.
    assert!((20..500).contains(&opened), "{opened} of 600 opened");
}

#[test]
fn damaged_safetensors() {
    let valid = common::tiny_safetensors();
    let header = valid.len() - 52;
    let mut random = Random(2);
    let mut opened = (0..300).filter(|&case| check(case, damage(&valid, header, &mut random))).count();
    opened += (300..600).filter(|&case| check(case, change_digits(&valid, header, &mut random))).count();
    assert!((20..500).contains(&opened), "{opened} of 600 opened");
}

/// Damages all of the file, and counts what still opens.
fn opened(valid: &[u8], seed: u64, cases: usize) -> usize {
    Checkpoint::from_bytes("valid", valid.to_vec()).unwrap();
    let mut random = Random(seed);
    (0..cases).filter(|&case| check(case, damage(valid, valid.len(), &mut random))).count()
}

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/checkpoints").join(name)).unwrap()
}

#[test]
fn damaged_pytorch() {
    for (seed, name) in ["training.pt", "views.pt", "deflated_views.pt", "legacy.pt"].iter().enumerate() {
        let opened = opened(&fixture(name), seed as u64 + 3, 300);
        assert!((5..250).contains(&opened), "{name}: {opened} of 300 opened");
    }
}

#[test]
fn damaged_onnx() {
    let opened = opened(&fixture("initializers.onnx"), 17, 600);
    assert!((20..500).contains(&opened), "{opened} of 600 opened");
}

#[test]
fn damaged_numpy() {
    for (seed, name) in ["stored.npz", "deflated.npz", "version_2.npy"].iter().enumerate() {
        let opened = opened(&fixture(name), seed as u64 + 7, 300);
        assert!((5..250).contains(&opened), "{name}: {opened} of 300 opened");
    }
}
