//! The table of codecs: one row per format. A new format is one variant, one row and its routines.

use crate::{
    Codec,
    blocks::{decode_each, encode_each},
    float, iq4, kquant, kquant_encode, legacy, mxfp4,
};

/// Decodes whole blocks from bytes to values.
type Decode = fn(&[u8], &mut [f32]);

/// Encodes whole blocks from values to bytes.
type Encode = fn(&[f32], &mut [u8]);

/// What there is to know about a codec. The routines assume lengths that [`Codec`] has checked.
pub(crate) struct Format {
    pub codec: Codec,
    /// Name in ggml.
    pub name: &'static str,
    /// Number of the `ggml_type` in GGUF files.
    pub ggml_type: u32,
    /// Values per block.
    pub block_len: usize,
    /// Bytes per block.
    pub block_bytes: usize,
    pub decode: Decode,
    pub encode: Option<Encode>,
}

/// A row for a plain float: codec, name, number, bytes, slice decoder, slice encoder.
macro_rules! float {
    ($codec:ident, $name:literal, $ggml_type:literal, $bytes:literal, $decode:path, $encode:path) => {
        Format {
            codec: Codec::$codec,
            name: $name,
            ggml_type: $ggml_type,
            block_len: 1,
            block_bytes: $bytes,
            decode: $decode,
            encode: Some($encode),
        }
    };
}

/// A row for a block format: codec, name, number, values, bytes, block decoder and, if there is one, block encoder.
macro_rules! block {
    ($codec:ident, $name:literal, $ggml_type:literal, $len:literal, $bytes:literal, $decode:path) => {
        block!(@row $codec, $name, $ggml_type, $len, $bytes, $decode, None)
    };
    ($codec:ident, $name:literal, $ggml_type:literal, $len:literal, $bytes:literal, $decode:path, $encode:path) => {
        block!(@row $codec, $name, $ggml_type, $len, $bytes, $decode,
            Some(|src, dst| encode_each::<$len, $bytes>(src, dst, $encode)))
    };
    (@row $codec:ident, $name:literal, $ggml_type:literal, $len:literal, $bytes:literal, $decode:path, $encode:expr) => {
        Format {
            codec: Codec::$codec,
            name: $name,
            ggml_type: $ggml_type,
            block_len: $len,
            block_bytes: $bytes,
            decode: |src, dst| decode_each::<$len, $bytes>(src, dst, $decode),
            encode: $encode,
        }
    };
}

/// In the order of the enum's variants, so that `codec as usize` is the index.
pub(crate) static FORMATS: [Format; CODECS.len()] = [
    float!(F32, "F32", 0, 4, float::decode_f32, float::encode_f32),
    float!(F16, "F16", 1, 2, float::decode_f16, float::encode_f16),
    float!(BF16, "BF16", 30, 2, float::decode_bf16, float::encode_bf16),
    block!(Q8_0, "Q8_0", 8, 32, 34, legacy::decode_q8_0, legacy::encode_q8_0),
    block!(Q4_0, "Q4_0", 2, 32, 18, legacy::decode_q4_0, legacy::encode_q4_0),
    block!(Q4_1, "Q4_1", 3, 32, 20, legacy::decode_q4_1, legacy::encode_q4_1),
    block!(Q5_0, "Q5_0", 6, 32, 22, legacy::decode_q5_0, legacy::encode_q5_0),
    block!(Q5_1, "Q5_1", 7, 32, 24, legacy::decode_q5_1, legacy::encode_q5_1),
    block!(Q2K, "Q2_K", 10, 256, 84, kquant::decode_q2_k),
    block!(Q3K, "Q3_K", 11, 256, 110, kquant::decode_q3_k),
    block!(Q4K, "Q4_K", 12, 256, 144, kquant::decode_q4_k, kquant_encode::encode_q4_k),
    block!(Q5K, "Q5_K", 13, 256, 176, kquant::decode_q5_k, kquant_encode::encode_q5_k),
    block!(Q6K, "Q6_K", 14, 256, 210, kquant::decode_q6_k, kquant_encode::encode_q6_k),
    block!(Iq4Nl, "IQ4_NL", 20, 32, 18, iq4::decode_iq4_nl),
    block!(Iq4Xs, "IQ4_XS", 23, 256, 136, iq4::decode_iq4_xs),
    block!(Mxfp4, "MXFP4", 39, 32, 17, mxfp4::decode_mxfp4),
];

/// Every codec, in the order of the enum.
pub(crate) const CODECS: [Codec; 16] = {
    use Codec::*;
    [F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q2K, Q3K, Q4K, Q5K, Q6K, Iq4Nl, Iq4Xs, Mxfp4]
};

const _: () = {
    let mut index = 0;
    while index < CODECS.len() {
        assert!(CODECS[index] as usize == index && FORMATS[index].codec as usize == index);
        index += 1;
    }
};
