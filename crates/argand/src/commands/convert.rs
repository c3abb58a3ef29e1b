//! `argand convert`: a model written in another format.

use super::quantize::recode;
use crate::args::ConfigArgs;
use crate::{interrupt, models, ui};
use anyhow::{Context, Result, bail};
use argand::machine::Machine;
use argand_codec::Codec;
use argand_engine::twin::Twin;
use argand_weights::{Checkpoint, Format, TensorInfo, TensorView, Value, gguf, pytorch, safetensors};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Write a model in another format
///
/// Reads GGUF, safetensors, PyTorch (.bin, .pt, .pth; nothing in them is run), NumPy (.npz, .npy) and ONNX (its
/// initialisers), in one file or in several, and writes one file. Values stay as they are, but block formats become F32 in
/// safetensors, doubles of PyTorch and NumPy become F32, and so do vectors in GGUF. A GGUF file of another format also gets
/// the configuration, the vocabulary and the chat template; what GGUF has no word for is an error. The file appears under
/// its name only when it is complete.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  argand convert pytorch_model.bin model.safetensors
  argand convert model-00001-of-00003.gguf model.gguf
  argand convert llama-folder/ model.gguf
  argand convert bert-folder/ model.safetensors --json")]
pub struct Convert {
    /// Model to read: a file, a folder, or a name
    source: String,
    /// File to write: .safetensors or .gguf
    output: PathBuf,
    /// Say as JSON what was written
    #[arg(long)]
    json: bool,
    /// Replace a file that is there
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

/// What a new file holds.
struct Written {
    bytes: u64,
    tensors: usize,
    elements: usize,
}

impl Written {
    /// A file with all tensors of a checkpoint.
    fn all(checkpoint: &Checkpoint, bytes: u64) -> Written {
        let tensors = checkpoint.tensors().len() + checkpoint.foreign_tensors().len();
        Written { bytes, tensors, elements: checkpoint.tensors().map(TensorInfo::elements).sum() }
    }
}

/// Bytes that are copied at a time, between looks at whether to go on.
const PIECE: usize = 16 << 20;

/// Takes the bytes of a tensor by its name, piece by piece.
type Write<'w> = &'w mut dyn FnMut(&str, &[u8]) -> Result<(), argand_weights::Error>;

impl Convert {
    pub fn run(self) -> Result<()> {
        let path = Path::new(&self.source);
        let input = if path.exists() { path.to_path_buf() } else { models::ready(&self.source)?.path };
        let checkpoint = Arc::new(Checkpoint::open_as(&input, self.config.read()?.as_ref())?);
        check_output(&checkpoint, &self.output, self.force)?;
        let extension = self.output.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
        let _gentle = interrupt::gentle();
        let written = match extension.as_str() {
            "safetensors" => self.safetensors(&checkpoint)?,
            "gguf" if checkpoint.format() == Format::Gguf => self.gguf(&checkpoint)?,
            "gguf" => self.twin(&checkpoint)?,
            _ => bail!("{} says no format; end its name in .safetensors or .gguf", self.output.display()),
        };
        self.report(&checkpoint, &written)
    }

    fn safetensors(&self, checkpoint: &Checkpoint) -> Result<Written> {
        let spec = |name: &str, shape: &[usize], dtype: &str| safetensors::TensorSpec {
            name: name.to_string(),
            shape: shape.to_vec(),
            dtype: dtype.to_string(),
        };
        let weights = checkpoint.tensors().map(|t| spec(&t.name, &t.shape, plain(t.codec).name()));
        let foreign = checkpoint.foreign_tensors().iter().map(|t| spec(&t.name, &t.shape, t.dtype));
        let specs: Vec<_> = weights.chain(foreign).collect();
        // What safetensors says of itself is text; other formats' metadata has its own place in files beside.
        let own = checkpoint.metadata().iter().filter(|_| checkpoint.format() == Format::Safetensors);
        let texts = own.filter_map(|(key, value)| match value {
            Value::Str(text) => Some((key.to_string(), text.clone())),
            _ => None,
        });
        let mut metadata: Vec<(String, String)> = texts.collect();
        if !metadata.iter().any(|(key, _)| key == "format") {
            metadata.push(("format".into(), "pt".into()));
        }
        let mut writer = safetensors::Writer::create(&self.output, &metadata, &specs)?;
        let bytes = writer.file_bytes();
        copy(checkpoint, plain, &mut |name, piece| writer.write(name, piece))?;
        writer.finish()?;
        Ok(Written::all(checkpoint, bytes))
    }

    /// GGUF of GGUF: the parts of a split model become one file.
    fn gguf(&self, checkpoint: &Checkpoint) -> Result<Written> {
        check_copies(checkpoint)?;
        let spec = |t: &TensorInfo| gguf::TensorSpec { name: t.name.clone(), shape: t.shape.clone(), codec: t.codec };
        let specs = checkpoint.tensors().map(spec).collect();
        let mut writer = gguf::Writer::create(&self.output, checkpoint.metadata(), specs)?;
        let bytes = writer.file_bytes();
        copy(checkpoint, |codec| codec, &mut |name, piece| writer.write(name, piece))?;
        writer.finish()?;
        Ok(Written::all(checkpoint, bytes))
    }

