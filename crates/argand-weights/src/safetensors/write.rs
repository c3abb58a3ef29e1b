//! The safetensors writer: header first, then tensor data as it comes, so that a model larger than memory can be written.

use std::collections::HashSet;
use std::path::Path;

use serde_json::{Map, Value as Json, json};

use super::{LENGTH_BYTES, MAX_DIMS, MAX_HEADER, element};
use crate::Error;
use crate::error::quote;
use crate::output::Output;
use crate::tensor::check_name;

/// The header is filled up with spaces, so that data begins at a multiple of this.
const ALIGNMENT: usize = 8;

/// A tensor that will be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// Its name, unique in the file.
    pub name: String,
    /// Dimensions, outermost first; at most [`MAX_DIMS`].
    pub shape: Vec<usize>,
    /// Element type as the format calls it, for example `F32`.
    pub dtype: String,
}

/// Writes one safetensors file.
///
/// Nothing appears under the final name before [`finish`](Self::finish): data goes to a temporary file in the same
/// folder, which is removed when anything fails or the writer is dropped.
pub struct Writer {
    output: Output,
    /// Names and sizes in bytes, in the order of the file.
    tensors: Vec<(String, usize)>,
    /// The tensor that is being written, and how many of its bytes are there.
    current: usize,
    filled: usize,
}

impl Writer {
    /// Begins the file `path` and writes its header; `metadata` becomes `__metadata__`.
    ///
    /// # Errors
    /// A tensor breaks a rule of the format, or the folder cannot be written.
    pub fn create(
        path: impl AsRef<Path>,
        metadata: &[(String, String)],
        tensors: &[TensorSpec],
    ) -> Result<Self, Error> {
        let path = path.as_ref();
        let (mut header, mut sizes, mut end) = (Map::new(), Vec::with_capacity(tensors.len()), 0usize);
        if !metadata.is_empty() {
            let pairs = metadata.iter().map(|(key, text)| (key.clone(), Json::String(text.clone())));
            header.insert("__metadata__".to_owned(), Json::Object(pairs.collect()));
        }
        let mut names = HashSet::from(["__metadata__"]);
        for spec in tensors {
            let size = size(path, spec)?;
            if !names.insert(&spec.name) {
                let field = format!("tensor {}", quote(&spec.name));
                return Err(Error::Duplicate { file: path.to_path_buf(), field });
            }
            let begin = end;
            end = end.checked_add(size).ok_or_else(|| {
                Error::malformed(path, "tensors", "more bytes than can be counted", "a file that can exist")
            })?;
            let about = json!({"dtype": spec.dtype, "shape": spec.shape, "data_offsets": [begin, end]});
            header.insert(spec.name.clone(), about);
            sizes.push((spec.name.clone(), size));
        }
        let mut header = Json::Object(header).to_string().into_bytes();
        header.resize(header.len().next_multiple_of(ALIGNMENT), b' ');
        if header.len() > MAX_HEADER {
            return Err(Error::malformed(path, "header", header.len(), format!("at most {MAX_HEADER} bytes")));
        }
        let total = (LENGTH_BYTES + header.len()) as u64 + end as u64;
        let mut output = Output::create(path, total)?;
        output.put(&(header.len() as u64).to_le_bytes())?;
        output.put(&header)?;
        Ok(Self { output, tensors: sizes, current: 0, filled: 0 })
    }

    /// Size in bytes that the finished file will have.
    pub fn file_bytes(&self) -> u64 {
        self.output.total()
    }

    /// Appends data of the tensor `name`, all of it or the next piece. Tensors come in the order in which they were
    /// given to [`create`](Self::create); those without elements are left out.
    ///
    /// # Errors
    /// It is another tensor's turn, the tensor gets more bytes than it has, or the disk refuses.
    pub fn write(&mut self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        self.skip_empty();
        let turn = self.tensors.get(self.current).filter(|(turn, _)| turn == name);
        let Some((_, size)) = turn else {
            let expected = self.tensors.get(self.current).map_or("no more tensors", |(turn, _)| turn.as_str());
            let field = format!("tensor {}", quote(name));
            return Err(Error::malformed(self.output.path(), field, "its data", format!("data of {expected} first")));
        };
        if bytes.len() > size - self.filled {
            let field = format!("tensor {}", quote(name));
            let found = format!("{} more bytes", bytes.len());
            return Err(Error::malformed(self.output.path(), field, found, format!("{}", size - self.filled)));
        }
        self.output.put(bytes)?;
        self.filled += bytes.len();
        if self.filled == *size {
            (self.current, self.filled) = (self.current + 1, 0);
        }
        Ok(())
    }

    /// Makes the file durable and gives it its name, replacing an older file of that name.
    ///
    /// # Errors
    /// A tensor is not complete, or the disk refuses; then nothing is left behind.
    pub fn finish(mut self) -> Result<(), Error> {
        self.skip_empty();
        if let Some((name, size)) = self.tensors.get(self.current) {
            let found = format!("{} bytes", self.filled);
            let field = format!("tensor {}", quote(name));
            return Err(Error::malformed(self.output.path(), field, found, format!("{size} before the end")));
        }
        self.output.finish()
    }

    fn skip_empty(&mut self) {
        while self.tensors.get(self.current).is_some_and(|(_, size)| *size == 0) {
            self.current += 1;
        }
    }
}

/// Checks a tensor and computes its size in bytes.
fn size(path: &Path, spec: &TensorSpec) -> Result<usize, Error> {
    check_name(path, "name of a tensor", &spec.name)?;
    let field = |what: &str| format!("tensor {}: {what}", quote(&spec.name));
    let element = element(&spec.dtype).ok_or_else(|| Error::Unsupported {
        file: path.to_path_buf(),
        field: field("dtype"),
        found: quote(&spec.dtype),
        advice: "safetensors has no such element type".to_owned(),
    })?;
    if spec.shape.len() > MAX_DIMS {
        let found = format!("{} dimensions", spec.shape.len());
        return Err(Error::malformed(path, field("shape"), found, format!("at most {MAX_DIMS}")));
    }
    element
        .size_of(&spec.shape)
        .map_err(|expected| Error::malformed(path, field("shape"), format!("{:?}", spec.shape), expected))
}
