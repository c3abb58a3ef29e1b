//! An opened model, whatever files it lies in.

mod index;
mod locate;

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::archive::{self, Archive};
use crate::error::quote;
use crate::gguf::{self, Part};
use crate::metadata::Metadata;
use crate::pytorch::Contents;
use crate::source::Source;
use crate::tensor::{ForeignTensor, Place, Tensor, TensorInfo, TensorView};
use crate::{Error, numpy, onnx, pytorch, safetensors, sidecar};
use index::Index;
use locate::Located;

/// Format of the files of a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// ggml's GGUF.
    Gguf,
    /// Hugging Face's safetensors.
    Safetensors,
    /// What `torch.save` writes.
    PyTorch,
    /// NumPy's arrays.
    NumPy,
    /// The weights of an ONNX model.
    Onnx,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gguf => "GGUF",
            Self::Safetensors => "safetensors",
            Self::PyTorch => "PyTorch",
            Self::NumPy => "NumPy",
            Self::Onnx => "ONNX",
        })
    }
}

/// An opened model: memory-mapped weights, metadata and sidecar files.
pub struct Checkpoint {
    path: PathBuf,
    format: Format,
    sources: Vec<Source>,
    tensors: Vec<TensorInfo>,
    index: HashMap<String, usize>,
    foreign: Vec<ForeignTensor>,
    foreign_index: HashMap<String, usize>,
    metadata: Metadata,
    /// Folder of the sidecar files; none for GGUF, which carries everything itself.
    folder: Option<PathBuf>,
    config: Option<serde_json::Value>,
}

