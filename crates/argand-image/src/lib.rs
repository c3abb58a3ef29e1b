//! Pictures: decoding, resizing, what models want to see, and where lines of text are.
//!
//! Files are hostile: their size is compared with bounds before any memory is taken. Resizing is that of Pillow to the bit, because
//! models were trained with it. This crate knows nothing of models but the `preprocessor_config.json` that lies beside them.

#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod decode;
mod lines;
mod process;
mod resize;

pub use decode::{Error, MOST_PIXELS, decode, open};
pub use lines::{Place, lines};
pub use process::{ConfigError, Layout, Pixels, Processor};
pub use resize::{Filter, resize};

/// A picture of three colours, a byte each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Height and width; neither is zero.
    pub size: [usize; 2],
    /// Red, green and blue of each pixel, line by line.
    pub rgb: Vec<u8>,
    /// How opaque each pixel is, if any is not.
    pub alpha: Option<Vec<u8>>,
}

impl Picture {
    /// An opaque picture.
    ///
    /// # Panics
    /// There are not three bytes for each pixel.
    pub fn new(size: [usize; 2], rgb: Vec<u8>) -> Picture {
        assert_eq!(rgb.len(), 3 * size[0] * size[1], "bytes of a picture of {size:?}");
        Picture { size, rgb, alpha: None }
    }

    /// The picture on white, blended as Pillow does.
    pub fn on_white(&self) -> Picture {
        let mut rgb = self.rgb.clone();
        for (pixel, alpha) in rgb.chunks_exact_mut(3).zip(self.alpha.iter().flatten()) {
            // Seven more bits than a byte, and a division by 255 that rounds.
            let (front, back) = (u32::from(*alpha) << 7, (255 - u32::from(*alpha)) << 7);
            for colour in pixel {
                let sum = u32::from(*colour) * front + 255 * back + (0x80 << 7);
                *colour = ((((sum >> 8) + sum) >> 8) >> 7) as u8;
            }
        }
        Picture::new(self.size, rgb)
    }

    /// Grey of each pixel as Pillow makes it (ITU-R BT.601).
    pub fn grey(&self) -> Vec<u8> {
        let grey = |c: &[u8]| {
            let sum = 19595 * u32::from(c[0]) + 38470 * u32::from(c[1]) + 7471 * u32::from(c[2]) + 0x8000;
            (sum >> 16) as u8
        };
        self.rgb.chunks_exact(3).map(grey).collect()
    }

    /// Part of the picture; what lies outside of it is black.
    pub fn crop(&self, top: isize, left: isize, size: [usize; 2]) -> Picture {
        let [height, width] = self.size;
        let mut rgb = vec![0; 3 * size[0] * size[1]];
        for (i, to) in rgb.chunks_exact_mut(3).enumerate() {
            let (y, x) = (top + (i / size[1]) as isize, left + (i % size[1]) as isize);
            if (0..height as isize).contains(&y) && (0..width as isize).contains(&x) {
                to.copy_from_slice(&self.rgb[3 * (y as usize * width + x as usize)..][..3]);
            }
        }
        Picture::new(size, rgb)
    }
}
