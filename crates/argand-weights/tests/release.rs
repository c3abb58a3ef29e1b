//! Released weights leave memory and come back unchanged.
#![cfg(target_os = "linux")]

mod common;

use argand_codec::Codec;
use argand_weights::{Checkpoint, Metadata, gguf::TensorSpec};

/// Resident bytes of the mappings of one file, as the kernel counts them.
fn resident(file: &str) -> usize {
    let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let mut ours = false;
    let mut kib = 0;
    for line in maps.lines() {
        if line.split_whitespace().next().is_some_and(|first| first.contains('-')) {
            ours = line.ends_with(file);
        } else if let (true, Some(rest)) = (ours, line.strip_prefix("Rss:")) {
            kib += rest.trim().trim_end_matches(" kB").parse::<usize>().unwrap();
        }
    }
    kib << 10
}

#[test]
fn released_pages_leave_and_come_back() {
    const SIZE: usize = 8 << 20;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("released.gguf");
    let data: Vec<u8> = (0..SIZE).map(|at| (at % 251) as u8).collect();
    let spec = |name: &str| TensorSpec { name: name.to_owned(), shape: vec![SIZE / 4], codec: Codec::F32 };
    let tensors = [(spec("a"), data.clone()), (spec("b"), data.clone())];
    common::write_gguf(&path, &Metadata::new(), &tensors).unwrap();

    let checkpoint = Checkpoint::open(&path).unwrap();
    let name = path.to_str().unwrap();
    assert!(resident(name) < SIZE / 2, "opening reads no data");
    let (a, b) = (checkpoint.tensor("a").unwrap(), checkpoint.tensor("b").unwrap());
    assert_eq!((a.bytes, b.bytes), (data.as_slice(), data.as_slice()));
    assert!(resident(name) >= 2 * SIZE);
    checkpoint.release(&a.info.name);
    assert!((SIZE..SIZE + SIZE / 4).contains(&resident(name)), "only the released weight leaves");
    checkpoint.will_need(&a);
    assert_eq!(a.bytes, data.as_slice());
}