impl Checkpoint {
    /// Opens a model from any of its paths:
    ///
    /// - a GGUF file; any part of a split one (`-00002-of-00003.gguf`) opens all parts,
    /// - a file of safetensors or PyTorch; any shard that an index beside it lists opens all shards,
    /// - a `.safetensors.index.json` or `.bin.index.json`,
    /// - an array or an archive of arrays of NumPy,
    /// - a model of ONNX, of which only the initialisers are read,
    /// - a folder with one of these, usually with `config.json` and tokenizer files beside the weights.
    ///
    /// Reads headers and `config.json`; of PyTorch and NumPy also what has to be unpacked, put in order, or rounded from
    /// doubles.
    ///
    /// # Errors
    /// Nothing readable is there, parts are missing, or a header breaks a rule of its format.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        match locate::locate(path)? {
            Located::Gguf(file) => Self::open_gguf(path, Source::map(&file)?),
            Located::Single(file) => Self::open_files(path, &[file], None),
            Located::Sharded(index) => Self::open_files(path, &index.shard_paths()?, Some(&index)),
        }
    }

    /// As [`open`](Self::open), with that configuration instead of the `config.json` beside the weights.
    ///
    /// # Errors
    /// Those of [`open`](Self::open), and a GGUF file, which carries its own configuration.
    pub fn open_as(path: impl AsRef<Path>, config: Option<&serde_json::Value>) -> Result<Self, Error> {
        let mut checkpoint = Self::open(path)?;
        match config {
            Some(_) if checkpoint.format == Format::Gguf => Err(Error::Unsupported {
                file: checkpoint.path,
                field: "metadata".to_owned(),
                found: "another configuration than the file's own".to_owned(),
                advice: "leave it out".to_owned(),
            }),
            Some(config) => {
                checkpoint.config = Some(config.clone());
                Ok(checkpoint)
            }
            None => Ok(checkpoint),
        }
    }

    /// Reads a model of one file from memory; errors call it `name`. The format is told by the first bytes.
    ///
    /// # Errors
    /// The header breaks a rule of its format, or the bytes are one part of a split model.
    pub fn from_bytes(name: impl AsRef<Path>, bytes: Vec<u8>) -> Result<Self, Error> {
        let name = name.as_ref();
        let source = Source::owned(name, bytes);
        if !source.bytes().starts_with(&gguf::MAGIC) {
            let (format, contents, source) = read_file(source, 0)?;
            return Self::assemble(name, format, vec![source], contents.tensors, contents.metadata);
        }
        let (mut metadata, tensors) = gguf::read(&source, 0)?;
        if let Some(part) = Part::of(name, &metadata)? {
            let found = format!("part {} of {}", part.no, part.count);
            return Err(Error::malformed(name, "metadata key split.count", found, "a whole model"));
        }
        gguf::strip_split_keys(&mut metadata);
        Self::assemble(name, Format::Gguf, vec![source], tensors, metadata)
    }

    fn open_gguf(path: &Path, first: Source) -> Result<Self, Error> {
        let (mut metadata, mut tensors) = gguf::read(&first, 0)?;
        let Some(part) = Part::of(first.path(), &metadata)? else {
            gguf::strip_split_keys(&mut metadata);
            return Self::assemble(path, Format::Gguf, vec![first], tensors, metadata);
        };
        let files = part.siblings(first.path())?;
        let missing: Vec<PathBuf> = files.iter().filter(|file| !file.exists()).cloned().collect();
        if !missing.is_empty() {
            let file = first.path().to_path_buf();
            return Err(Error::MissingParts { file, count: files.len(), missing });
        }
        tensors.clear();
        let mut sources = Vec::with_capacity(files.len());
        for (no, file) in files.iter().enumerate() {
            let source = Source::map(file)?;
            let (part_metadata, part_tensors) = gguf::read(&source, no)?;
            part.check_sibling(file, &part_metadata, no as u64)?;
            tensors.extend(part_tensors);
            sources.push(source);
            // The first part carries the model's metadata, the others only their place in the split.
            if no == 0 {
                metadata = part_metadata;
            }
        }
        part.check_total(first.path(), tensors.len())?;
        gguf::strip_split_keys(&mut metadata);
        Self::assemble(path, Format::Gguf, sources, tensors, metadata)
    }

    fn open_files(path: &Path, files: &[PathBuf], index: Option<&Index>) -> Result<Self, Error> {
        let (mut metadata, mut format) = (Metadata::new(), Format::Safetensors);
        let (mut sources, mut tensors) = (Vec::with_capacity(files.len()), Vec::new());
        for (at, file) in files.iter().enumerate() {
            let (file_format, contents, source) = read_file(Source::map(file)?, at)?;
            tensors.extend(contents.tensors);
            sources.push(source);
            format = file_format;
            for (key, value) in contents.metadata.iter() {
                if !metadata.contains(key) {
                    metadata.set(key, value.clone());
                }
            }
        }
        if let Some(index) = index {
            index.check(tensors.iter())?;
        }
        let mut checkpoint = Self::assemble(path, format, sources, tensors, metadata)?;
        let folder = files.first().and_then(|file| file.parent());
        checkpoint.folder = folder.map(Path::to_path_buf);
        checkpoint.config = checkpoint.sidecar_json("config.json")?;
        Ok(checkpoint)
    }

    fn assemble(
        path: &Path,
        format: Format,
        sources: Vec<Source>,
        all: Vec<Tensor>,
        metadata: Metadata,
    ) -> Result<Self, Error> {
        let (mut tensors, mut foreign) = (Vec::with_capacity(all.len()), Vec::new());
        let mut index = HashMap::with_capacity(all.len());
        for tensor in all {
            if index.insert(tensor.name().to_owned(), tensors.len()).is_some() {
                return Err(Error::Duplicate {
                    file: sources[tensor.place().file].path().to_path_buf(),
                    field: format!("tensor {}", quote(tensor.name())),
                });
            }
            match tensor {
                Tensor::Weight(info) => tensors.push(info),
                Tensor::Foreign(one) => foreign.push(one),
            }
        }
        let foreign_index: HashMap<String, usize> =
            foreign.iter().enumerate().map(|(at, one)| (one.name.clone(), at)).collect();
        index.retain(|name, _| !foreign_index.contains_key(name));
        let path = path.to_path_buf();
        Ok(Self { path, format, sources, tensors, index, foreign, foreign_index, metadata, folder: None, config: None })
    }

    /// The path that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Format of the files.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Files that hold the weights, in the order of [`TensorInfo::file`].
    pub fn files(&self) -> impl ExactSizeIterator<Item = &Path> + '_ {
        self.sources.iter().map(Source::path)
    }

    /// Size of all those files together, in bytes.
    pub fn file_bytes(&self) -> u64 {
        self.sources.iter().map(|source| source.bytes().len() as u64).sum()
    }

    /// All weights in file order.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = &TensorInfo> + '_ {
        self.tensors.iter()
    }

    /// Tensors that cannot be weights, in file order.
    pub fn foreign_tensors(&self) -> &[ForeignTensor] {
        &self.foreign
    }

    /// The weight of that name.
    pub fn tensor(&self, name: &str) -> Option<TensorView<'_>> {
        self.index.get(name).map(|&at| self.view(&self.tensors[at]))
    }

    /// The weight of that name.
    ///
    /// # Errors
    /// There is no such tensor, or it is a [`ForeignTensor`].
    pub fn require(&self, name: &str) -> Result<TensorView<'_>, Error> {
        self.tensor(name).ok_or_else(|| match self.foreign_tensor(name) {
            Some(one) => Error::Unsupported {
                file: self.sources[one.place.file].path().to_path_buf(),
                field: format!("tensor {}", quote(name)),
                found: format!("dtype {} of shape {:?} as a weight", one.dtype, one.shape),
                advice: "save the tensor as F32, F16 or BF16".to_owned(),
            },
            None => Error::MissingTensor { path: self.path.clone(), name: quote(name) },
        })
    }

    fn view<'a>(&'a self, info: &'a TensorInfo) -> TensorView<'a> {
        TensorView { info, bytes: self.sources[info.place.file].bytes_at(&info.place) }
    }

    /// The foreign tensor of that name.
    pub fn foreign_tensor(&self, name: &str) -> Option<&ForeignTensor> {
        self.foreign_index.get(name).map(|&at| &self.foreign[at])
    }

    /// Stored bytes of a foreign tensor of this checkpoint, little-endian.
    pub fn foreign_bytes(&self, name: &str) -> Option<&[u8]> {
        let one = self.foreign_tensor(name)?;
        Some(self.sources[one.place.file].bytes_at(&one.place))
    }

    /// Key-value pairs of the files: everything GGUF says of the model, safetensors' `__metadata__`, or
    /// where the state dict was ([`pytorch::STATE_DICT_KEY`](crate::pytorch::STATE_DICT_KEY)).
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The parsed `config.json` beside the weights, or what was given instead.
    pub fn config(&self) -> Option<&serde_json::Value> {
        self.config.as_ref()
    }

    /// Path of a file in the folder of the weights, if it is there: `tokenizer.json`, `1_Pooling/config.json`.
    /// GGUF models have no sidecar files.
    ///
    /// # Errors
    /// `name` leads out of the folder.
    pub fn sidecar_path(&self, name: &str) -> Result<Option<PathBuf>, Error> {
        self.folder.as_deref().map_or(Ok(None), |folder| sidecar::find(folder, name))
    }

    /// Contents of such a file.
    ///
    /// # Errors
    /// `name` leads out of the folder, or the file cannot be read or has more than
    /// [`MAX_SIDECAR_BYTES`](crate::MAX_SIDECAR_BYTES).
    pub fn sidecar(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        self.sidecar_path(name)?.map(|path| sidecar::read_bounded(&path)).transpose()
    }

    /// Contents of such a file, parsed as JSON.
    ///
    /// # Errors
    /// Those of [`sidecar`](Self::sidecar), or it is not JSON.
    pub fn sidecar_json(&self, name: &str) -> Result<Option<serde_json::Value>, Error> {
        self.sidecar_path(name)?.map(|path| sidecar::read_json(&path)).transpose()
    }

    /// Drops the memory pages that lie wholly inside a tensor, foreign ones included, once its values were copied elsewhere.
    /// They come back from the file when looked at again.
    pub fn release(&self, name: &str) {
        let weight = self.index.get(name).map(|&at| &self.tensors[at].place);
        let Some(place) = weight.or_else(|| self.foreign_tensor(name).map(|one| &one.place)) else { return };
        if let Some(source) = self.sources.get(place.file) {
            source.release(place);
        }
    }

    /// Says the same of everything that the files hold.
    pub fn release_all(&self) {
        self.sources.iter().for_each(|source| source.release(&Place::mapped(0, 0..source.bytes().len())));
    }

    /// Asks the system to begin reading a weight from disk.
    pub fn will_need(&self, tensor: &TensorView<'_>) {
        let place = &tensor.info.place;
        if let Some(source) = self.sources.get(place.file) {
            source.will_need(place);
        }
    }
}

