//! Prints what a checkpoint holds: `cargo run -p argand-weights --example tensors -- MODEL [--read]`.
//!
//! `--read` also touches every byte, releases it again, and says how long that took.

use std::time::Instant;

use argand_weights::{Checkpoint, Error, Value};

fn main() -> Result<(), Error> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(path) = arguments.first() else {
        eprintln!("usage: tensors MODEL [--read]");
        return Ok(());
    };
    let start = Instant::now();
    let checkpoint = Checkpoint::open(path)?;
    let opened = start.elapsed();
    for (key, value) in checkpoint.metadata().iter() {
        match value {
            Value::Array(_) => println!("{key} = {}", value.type_name()),
            Value::Str(text) => println!("{key} = {:?}", text.chars().take(60).collect::<String>()),
            scalar => println!("{key} = {scalar:?}"),
        }
    }
    for info in checkpoint.tensors() {
        println!("{:40} {:8} {:?} at {} + {}", info.name, info.codec.name(), info.shape, info.offset(), info.bytes());
    }
    for foreign in checkpoint.foreign_tensors() {
        println!("{:40} {:8} {:?} (not a weight)", foreign.name, foreign.dtype, foreign.shape);
    }
    println!(
        "{}: {} weights, {} bytes in {} files, opened in {opened:?}",
        checkpoint.format(),
        checkpoint.tensors().len(),
        checkpoint.file_bytes(),
        checkpoint.files().len(),
    );
    if arguments.iter().any(|argument| argument == "--read") {
        read_all(&checkpoint)?;
    }
    Ok(())
}

fn read_all(checkpoint: &Checkpoint) -> Result<(), Error> {
    let start = Instant::now();
    let mut sum = 0u64;
    for info in checkpoint.tensors() {
        let view = checkpoint.require(&info.name)?;
        checkpoint.will_need(&view);
        sum += view.bytes.iter().map(|&byte| u64::from(byte)).sum::<u64>();
        checkpoint.release(&view.info.name);
    }
    println!("sum of all bytes {sum}, read in {:?}", start.elapsed());
    Ok(())
}
