//! What holds for any values, any bytes and any lengths.

use argand_codec::{Codec, CodecError};
use proptest::{collection::vec, prelude::*, sample::select};

fn codecs() -> impl Strategy<Value = Codec> {
    select(Codec::ALL)
}

fn block_encoders() -> impl Strategy<Value = Codec> {
    let with_encoder = |codec: &Codec| codec.has_encoder() && codec.block_len() > 1;
    select(Codec::ALL.iter().copied().filter(with_encoder).collect::<Vec<_>>())
}

/// Values of any magnitude from 2^-40 to 2^15, of which some rows are one-sided and some sparse.
fn rows() -> impl Strategy<Value = Vec<f32>> {
    let unit = vec(-1.0_f32..1.0, 512);
    (unit, -40..=15_i32, any::<bool>(), 0.0_f32..1.0).prop_map(|(row, exponent, one_sided, threshold)| {
        let shape = |x: f32| if one_sided { x.abs() } else { x };
        let sparse = |x: f32| if x.abs() < threshold { 0.0 } else { x };
        row.into_iter().map(|x| shape(sparse(x)) * (exponent as f32).exp2()).collect()
    })
}

/// The largest error that a block may have: half a step of the coarsest possible grid, and the rounding of the `f16` factors.
///
/// A grid of `levels` steps spans the range of the block. In the k-quants the factors of a sub-block are rounded too, and the
/// search may clip an extreme for the sake of the others: a step more.
fn error_bound(codec: Codec, block: &[f32]) -> f32 {
    let magnitude = block.iter().fold(0.0, |most: f32, x| most.max(x.abs()));
    let low = block.iter().copied().fold(0.0, f32::min);
    let high = block.iter().copied().fold(0.0, f32::max);
    let steps = match codec {
        Codec::Q8_0 => 0.5 * magnitude / 127.0,
        Codec::Q4_0 => magnitude / 8.0, // the end opposite to the extreme is one step short
        Codec::Q5_0 => magnitude / 16.0,
        Codec::Q4_1 => 0.5 * (high - low) / 15.0,
        Codec::Q5_1 => 0.5 * (high - low) / 31.0,
        Codec::Q4K => 2.0 * (high - low) / 15.0,
        Codec::Q5K => 2.0 * (high - low) / 31.0,
        Codec::Q6K => 2.0 * magnitude / 31.0,
        _ => unreachable!("not a block encoder"),
    };
    // A factor in `f16` is exact to 2^-11 of itself, or to 2^-25 when subnormal; Q6_K multiplies it most, by up to 128 * 32.
    steps + magnitude / 1024.0 + 128.0 * 32.0 * 2.0_f32.powi(-25)
}

proptest! {
    #[test]
    fn encoding_keeps_values_within_the_step(codec in block_encoders(), row in rows()) {
        let mut bytes = vec![0xFF; codec.row_bytes(row.len()).unwrap()];
        codec.encode(&row, &mut bytes).unwrap();
        let mut found = vec![f32::NAN; row.len()];
        codec.decode(&bytes, &mut found).unwrap();
        for (row, found) in row.chunks(codec.block_len()).zip(found.chunks(codec.block_len())) {
            let bound = error_bound(codec, row);
            for (x, y) in row.iter().zip(found) {
                prop_assert!((x - y).abs() <= bound, "{codec}: {x} became {y}, bound {bound}");
            }
        }
    }

    #[test]
    fn encoding_again_changes_nothing_in_plain_floats(bits in vec(any::<u32>(), 0..200)) {
        let row: Vec<f32> = bits.into_iter().map(f32::from_bits).collect();
        for codec in [Codec::F32, Codec::F16, Codec::BF16] {
            let mut once = vec![0; codec.row_bytes(row.len()).unwrap()];
            codec.encode(&row, &mut once).unwrap();
            let mut values = vec![0.0; row.len()];
            codec.decode(&once, &mut values).unwrap();
            let mut twice = once.clone();
            codec.encode(&values, &mut twice).unwrap();
            prop_assert_eq!(&once, &twice);
        }
    }

    #[test]
    fn decoding_never_panics(codec in codecs(), bytes in vec(any::<u8>(), 0..900), len in 0_usize..1100) {
        let mut values = vec![0.0; len];
        let expected = codec.row_bytes(len);
        let result = codec.decode(&bytes, &mut values);
        prop_assert_eq!(result.is_ok(), expected == Ok(bytes.len()));
    }

    #[test]
    fn decoding_any_whole_blocks_succeeds(codec in codecs(), seed in vec(any::<u8>(), 256), blocks in 0_usize..5) {
        let bytes: Vec<u8> = seed.into_iter().cycle().take(blocks * codec.block_bytes()).collect();
        let mut values = vec![0.0; blocks * codec.block_len()];
        prop_assert_eq!(codec.decode(&bytes, &mut values), Ok(()));
    }

    #[test]
    fn encoding_never_panics(codec in codecs(), bits in vec(any::<u32>(), 0..600), len in 0_usize..900) {
        let values: Vec<f32> = bits.into_iter().map(f32::from_bits).collect();
        let mut bytes = vec![0; len];
        let _ = codec.encode(&values, &mut bytes);
        if let Ok(exact) = codec.row_bytes(values.len()) {
            let _ = codec.encode(&values, &mut vec![0; exact]);
        }
    }

    #[test]
    fn encoding_finite_values_decodes_to_finite_values(
        codec in block_encoders(),
        bits in vec(any::<u32>(), 256),
    ) {
        let finite = |bits: u32| {
            let value = f32::from_bits(bits);
            if value.abs() <= 65504.0 { value } else { f32::from_bits(bits & 0x8FFF_FFFF) }
        };
        let values: Vec<f32> = bits.into_iter().map(finite).collect();
        let mut bytes = vec![0; codec.row_bytes(values.len()).unwrap()];
        codec.encode(&values, &mut bytes).unwrap();
        let mut decoded = vec![0.0; values.len()];
        codec.decode(&bytes, &mut decoded).unwrap();
        prop_assert!(decoded.iter().all(|value| value.is_finite()), "{codec}");
    }

    #[test]
    fn encoding_names_the_first_bad_value(
        codec in block_encoders(),
        index in 0_usize..256,
        value in select(vec![f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 65536.0, -1e30]),
    ) {
        let mut values = vec![1.0; 256];
        values[index..].fill(value);
        let mut bytes = vec![0; codec.row_bytes(256).unwrap()];
        match codec.encode(&values, &mut bytes) {
            Err(CodecError::OutOfRange { index: found, .. }) => prop_assert_eq!(found, index),
            other => prop_assert!(false, "{codec}: {other:?}"),
        }
    }
}