/// Reads a file that is not GGUF; its first bytes tell the format.
fn read_file(source: Source, at: usize) -> Result<(Format, Contents, Source), Error> {
    let bytes = source.bytes();
    let (format, mut contents) = if bytes.starts_with(&archive::MAGIC) {
        let archive = Archive::read(&source)?;
        if pytorch::is_torch(&archive) {
            (Format::PyTorch, pytorch::read_zip(&source, archive, at)?)
        } else if numpy::is_numpy(&archive) {
            (Format::NumPy, numpy::read_npz(&source, archive, at)?)
        } else {
            let expected = "data.pkl of PyTorch, or arrays of NumPy";
            return Err(Error::malformed(source.path(), "zip archive", "other members", expected));
        }
    } else if bytes.starts_with(&pytorch::LEGACY_MAGIC) {
        (Format::PyTorch, pytorch::read_legacy(&source, at)?)
    } else if bytes.starts_with(&numpy::MAGIC) {
        (Format::NumPy, numpy::read_npy(&source, at)?)
    } else if onnx::is_onnx(&source) {
        (Format::Onnx, onnx::read(&source, at)?)
    } else {
        let (metadata, tensors) = safetensors::read(&source, at)?;
        (Format::Safetensors, Contents { metadata, tensors, copies: Vec::new() })
    };
    let source = source.with_copies(std::mem::take(&mut contents.copies));
    Ok((format, contents, source))
}

impl fmt::Debug for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checkpoint")
            .field("path", &self.path)
            .field("format", &self.format)
            .field("files", &self.sources.len())
            .field("tensors", &self.tensors.len())
            .finish_non_exhaustive()
    }
}
