//! The codec type: names, sizes, and the checked doors to encoding and decoding.

use std::fmt;

use crate::{
    CodecError,
    table::{self, Format},
};

/// How the values of a weight are stored.
///
/// The block formats are those of ggml; [`Codec::name`] and [`Codec::ggml_type`] are its identifiers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary16.
    F16,
    /// The upper half of a binary32.
    BF16,
    /// 32 signed bytes and a scale.
    Q8_0,
    /// 32 levels of 4 bits around zero and a scale.
    Q4_0,
    /// 32 levels of 4 bits, a scale and a minimum.
    Q4_1,
    /// 32 levels of 5 bits around zero and a scale.
    Q5_0,
    /// 32 levels of 5 bits, a scale and a minimum.
    Q5_1,
    /// 256 levels of 2 bits; 4-bit scales and minima of 16 values each.
    Q2K,
    /// 256 levels of 3 bits around zero; 6-bit scales of 16 values each.
    Q3K,
    /// 256 levels of 4 bits; 6-bit scales and minima of 32 values each.
    Q4K,
    /// 256 levels of 5 bits; 6-bit scales and minima of 32 values each.
    Q5K,
    /// 256 levels of 6 bits around zero; 8-bit scales of 16 values each.
    Q6K,
    /// 32 indexes into 16 non-linear levels and a scale.
    Iq4Nl,
    /// 256 indexes into 16 non-linear levels; 6-bit scales of 32 values each.
    Iq4Xs,
    /// 32 E2M1 floats with a shared E8M0 exponent (OCP Microscaling, MXFP4).
    Mxfp4,
}

impl Codec {
    /// Every codec, in the order of the enum.
    pub const ALL: &[Codec] = &table::CODECS;

    fn format(self) -> &'static Format {
        &table::FORMATS[self as usize]
    }

    /// The name that ggml gives it, such as `Q4_K`.
    pub fn name(self) -> &'static str {
        self.format().name
    }

    /// The codec of that ggml name, in upper or lower case.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|codec| codec.name().eq_ignore_ascii_case(name))
    }

    /// The `ggml_type` number in GGUF files.
    pub fn ggml_type(self) -> u32 {
        self.format().ggml_type
    }

    /// The codec with that `ggml_type` number, if Argand reads it.
    pub fn from_ggml_type(number: u32) -> Option<Self> {
        Self::ALL.iter().copied().find(|codec| codec.ggml_type() == number)
    }

    /// Values in a block; 1 for plain floats.
    pub fn block_len(self) -> usize {
        self.format().block_len
    }

    /// Bytes in a block.
    pub fn block_bytes(self) -> usize {
        self.format().block_bytes
    }

    /// Bits per value, scales included.
    pub fn bits_per_value(self) -> f64 {
        8.0 * self.block_bytes() as f64 / self.block_len() as f64
    }

    /// Whether [`Codec::encode`] supports it.
    pub fn has_encoder(self) -> bool {
        self.format().encode.is_some()
    }

    /// Bytes of a row of `cols` values.
    ///
    /// # Errors
    /// [`CodecError::PartialBlock`] if `cols` is not a multiple of the block length, [`CodecError::TooLarge`] if the size
    /// overflows.
    pub fn row_bytes(self, cols: usize) -> Result<usize, CodecError> {
        if !cols.is_multiple_of(self.block_len()) {
            return Err(CodecError::PartialBlock { codec: self, values: cols });
        }
        (cols / self.block_len())
            .checked_mul(self.block_bytes())
            .ok_or(CodecError::TooLarge { codec: self, values: cols })
    }

    /// Decodes whole blocks (one row, or several adjacent ones), bit-exact with ggml's `dequantize_row_*`.
    ///
    /// # Errors
    /// If `dst.len()` is not a whole number of blocks or `src` has not exactly the bytes of that many values.
    pub fn decode(self, src: &[u8], dst: &mut [f32]) -> Result<(), CodecError> {
        self.check_lengths(dst.len(), src.len())?;
        (self.format().decode)(src, dst);
        Ok(())
    }

    /// Encodes whole blocks (one row, or several adjacent ones).
    ///
    /// Plain floats round to nearest even and pass NaN and infinities on. Block formats choose scales by the methods of
    /// ggml's `quantize_row_*_ref`, extremes for the blocks of 32 and a weighted least-squares search for the k-quants, and
    /// decode to the same values.
    ///
    /// # Errors
    /// As [`Codec::decode`]; [`CodecError::NoEncoder`] for formats that are only read; [`CodecError::OutOfRange`] if a block
    /// format is given a value that is not finite or exceeds 65504, the largest `f16`.
    pub fn encode(self, src: &[f32], dst: &mut [u8]) -> Result<(), CodecError> {
        let encode = self.format().encode.ok_or(CodecError::NoEncoder { codec: self })?;
        self.check_lengths(src.len(), dst.len())?;
        if self.block_len() > 1 {
            self.check_range(src)?;
        }
        encode(src, dst);
        Ok(())
    }

    fn check_lengths(self, values: usize, found: usize) -> Result<(), CodecError> {
        let expected = self.row_bytes(values)?;
        if found == expected { Ok(()) } else { Err(CodecError::WrongLength { codec: self, values, expected, found }) }
    }

    fn check_range(self, values: &[f32]) -> Result<(), CodecError> {
        let limit = half::f16::MAX.to_f32();
        let fits = |value: f32| value.abs() <= limit; // false for NaN
        match values.iter().position(|&value| !fits(value)) {
            None => Ok(()),
            Some(index) => Err(CodecError::OutOfRange { codec: self, index, value: values[index] }),
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
