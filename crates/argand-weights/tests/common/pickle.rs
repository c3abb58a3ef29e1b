//! Pickles and zip archives spelled byte by byte, so that they can lie about everything.
#![allow(dead_code)]

/// A member of a zip archive; what the headers say can differ from what is there.
#[derive(Clone)]
pub struct Member {
    pub name: Vec<u8>,
    pub data: Vec<u8>,
    pub method: u16,
    pub flags: u16,
    pub crc: u32,
    /// Compressed and uncompressed size as the central directory says; `u64` beyond 32 bits goes to a ZIP64 field.
    pub sizes: [u64; 2],
    /// Where its local header is said to be, if not where it is.
    pub offset: Option<u64>,
}

impl Member {
    pub fn new(name: &str, data: &[u8]) -> Self {
        let sizes = [data.len() as u64; 2];
        Self { name: name.into(), data: data.to_vec(), method: 0, flags: 0, crc: crc32(data), sizes, offset: None }
    }
}

/// CRC-32 as zip has it, bit by bit.
pub fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    })
}

/// A zip archive of these members.
pub fn zip(members: &[Member]) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for member in members {
        let at = out.len() as u64;
        out.extend(b"PK\x03\x04");
        put(&mut out, &[(2, 20), (2, member.flags.into()), (2, member.method.into()), (4, 0), (4, member.crc.into())]);
        let length = member.data.len() as u64;
        put(&mut out, &[(4, length), (4, length), (2, member.name.len() as u64), (2, 0)]);
        out.extend(&member.name);
        out.extend(&member.data);

        let wide: Vec<u64> = [member.sizes[1], member.sizes[0], member.offset.unwrap_or(at)].into();
        let beyond = |value: &u64| *value >= u64::from(u32::MAX);
        let short = |value: u64| (4, value.min(u32::MAX.into()));
        let extra: Vec<u64> = wide.iter().copied().filter(beyond).collect();
        let extra_length = if extra.is_empty() { 0 } else { 4 + 8 * extra.len() as u64 };
        directory.extend(b"PK\x01\x02");
        put(&mut directory, &[(2, 45), (2, 45), (2, member.flags.into()), (2, member.method.into()), (4, 0)]);
        put(&mut directory, &[(4, member.crc.into()), short(wide[1]), short(wide[0])]);
        put(&mut directory, &[(2, member.name.len() as u64), (2, extra_length), (2, 0), (2, 0), (2, 0), (4, 0)]);
        put(&mut directory, &[short(wide[2])]);
        directory.extend(&member.name);
        if !extra.is_empty() {
            put(&mut directory, &[(2, 1), (2, extra_length - 4)]);
            extra.iter().for_each(|value| directory.extend(value.to_le_bytes()));
        }
    }
    let (start, length, count) = (out.len() as u64, directory.len() as u64, members.len() as u64);
    out.extend(directory);
    out.extend(b"PK\x05\x06");
    put(&mut out, &[(2, 0), (2, 0), (2, count), (2, count), (4, length), (4, start), (2, 0)]);
    out
}

/// Little-endian numbers of so many bytes.
fn put(out: &mut Vec<u8>, fields: &[(usize, u64)]) {
    fields.iter().for_each(|(bytes, value)| out.extend(&value.to_le_bytes()[..*bytes]));
}

/// An archive of torch with this pickle, and storage `0` of these bytes.
pub fn torch(pickle: &[u8], storage: &[u8]) -> Vec<u8> {
    let members = [("m/data.pkl", pickle), ("m/byteorder", b"little"), ("m/data/0", storage)];
    zip(&members.map(|(name, data)| Member::new(name, data)))
}

/// A text up to 255 bytes.
pub fn text(text: &str) -> Vec<u8> {
    [&[0x8c, text.len() as u8], text.as_bytes()].concat()
}

/// A global of protocol 2.
pub fn global(module: &str, name: &str) -> Vec<u8> {
    format!("c{module}\n{name}\n").into_bytes()
}

/// An integer.
pub fn int(value: u64) -> Vec<u8> {
    [&[0x8a, 8][..], &value.to_le_bytes()].concat()
}

/// A tuple of values.
pub fn tuple(values: &[Vec<u8>]) -> Vec<u8> {
    [b"(", values.concat().as_slice(), b"t"].concat()
}

/// A storage of floats.
pub fn storage(key: &str, count: u64) -> Vec<u8> {
    let float = global("torch", "FloatStorage");
    [tuple(&[text("storage"), float, text(key), text("cpu"), int(count)]), b"Q".to_vec()].concat()
}

/// A tensor of storage `0` with `count` floats.
pub fn tensor(count: u64, offset: u64, shape: &[u64], strides: &[u64]) -> Vec<u8> {
    tensor_of(storage("0", count), offset, shape, strides)
}

/// A tensor of any storage.
pub fn tensor_of(storage: Vec<u8>, offset: u64, shape: &[u64], strides: &[u64]) -> Vec<u8> {
    let sizes = |sizes: &[u64]| tuple(&sizes.iter().map(|&size| int(size)).collect::<Vec<_>>());
    let arguments = [storage, int(offset), sizes(shape), sizes(strides), vec![0x89], b"}".to_vec()];
    [global("torch._utils", "_rebuild_tensor_v2"), tuple(&arguments), b"R".to_vec()].concat()
}

/// A dictionary of names and values.
pub fn dict(pairs: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let inside: Vec<u8> = pairs.iter().flat_map(|(key, value)| [text(key), value.clone()].concat()).collect();
    [b"}(", inside.as_slice(), b"u"].concat()
}

/// A whole pickle.
pub fn whole(value: &[u8]) -> Vec<u8> {
    [&[0x80, 2], value, b"."].concat()
}

/// A state dict of one tensor `w`, `[2, 2]`.
pub fn valid() -> Vec<u8> {
    whole(&dict(&[("w", tensor(4, 0, &[2, 2], &[2, 1]))]))
}

/// The bytes of the storage of [`valid`].
pub const FLOATS: [u8; 16] = [0, 0, 128, 63, 0, 0, 0, 64, 0, 0, 64, 64, 0, 0, 128, 64];

/// A file of the legacy format: its pickles and what follows them.
pub fn legacy(pickle: &[u8], keys: &[&str], storages: &[u8]) -> Vec<u8> {
    let magic =
        [&[0x80, 2, 0x8a, 10][..], &[0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19], b"."].concat();
    let keys: Vec<u8> = keys.iter().flat_map(|key| text(key)).collect();
    let keys = whole(&[b"](", keys.as_slice(), b"e"].concat());
    let system = whole(&dict(&[("little_endian", vec![0x88])]));
    [&magic, &whole(&int(1001)), &system, pickle, &keys, storages].concat()
}

/// The legacy file of [`valid`].
pub fn valid_legacy() -> Vec<u8> {
    legacy(&valid(), &["0"], &[&4u64.to_le_bytes()[..], &FLOATS].concat())
}
