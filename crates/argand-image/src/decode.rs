//! PNG and JPEG files.

use crate::Picture;
use std::io::Cursor;
use std::path::Path;
use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;

/// Most pixels of a picture: more would be gigabytes once a model looks at them.
pub const MOST_PIXELS: usize = 1 << 26;

/// Most pixels on a side.
const MOST_SIDE: usize = 1 << 15;

/// Most bytes of a file; nothing that decodes to so few pixels needs more.
const MOST_BYTES: u64 = 1 << 29;

/// Why a file is no picture.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum Error {
    #[error("{file}: {error}")]
    Io { file: String, error: std::io::Error },
    #[error("{file}: {bytes} bytes are more than any picture needs (at most {MOST_BYTES})")]
    Long { file: String, bytes: u64 },
    #[error("{file}: neither a PNG nor a JPEG file; convert it first")]
    Format { file: String },
    #[error("{file}: {width} x {height} pixels; at most {MOST_PIXELS} in all and {MOST_SIDE} on a side can be read")]
    Huge { file: String, width: usize, height: usize },
    #[error("{file}: the picture is damaged or cut off: {what}")]
    Damaged { file: String, what: String },
}

/// Reads the picture of a file.
///
/// # Errors
/// A file that cannot be read, and what [`decode`] says.
pub fn open(path: &Path) -> Result<Picture, Error> {
    let file = path.display().to_string();
    let io = |error| Error::Io { file: file.clone(), error };
    let bytes = std::fs::metadata(path).map_err(io)?.len();
    if bytes > MOST_BYTES {
        return Err(Error::Long { file, bytes });
    }
    decode(&file, &std::fs::read(path).map_err(io)?)
}

/// Reads a picture from the bytes of a file, whose name is for errors only.
///
/// # Errors
/// Another format, a picture that is too large, damaged or cut off.
pub fn decode(file: &str, bytes: &[u8]) -> Result<Picture, Error> {
    match bytes {
        [0x89, b'P', b'N', b'G', ..] => png(file, bytes),
        [0xff, 0xd8, 0xff, ..] => jpeg(file, bytes),
        _ => Err(Error::Format { file: file.to_string() }),
    }
}

fn damaged(file: &str, what: impl ToString) -> Error {
    Error::Damaged { file: file.to_string(), what: what.to_string() }
}

fn checked(file: &str, width: usize, height: usize) -> Result<[usize; 2], Error> {
    let fits = width.max(height) <= MOST_SIDE && width * height <= MOST_PIXELS;
    match width.min(height) {
        0 => Err(damaged(file, "it has no pixels")),
        _ if fits => Ok([height, width]),
        _ => Err(Error::Huge { file: file.to_string(), width, height }),
    }
}

fn png(file: &str, bytes: &[u8]) -> Result<Picture, Error> {
    let mut decoder = png::Decoder::new(Cursor::new(bytes));
    let header = decoder.read_header_info().map_err(|e| damaged(file, e))?;
    // Of 16 bits the upper ones count, but where nothing is grey beside them: there Pillow cuts off what is above 255.
    let clipped = (header.color_type, header.bit_depth) == (png::ColorType::Grayscale, png::BitDepth::Sixteen);
    decoder.set_transformations(match clipped {
        true => png::Transformations::EXPAND,
        false => png::Transformations::normalize_to_color8(),
    });
    let mut reader = decoder.read_info().map_err(|e| damaged(file, e))?;
    let size = checked(file, reader.info().width as usize, reader.info().height as usize)?;
    let len = reader.output_buffer_size().ok_or_else(|| damaged(file, "its size has no end"))?;
    let mut samples = vec![0; len];
    let frame = reader.next_frame(&mut samples).map_err(|e| damaged(file, e))?;
    samples.truncate(frame.buffer_size());
    if clipped {
        samples = samples.chunks_exact(2).map(|s| if s[0] > 0 { u8::MAX } else { s[1] }).collect();
    }
    let (grey, opaque) = match frame.color_type {
        png::ColorType::Grayscale => (true, true),
        png::ColorType::GrayscaleAlpha => (true, false),
        png::ColorType::Rgb => (false, true),
        png::ColorType::Rgba => (false, false),
        png::ColorType::Indexed => return Err(damaged(file, "its palette was not expanded")),
    };
    let colours = if grey { 1 } else { 3 };
    let pixels = samples.chunks_exact(colours + usize::from(!opaque));
    let rgb = pixels.clone().flat_map(|p| if grey { [p[0]; 3] } else { [p[0], p[1], p[2]] }).collect();
    let alpha: Option<Vec<u8>> = (!opaque).then(|| pixels.map(|p| p[colours]).collect());
    Ok(Picture { alpha: alpha.filter(|a| a.iter().any(|a| *a < 255)), ..Picture::new(size, rgb) })
}

fn jpeg(file: &str, bytes: &[u8]) -> Result<Picture, Error> {
    let options = DecoderOptions::default()
        .set_max_width(MOST_SIDE)
        .set_max_height(MOST_SIDE)
        .set_strict_mode(true)
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = zune_jpeg::JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(|e| damaged(file, e))?;
    let info = decoder.info().ok_or_else(|| damaged(file, "it has no header"))?;
    let size = checked(file, info.width as usize, info.height as usize)?;
    let rgb = decoder.decode().map_err(|e| damaged(file, e))?;
    // The decoder fills up what is missing.
    if !ends(bytes) {
        return Err(damaged(file, "its data has no end"));
    }
    match rgb.len() == 3 * size[0] * size[1] {
        true => Ok(Picture::new(size, rgb)),
        false => Err(damaged(file, format!("{} bytes for {size:?} pixels", rgb.len()))),
    }
}

/// Whether the end of a JPEG picture follows its first scan: inside of a scan the marker cannot stand, and segments before it,
/// which may hold pictures of their own, say how long they are (ITU-T T.81, B.1.1).
fn ends(bytes: &[u8]) -> bool {
    const SCAN: u8 = 0xda;
    let mut rest = bytes.get(2..).unwrap_or_default();
    while let [0xff, marker, high, low, ..] = *rest {
        if marker == SCAN {
            return rest.windows(2).any(|pair| pair == [0xff, 0xd9]);
        }
        // A marker may be filled up in front.
        let skip = if marker == 0xff { 1 } else { 2 + usize::from(u16::from_be_bytes([high, low])) };
        rest = rest.get(skip..).unwrap_or_default();
    }
    false
}
