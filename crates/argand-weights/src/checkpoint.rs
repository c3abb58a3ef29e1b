//! An opened model, whatever files it lies in.

mod locate;

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::error::quote;
use crate::gguf::{self, Part};
use crate::metadata::Metadata;
use crate::safetensors::{self, Index};
use crate::source::Source;
use crate::tensor::{ForeignTensor, Tensor, TensorInfo, TensorView};
use crate::{Error, sidecar};
use locate::Located;

/// Format of the files of a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// ggml's GGUF.
    Gguf,
    /// Hugging Face's safetensors.
    Safetensors,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gguf => "GGUF",
            Self::Safetensors => "safetensors",
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
    metadata: Metadata,
    /// Folder of the sidecar files; none for GGUF, which carries everything itself.
    folder: Option<PathBuf>,
    config: Option<serde_json::Value>,
}

impl Checkpoint {
    /// Opens a model from any of its paths:
    ///
    /// - a GGUF file; any part of a split one (`-00002-of-00003.gguf`) opens all parts,
    /// - a safetensors file; any shard that an index beside it lists opens all shards,
    /// - a `.safetensors.index.json`,
    /// - a folder with one of these, usually with `config.json` and tokenizer files beside the weights.
    ///
    /// Reads headers and `config.json`, nothing else.
    ///
    /// # Errors
    /// Nothing readable is there, parts are missing, or a header breaks a rule of its format.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        match locate::locate(path)? {
            Located::Gguf(file) => Self::open_gguf(path, Source::map(&file)?),
            Located::Safetensors(file) => Self::open_safetensors(path, &[file], None),
            Located::Sharded(index) => Self::open_safetensors(path, &index.shard_paths()?, Some(&index)),
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
            let (metadata, tensors) = safetensors::read(&source, 0)?;
            return Self::assemble(name, Format::Safetensors, vec![source], tensors, metadata);
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

    fn open_safetensors(path: &Path, files: &[PathBuf], index: Option<&Index>) -> Result<Self, Error> {
        let mut metadata = Metadata::new();
        let (mut sources, mut tensors) = (Vec::with_capacity(files.len()), Vec::new());
        for (at, file) in files.iter().enumerate() {
            let source = Source::map(file)?;
            let (file_metadata, file_tensors) = safetensors::read(&source, at)?;
            tensors.extend(file_tensors);
            sources.push(source);
            for (key, value) in file_metadata.iter() {
                if !metadata.contains(key) {
                    metadata.set(key, value.clone());
                }
            }
        }
        if let Some(index) = index {
            index.check(tensors.iter())?;
        }
        let mut checkpoint = Self::assemble(path, Format::Safetensors, sources, tensors, metadata)?;
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
        for one in &foreign {
            index.remove(&one.name);
        }
        let path = path.to_path_buf();
        Ok(Self { path, format, sources, tensors, index, foreign, metadata, folder: None, config: None })
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
        self.tensor(name).ok_or_else(|| match self.foreign.iter().find(|one| one.name == name) {
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
        let bytes = &self.sources[info.place.file].bytes()[info.place.range.clone()];
        TensorView { info, bytes }
    }

    /// Stored bytes of a foreign tensor of this checkpoint, little-endian.
    pub fn foreign_bytes(&self, name: &str) -> Option<&[u8]> {
        let one = self.foreign.iter().find(|one| one.name == name)?;
        Some(&self.sources[one.place.file].bytes()[one.place.range.clone()])
    }

    /// Key-value pairs of the files: everything GGUF says of the model, or safetensors' `__metadata__`.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The parsed `config.json` beside safetensors files.
    pub fn config(&self) -> Option<&serde_json::Value> {
        self.config.as_ref()
    }

    /// Path of a file in the folder of a safetensors model, if it is there: `tokenizer.json`, `1_Pooling/config.json`.
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

    /// Drops the memory pages that lie wholly inside a weight, once its values were copied elsewhere. They come back
    /// from the file when looked at again.
    pub fn release(&self, tensor: &TensorView<'_>) {
        let place = &tensor.info.place;
        if let Some(source) = self.sources.get(place.file) {
            source.release(&place.range);
        }
    }

    /// Says the same of everything that the files hold.
    pub fn release_all(&self) {
        self.sources.iter().for_each(|source| source.release(&(0..source.bytes().len())));
    }

    /// Asks the system to begin reading a weight from disk.
    pub fn will_need(&self, tensor: &TensorView<'_>) {
        let place = &tensor.info.place;
        if let Some(source) = self.sources.get(place.file) {
            source.will_need(&place.range);
        }
    }
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
