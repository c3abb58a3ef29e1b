//! Writes tiny valid files for the fuzz targets to start from:
//! `cargo run -p argand-weights --example seed_corpus -- crates/argand-weights/fuzz/corpus`.

#[path = "../tests/common/mod.rs"]
mod common;

use std::path::Path;
use std::{fs, io};

use common::{RawGguf, RawTensor, array_head, pair, pickle};

fn main() -> io::Result<()> {
    let Some(corpus) = std::env::args().nth(1) else {
        eprintln!("usage: seed_corpus FOLDER");
        return Ok(());
    };
    let nested = [array_head(9, 1), array_head(6, 1), 1.5f32.to_le_bytes().to_vec()].concat();
    let aligned = RawGguf::with_pair(pair("general.alignment", 4, &64u32.to_le_bytes()));
    let seeds = [
        ("gguf/every_type", common::tiny_gguf()),
        ("gguf/version_2", RawGguf { version: 2, ..RawGguf::default() }.bytes()),
        ("gguf/nested", RawGguf::with_pair(pair("k", 9, &nested)).bytes()),
        ("gguf/alignment", aligned.bytes()),
        ("gguf/foreign", RawGguf::with_tensors(&[RawTensor::new("ids", &[4], 26, 0)]).bytes()),
        ("safetensors/tiny", common::tiny_safetensors()),
        ("safetensors/empty", common::safetensors("{}", &[])),
        ("onnx/initializers", include_bytes!("../tests/checkpoints/initializers.onnx").to_vec()),
    ];
    // The first byte chooses how the rest is used, see the fuzz targets.
    let array = b"\x93NUMPY\x01\x00\x3c\x00{'descr': '<f4', 'fortran_order': True, 'shape': (2, 2), }   ";
    let array = [&array[..], &pickle::FLOATS].concat();
    let chosen = [
        ("pytorch/zip", [&[0], &pickle::torch(&pickle::valid(), &pickle::FLOATS)[..]].concat()),
        ("pytorch/legacy", [&[0], &pickle::valid_legacy()[..]].concat()),
        ("pytorch/pickle", [&[1], &pickle::valid()[..]].concat()),
        ("pytorch/legacy_pickle", [&[2], &pickle::valid()[..]].concat()),
        ("numpy/npy", [&[0], &array[..]].concat()),
        ("numpy/npz", [&[1], &array[..]].concat()),
    ];
    for (name, bytes) in seeds.into_iter().chain(chosen) {
        let path = Path::new(&corpus).join(name);
        fs::create_dir_all(path.parent().unwrap_or(&path))?;
        fs::write(path, bytes)?;
    }
    Ok(())
}
