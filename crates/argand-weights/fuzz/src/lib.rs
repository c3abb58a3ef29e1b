//! What every fuzz target does with the bytes that it gets.

use argand_weights::Checkpoint;

/// Opens bytes as a checkpoint, and touches all that it says it holds. An error must name the file.
pub fn open_and_read(name: &str, bytes: Vec<u8>) {
    let checkpoint = match Checkpoint::from_bytes(name, bytes) {
        Ok(checkpoint) => checkpoint,
        Err(error) => return assert!(error.to_string().starts_with(name), "{error}"),
    };
    let mut sum = 0u64;
    for info in checkpoint.tensors() {
        let view = checkpoint.require(&info.name).expect("a listed tensor is there");
        assert_eq!(view.bytes.len(), info.bytes());
        sum += view.bytes.iter().map(|&byte| u64::from(byte)).sum::<u64>();
    }
    for foreign in checkpoint.foreign_tensors() {
        let bytes = checkpoint.foreign_bytes(&foreign.name).expect("a listed tensor is there");
        sum += bytes.iter().map(|&byte| u64::from(byte)).sum::<u64>();
    }
    for (_, value) in checkpoint.metadata().iter() {
        sum += value.as_array().and_then(|array| array.as_strs()).map_or(0, |strings| {
            strings.iter().map(|text| text.chars().count() as u64).sum()
        });
    }
    std::hint::black_box(sum);
}