    /// GGUF of anything else that has a configuration.
    fn twin(&self, checkpoint: &Arc<Checkpoint>) -> Result<Written> {
        let twin = Twin::of(checkpoint)?;
        if !twin.has_vocabulary() {
            bail!(
                "{}: there is no tokenizer.json beside the weights, and a GGUF file without a vocabulary is read by none; put \
                 it there, or write .safetensors",
                checkpoint.path().display()
            );
        }
        if let [first, rest @ ..] = twin.left_out() {
            let more = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
            eprintln!("left out, because the model does not use them: {first}{more}");
        }
        let mut writer = gguf::Writer::create(&self.output, twin.metadata(), twin.specs())?;
        let bytes = writer.file_bytes();
        let bar = ui::bar("converting", Some(bytes));
        twin.write::<anyhow::Error>(&mut |name, piece| {
            interrupt::check()?;
            bar.inc(piece.len() as u64);
            Ok(writer.write(name, piece)?)
        })?;
        writer.finish()?;
        bar.finish_and_clear();
        let elements = twin.specs().iter().map(|spec| spec.shape.iter().product::<usize>()).sum();
        Ok(Written { bytes, tensors: twin.specs().len(), elements })
    }

    fn report(&self, checkpoint: &Checkpoint, written: &Written) -> Result<()> {
        let Written { bytes, tensors, elements } = *written;
        let (from, output) = (checkpoint.format(), self.output.display());
        let state_dict = checkpoint.metadata().get_str(pytorch::STATE_DICT_KEY);
        if self.json {
            let mut stored: BTreeMap<&str, usize> = BTreeMap::new();
            checkpoint.tensors().for_each(|t| *stored.entry(t.codec.name()).or_default() += 1);
            checkpoint.foreign_tensors().iter().for_each(|t| *stored.entry(t.dtype).or_default() += 1);
            return Ok(ui::out_json(&json!({
                "source": checkpoint.path(),
                "format": from.to_string(),
                "source_bytes": checkpoint.file_bytes(),
                "state_dict": state_dict,
                "source_dtypes": stored,
                "output": self.output,
                "bytes": bytes,
                "tensors": tensors,
                "elements": elements,
            }))?);
        }
        let under = state_dict.map_or(String::new(), |path| format!(", under {path:?}"));
        let size = argand_hub::human_bytes(bytes);
        ui::out(&format!("{output}: {size}, {tensors} tensors, was {from}{under}\n"))?;
        let folder = |path: &Path| path.parent().and_then(|folder| std::fs::canonicalize(folder.join(".")).ok());
        let moved = checkpoint.files().next().is_some_and(|file| folder(file) != folder(&self.output));
        let whole = self.output.extension().is_some_and(|e| e.eq_ignore_ascii_case("gguf"));
        if checkpoint.config().is_some() && moved && !whole {
            eprintln!("to run it, copy config.json and the tokenizer's files beside it");
        }
        Ok(())
    }
}

/// The format of a weight in safetensors.
fn plain(codec: Codec) -> Codec {
    match codec {
        Codec::F32 | Codec::F16 | Codec::BF16 => codec,
        _ => Codec::F32,
    }
}

/// Hands all tensors on, weights first, and shows how far it has come.
fn copy(checkpoint: &Checkpoint, target: impl Fn(Codec) -> Codec, write: Write<'_>) -> Result<()> {
    let threads = Machine::read().threads().count;
    let bar = ui::bar("converting", Some(checkpoint.file_bytes()));
    for info in checkpoint.tensors() {
        let tensor = checkpoint.require(&info.name)?;
        let about = || format!("tensor {}", info.name);
        match target(info.codec) {
            codec if codec == info.codec => pieces(&tensor, write).with_context(about)?,
            codec => recode(&tensor, codec, threads, &mut |piece| Ok(write(&info.name, piece)?)).with_context(about)?,
        }
        checkpoint.release(&tensor.info.name);
        bar.inc(tensor.bytes.len() as u64);
    }
    for one in checkpoint.foreign_tensors() {
        interrupt::check()?;
        let bytes = checkpoint.foreign_bytes(&one.name).unwrap_or_default();
        if !bytes.is_empty() {
            write(&one.name, bytes)?;
        }
    }
    bar.finish_and_clear();
    Ok(())
}

fn pieces(tensor: &TensorView<'_>, write: Write<'_>) -> Result<()> {
    for piece in tensor.bytes.chunks(PIECE) {
        interrupt::check()?;
        write(&tensor.info.name, piece)?;
    }
    Ok(())
}

/// GGUF's writer takes weights only.
pub fn check_copies(checkpoint: &Checkpoint) -> Result<()> {
    match checkpoint.foreign_tensors().first() {
        Some(one) => bail!("tensor {} has the element type {}, which cannot be copied", one.name, one.dtype),
        None => Ok(()),
    }
}

/// A file is never written over what is being read, and over another one only when told to.
pub fn check_output(checkpoint: &Checkpoint, output: &Path, force: bool) -> Result<()> {
    let real = std::fs::canonicalize(output).ok();
    if real.is_some() && checkpoint.files().any(|file| std::fs::canonicalize(file).ok() == real) {
        bail!("{} is the input; write to another file", output.display());
    }
    if output.exists() && !force {
        bail!("{} is there already; --force replaces it", output.display());
    }
    Ok(())
}
