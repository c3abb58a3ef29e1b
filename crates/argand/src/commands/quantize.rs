//! `argand quantize`: a model written with smaller numbers.

use super::convert::{check_copies, check_output};
use crate::args::ThreadArgs;
use crate::{interrupt, models, ui};
use anyhow::{Context, Result, bail};
use argand_codec::Codec;
use argand_weights::gguf::{TensorSpec, Writer};
use argand_weights::{Checkpoint, Format, TensorInfo, TensorView, Value};
use clap::ValueEnum;
use std::path::PathBuf;

/// Number formats to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[allow(non_camel_case_types)]
enum Target {
    #[value(name = "Q8_0")]
    Q8_0,
    #[value(name = "Q4_0")]
    Q4_0,
    #[value(name = "Q4_K")]
    Q4K,
    #[value(name = "Q5_K")]
    Q5K,
    #[value(name = "Q6_K")]
    Q6K,
    /// Q4_K, with Q6_K for the output and half of the values and down projections
    #[value(name = "Q4_K_M")]
    Q4KM,
}

/// Write a GGUF model with smaller numbers
///
/// Matrices are decoded and encoded anew; vectors stay as they are. Rows that do not fill blocks of 256 get the nearest
/// format with blocks of 32. The file appears under its name only when it is complete.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  argand quantize model-f16.gguf model-q4_k_m.gguf --to Q4_K_M
  argand quantize smollm2 small.gguf --to Q4_0 --force")]
pub struct Quantize {
    /// Model to read: a GGUF file, or a name whose model is one
    input: String,
    /// File to write
    output: PathBuf,
    /// Number format
    #[arg(long, value_name = "FORMAT", ignore_case = true)]
    to: Target,
    #[command(flatten)]
    threads: ThreadArgs,
    /// Replace a file that is there
    #[arg(long)]
    force: bool,
}

/// Values that a thread encodes at a time.
const PIECE: usize = 1 << 18;

impl Target {
    /// The number that `general.file_type` has for it, see ggml's `docs/gguf.md`.
    fn file_type(self) -> u32 {
        match self {
            Self::Q4_0 => 2,
            Self::Q8_0 => 7,
            Self::Q4K => 14,
            Self::Q4KM => 15,
            Self::Q5K => 16,
            Self::Q6K => 18,
        }
    }

    /// The format of a matrix by name and layer; llama.cpp's mix for Q4_K_M.
    fn codec(self, name: &str, layers: usize, tied: bool) -> Codec {
        let plain = match self {
            Self::Q8_0 => Codec::Q8_0,
            Self::Q4_0 => Codec::Q4_0,
            Self::Q4K => Codec::Q4K,
            Self::Q5K => Codec::Q5K,
            Self::Q6K => Codec::Q6K,
            Self::Q4KM => Codec::Q4K,
        };
        if self != Self::Q4KM {
            return plain;
        }
        let layer = name.strip_prefix("blk.").and_then(|n| n.split_once('.'));
        match layer.and_then(|(layer, rest)| Some((layer.parse::<usize>().ok()?, rest))) {
            Some((layer, "attn_v.weight" | "ffn_down.weight")) if more_bits(layer, layers) => Codec::Q6K,
            Some((_, "attn_qkv.weight")) => Codec::Q5K,
            Some(_) => plain,
            None if name == "output.weight" || (tied && name == "token_embd.weight") => Codec::Q6K,
            None => plain,
        }
    }
}

/// The first and last eighth of the layers, and every third between.
fn more_bits(layer: usize, layers: usize) -> bool {
    layer < layers / 8 || layer >= 7 * layers / 8 || (layer - layers / 8) % 3 == 2
}

/// The format that rows of `cols` values can have.
fn fitting(codec: Codec, cols: usize) -> Codec {
    let smaller = match codec {
        Codec::Q4K => Codec::Q5_0,
        Codec::Q5K => Codec::Q5_1,
        Codec::Q6K => Codec::Q8_0,
        other => other,
    };
    [codec, smaller].into_iter().find(|c| cols.is_multiple_of(c.block_len())).unwrap_or(Codec::F16)
}

/// Values of a row.
fn columns(tensor: &TensorInfo) -> usize {
    tensor.shape.last().copied().unwrap_or(1)
}

/// Whether a tensor is a matrix whose numbers may become smaller.
fn is_matrix(tensor: &TensorInfo) -> bool {
    let router = tensor.name.contains("ffn_gate_inp");
    tensor.shape.len() >= 2 && tensor.name.ends_with(".weight") && !tensor.name.contains("_norm") && !router
}

