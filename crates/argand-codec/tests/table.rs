//! Names, numbers, sizes and plain floats.

use std::collections::HashSet;

use argand_codec::{Codec, CodecError};

#[test]
fn names_and_numbers_lead_back_to_the_codec() {
    let mut names = HashSet::new();
    let mut numbers = HashSet::new();
    for &codec in Codec::ALL {
        assert_eq!(Codec::from_name(codec.name()), Some(codec));
        assert_eq!(Codec::from_name(&codec.name().to_lowercase()), Some(codec));
        assert_eq!(Codec::from_ggml_type(codec.ggml_type()), Some(codec));
        assert!(names.insert(codec.name()) && numbers.insert(codec.ggml_type()), "{codec} twice");
    }
    assert_eq!(Codec::from_name("Q4"), None);
    assert_eq!(Codec::from_ggml_type(u32::MAX), None);
}

/// Type numbers and sizes as in ggml.h, values per block and bytes.
#[test]
fn numbers_and_sizes_are_those_of_ggml() {
    let expected = [
        ("F32", 0, 1, 4),
        ("F16", 1, 1, 2),
        ("Q4_0", 2, 32, 2 + 16),
        ("Q4_1", 3, 32, 4 + 16),
        ("Q5_0", 6, 32, 2 + 4 + 16),
        ("Q5_1", 7, 32, 4 + 4 + 16),
        ("Q8_0", 8, 32, 2 + 32),
        ("Q2_K", 10, 256, 4 + 16 + 64),
        ("Q3_K", 11, 256, 2 + 12 + 64 + 32),
        ("Q4_K", 12, 256, 4 + 12 + 128),
        ("Q5_K", 13, 256, 4 + 12 + 128 + 32),
        ("Q6_K", 14, 256, 2 + 16 + 128 + 64),
        ("IQ4_NL", 20, 32, 2 + 16),
        ("IQ4_XS", 23, 256, 2 + 2 + 4 + 128),
        ("BF16", 30, 1, 2),
        ("MXFP4", 39, 32, 1 + 16),
    ];
    assert_eq!(Codec::ALL.len(), expected.len());
    for (name, number, values, bytes) in expected {
        let codec = Codec::from_name(name).unwrap();
        let found = (codec.ggml_type(), codec.block_len(), codec.block_bytes());
        assert_eq!(found, (number, values, bytes), "{name}");
    }
    assert_eq!(Codec::Q4K.bits_per_value(), 4.5);
}

#[test]
fn wrong_lengths_are_named() {
    let codec = Codec::Q4K;
    assert_eq!(codec.row_bytes(896), Err(CodecError::PartialBlock { codec, values: 896 }));
    assert_eq!(
        codec.decode(&[0; 143], &mut [0.0; 256]),
        Err(CodecError::WrongLength { codec, values: 256, expected: 144, found: 143 })
    );
    assert_eq!(
        codec.encode(&[0.0; 256], &mut [0; 145]).unwrap_err().to_string(),
        "256 Q4_K values take 144 bytes, found 145 bytes"
    );
    assert_eq!(Codec::Q2K.encode(&[0.0; 256], &mut [0; 84]), Err(CodecError::NoEncoder { codec: Codec::Q2K }));
    let (codec, values) = (Codec::F32, usize::MAX);
    assert_eq!(codec.row_bytes(values), Err(CodecError::TooLarge { codec, values }));
}

/// Every half-precision number decodes to its value and encodes to itself; NaN stays NaN.
#[test]
fn sixteen_bit_floats_are_exact() {
    let bytes: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
    for codec in [Codec::F16, Codec::BF16] {
        let mut values = vec![0.0; 1 << 16];
        codec.decode(&bytes, &mut values).unwrap();
        let mut again = vec![0; bytes.len()];
        codec.encode(&values, &mut again).unwrap();
        for bits in 0..=u16::MAX {
            let value = values[usize::from(bits)];
            let expected = value_of(codec, bits);
            if expected.is_nan() {
                assert!(value.is_nan(), "{codec} {bits:#06x}");
            } else {
                assert_eq!(f64::from(value), expected, "{codec} {bits:#06x}");
                let at = 2 * usize::from(bits);
                assert_eq!(again[at..at + 2], bits.to_le_bytes(), "{codec} {bits:#06x}");
            }
        }
    }
}

/// The number that sign, exponent and fraction stand for, by the definition of IEEE 754.
fn value_of(codec: Codec, bits: u16) -> f64 {
    let (fraction_bits, bias) = if codec == Codec::F16 { (10, 15) } else { (7, 127) };
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let exponent = i32::from((bits & 0x7FFF) >> fraction_bits);
    let fraction = f64::from(bits & ((1 << fraction_bits) - 1)) / f64::from(1 << fraction_bits);
    match exponent {
        _ if exponent == 2 * bias + 1 && fraction > 0.0 => f64::NAN,
        _ if exponent == 2 * bias + 1 => sign * f64::INFINITY,
        0 => sign * fraction * f64::from(1 - bias).exp2(),
        _ => sign * (1.0 + fraction) * f64::from(exponent - bias).exp2(),
    }
}
