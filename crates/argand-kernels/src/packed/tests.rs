//! Packed sizes, parts and errors; that packed values are right is tested with the products.

use super::*;

#[test]
fn packed_weights_are_about_as_large_as_in_the_file() {
    for &codec in Codec::ALL {
        for tier in [Tier::Scalar, Tier::Scalar16] {
            let (rows, cols) = (32, 2048);
            let file = rows * codec.row_bytes(cols).unwrap();
            let packed = PackedMatrix::zeroed(tier, codec, rows, cols).unwrap().bytes();
            assert!(packed <= file + file / 25, "{codec} {tier}: {packed} bytes, {file} in the file");
        }
    }
}

#[test]
fn parts_cover_the_rows_in_order() {
    let source: Vec<u8> = (0..34 * 21).map(|i| i as u8).collect();
    let row = |row: usize| &source[34 * row..][..34];
    let whole = PackedMatrix::pack(Tier::Scalar, Codec::Q8_0, 21, 32, row).unwrap();
    let mut packed = PackedMatrix::zeroed(Tier::Scalar, Codec::Q8_0, 21, 32).unwrap();
    let mut parts: Vec<_> = packed.parts(2).collect();
    let rows: Vec<_> = parts.iter().map(PackPart::rows).collect();
    assert_eq!(rows, [0..16, 16..21]);
    parts.iter_mut().try_for_each(|part| part.pack(row)).unwrap();
    assert_eq!(packed.memory.bytes(), whole.memory.bytes());
}

#[test]
fn memory_is_aligned_and_zero() {
    for len in [0, 1, 100, 5 << 20] {
        let memory = Memory::zeroed(len).unwrap();
        assert_eq!(memory.bytes().len(), len);
        assert_eq!(memory.bytes().as_ptr().align_offset(ALIGN), 0);
        assert!(memory.bytes().iter().all(|&byte| byte == 0));
    }
}

#[test]
fn bad_requests_are_refused() {
    let pack = |codec, rows, cols, row: &'static [u8]| {
        PackedMatrix::pack(Tier::Scalar, codec, rows, cols, |_| row).map(|packed| packed.bytes())
    };
    let found = pack(Codec::Q8_0, 2, 32, &[0; 33]);
    let expected = PackError::RowBytes { codec: Codec::Q8_0, row: 0, found: 33, expected: 34 };
    assert_eq!(found, Err(expected));
    assert!(matches!(pack(Codec::Q4K, 1, 128, &[]), Err(PackError::Codec(_))));
    let rows = usize::MAX / 64;
    assert_eq!(pack(Codec::F32, rows, 64, &[]), Err(PackError::TooLarge { rows, cols: 64 }));
    let huge = pack(Codec::F32, 1 << 40, 1 << 16, &[]);
    assert!(matches!(huge, Err(PackError::OutOfMemory { .. })), "{huge:?}");
}