impl Quantize {
    pub fn run(self) -> Result<()> {
        let input = models::ready(&self.input)?.path;
        let checkpoint = Checkpoint::open(&input)?;
        self.check(&checkpoint)?;
        let has = |name: &str| checkpoint.tensor(name).is_some();
        let layers = (0..).take_while(|i| has(&format!("blk.{i}.attn_norm.weight"))).count();
        let tied = !has("output.weight");
        let specs: Vec<TensorSpec> = checkpoint
            .tensors()
            .map(|t| {
                let wanted = || fitting(self.to.codec(&t.name, layers, tied), columns(t));
                let codec = if is_matrix(t) { wanted() } else { t.codec };
                TensorSpec { name: t.name.clone(), shape: t.shape.clone(), codec }
            })
            .collect();
        if checkpoint.tensors().any(|t| is_matrix(t) && t.codec.block_len() > 1) {
            eprintln!("{} is quantized already; what was lost then stays lost", input.display());
        }
        let larger = |t: &&TensorInfo| {
            let wanted = self.to.codec(&t.name, layers, tied);
            is_matrix(t) && fitting(wanted, columns(t)) != wanted
        };
        let fallen_back = checkpoint.tensors().filter(larger).count();
        if fallen_back > 0 {
            eprintln!("the rows of {fallen_back} matrices fill no whole blocks; they get a larger format");
        }
        let mut metadata = checkpoint.metadata().clone();
        metadata.set("general.file_type", Value::U32(self.to.file_type()));
        metadata.set("general.quantization_version", Value::U32(2));
        let mut writer = Writer::create(&self.output, &metadata, specs.clone())?;
        let bytes = writer.file_bytes();
        let threads = self.threads.count();
        let bar = ui::bar("quantizing", Some(checkpoint.file_bytes()));
        let _gentle = interrupt::gentle();
        for spec in &specs {
            let tensor = checkpoint.require(&spec.name)?;
            recode(&tensor, spec.codec, threads, &mut |piece| Ok(writer.write(&spec.name, piece)?))
                .with_context(|| format!("tensor {}", spec.name))?;
            checkpoint.release(&tensor.info.name);
            bar.inc(tensor.bytes.len() as u64);
        }
        writer.finish()?;
        bar.finish_and_clear();
        let elements: usize = checkpoint.tensors().map(TensorInfo::elements).sum();
        let bits = |bytes: u64| bytes as f64 * 8.0 / elements as f64;
        let size = |bytes: u64| format!("{} ({:.2} bits per weight)", argand_hub::human_bytes(bytes), bits(bytes));
        let (before, output) = (checkpoint.file_bytes(), self.output.display());
        if bytes > before {
            eprintln!("{output} is larger than {}, and no more exact", input.display());
        }
        let formats = tally(specs.iter().map(|s| s.codec));
        Ok(ui::out(&format!("{output}: {}, was {}; {formats}\n", size(bytes), size(before)))?)
    }

    fn check(&self, checkpoint: &Checkpoint) -> Result<()> {
        if checkpoint.format() != Format::Gguf {
            bail!(
                "{} is {}, and only GGUF can be quantized; argand convert makes GGUF files of decoders",
                checkpoint.path().display(),
                checkpoint.format()
            );
        }
        check_copies(checkpoint)?;
        check_output(checkpoint, &self.output, self.force)
    }
}

/// How many tensors have which format: `61 F32, 180 Q4_K, 30 Q6_K`.
pub(super) fn tally(codecs: impl Iterator<Item = Codec>) -> String {
    let codecs: Vec<Codec> = codecs.collect();
    let number = |codec: &Codec| codecs.iter().filter(|c| *c == codec).count();
    let used = Codec::ALL.iter().filter(|c| number(c) > 0);
    used.map(|c| format!("{} {c}", number(c))).collect::<Vec<_>>().join(", ")
}

/// Hands the tensor's bytes in format `to` to `write`, piece by piece.
pub(super) fn recode(
    tensor: &TensorView<'_>,
    to: Codec,
    threads: usize,
    write: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let from = tensor.info.codec;
    if from == to {
        return write(tensor.bytes);
    }
    let cols = columns(tensor.info);
    let rows = (PIECE / cols).max(1);
    let (from_bytes, to_bytes) = (from.row_bytes(cols)?, to.row_bytes(cols)?);
    for round in tensor.bytes.chunks(rows * from_bytes * threads) {
        interrupt::check()?;
        let encode = |piece: &[u8]| -> Result<Vec<u8>> {
            let rows = piece.len() / from_bytes;
            let mut values = vec![0.0; rows * cols];
            from.decode(piece, &mut values)?;
            let mut encoded = vec![0; rows * to_bytes];
            to.encode(&values, &mut encoded)?;
            Ok(encoded)
        };
        let pieces = std::thread::scope(|scope| {
            let workers: Vec<_> = round.chunks(rows * from_bytes).map(|p| scope.spawn(move || encode(p))).collect();
            let join =
                |w: std::thread::ScopedJoinHandle<'_, _>| w.join().unwrap_or_else(|p| std::panic::resume_unwind(p));
            workers.into_iter().map(join).collect::<Result<Vec<_>>>()
        });
        for piece in pieces? {
            write(&piece)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mix_follows_llama_cpp() {
        let six: Vec<usize> = (0..30).filter(|l| more_bits(*l, 30)).collect();
        assert_eq!(six, [0, 1, 2, 5, 8, 11, 14, 17, 20, 23, 26, 27, 28, 29]);
        let of = |name, tied| Target::Q4KM.codec(name, 30, tied);
        assert_eq!(of("blk.5.attn_v.weight", true), Codec::Q6K);
        assert_eq!(of("blk.4.ffn_down.weight", true), Codec::Q4K);
        assert_eq!(of("blk.5.attn_q.weight", true), Codec::Q4K);
        assert_eq!(of("token_embd.weight", true), Codec::Q6K);
        assert_eq!(of("token_embd.weight", false), Codec::Q4K);
        assert_eq!(of("output.weight", false), Codec::Q6K);
    }

    #[test]
    fn rows_that_fill_no_block_get_smaller_blocks() {
        assert_eq!(fitting(Codec::Q4K, 512), Codec::Q4K);
        assert_eq!(fitting(Codec::Q4K, 576), Codec::Q5_0);
        assert_eq!(fitting(Codec::Q6K, 576), Codec::Q8_0);
        assert_eq!(fitting(Codec::Q4_0, 33), Codec::F16);
    }
}
