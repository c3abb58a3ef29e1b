//! From a picture to what a model looks at, as the `preprocessor_config.json` beside it says.

use crate::{Filter, Picture, resize};
use serde_json::Value as Json;

/// Why what a configuration says of pictures cannot be followed, or a picture not be made to fit it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum ConfigError {
    #[error("{file}: field `{field}` is {found}, expected {expected}")]
    Odd { file: &'static str, field: &'static str, found: String, expected: &'static str },
    #[error("a picture of {width} x {height} pixels is more than 200 times as long as wide; crop it first")]
    Thin { width: usize, height: usize },
}

/// What models want to see of a picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Processor {
    shape: Shape,
    filter: Filter,
    /// Transparent pictures are laid on white; without, transparency is dropped.
    white: bool,
    crop: Option<Crop>,
    /// Blue, green and red go in.
    flipped: bool,
    rescale: f32,
    mean: [f32; 3],
    std: [f32; 3],
}

/// The middle of a picture.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Crop {
    size: [usize; 2],
    /// Where the middle falls between two pixels, the even one is taken (torchvision) and not the first (transformers).
    even: bool,
}

impl Crop {
    /// Where it begins, along an axis of so many pixels.
    fn start(&self, axis: usize, pixels: usize) -> isize {
        let rest = pixels as isize - self.size[axis] as isize;
        if self.even { (rest as f64 / 2.0).round_ties_even() as isize } else { rest.div_euclid(2) }
    }
}

/// Which size a picture gets.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Shape {
    /// Its own.
    Own,
    /// Always that one.
    Fixed([usize; 2]),
    /// The shorter side is so long.
    Shortest(usize),
    /// Tiles of `tile` pixels on a side of the picture whose longer side is about `longest`, and the whole picture in one more.
    Tiles { longest: usize, tile: usize },
    /// Whole squares of `merge` times `merge` patches, in all between `least` and `most` pixels.
    Patches { patch: usize, merge: usize, frames: usize, least: usize, most: usize },
}

/// How the values of [`Pixels`] lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Pictures of one size, pixels line by line, channels last.
    Pictures {
        /// How many.
        count: usize,
        /// Height and width of each.
        size: [usize; 2],
        /// Tiles above and beside each other; zeros where the picture was not cut.
        tiles: [usize; 2],
    },
    /// A row for each patch, `[channels, frames, height, width]`, the patches that are merged following one another.
    Patches {
        /// Patches above and beside each other.
        grid: [usize; 2],
        /// Values of a row.
        len: usize,
    },
}

/// What a model looks at.
#[derive(Clone, Debug, PartialEq)]
pub struct Pixels {
    /// All values.
    pub values: Vec<f32>,
    /// How they lie.
    pub layout: Layout,
}

/// Means and deviations of ImageNet's pictures, which are usual.
const IMAGENET: [[f32; 3]; 2] = [[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]];

/// The largest picture that any processor makes, in pixels on a side.
const MOST_SIDE: u64 = 1 << 14;

impl Processor {
    /// What the `pretrained_cfg` of timm's configurations says: the side of the pictures, which part of a picture is cut out,
    /// means and deviations.
    ///
    /// # Errors
    /// A field that is missing or says something odd.
    pub fn timm(config: &Json) -> Result<Processor, ConfigError> {
        const FILE: &str = "config.json, pretrained_cfg";
        let odd = |field, expected| Err(odd(FILE, config, field, expected));
        let size = config.get("input_size").and_then(Json::as_array).map(Vec::as_slice);
        let side = |v: &Json| v.as_u64().filter(|v| (1..=MOST_SIDE).contains(v)).map(|v| v as usize);
        let size = match size {
            Some([_, height, width]) => side(height).zip(side(width)).map(|(height, width)| [height, width]),
            _ => None,
        };
        let Some(size) = size else { return odd("input_size", "channels, height and width, from 1 to 16384 pixels") };
        let share = match config.get("crop_pct") {
            None => 0.875,
            Some(share) => match share.as_f64().filter(|s| (0.1..=1.0).contains(s)) {
                Some(share) => share,
                None => return odd("crop_pct", "a share between 0.1 and 1"),
            },
        };
        let larger = size.map(|side| (side as f64 / share).floor() as usize);
        let shape = match config.get("crop_mode").map(Json::as_str) {
            None | Some(Some("center")) if size[0] == size[1] => Shape::Shortest(larger[0]),
            Some(Some("squash")) => Shape::Fixed(larger),
            _ => return odd("crop_mode", "center for squares, or squash"),
        };
        let filter = match config.get("interpolation").map(Json::as_str) {
            None | Some(Some("bilinear")) => Filter::Bilinear,
            Some(Some("bicubic")) => Filter::Bicubic,
            Some(Some("lanczos")) => Filter::Lanczos,
            _ => return odd("interpolation", "bilinear, bicubic or lanczos"),
        };
        let colours = |name, usual| colours(FILE, config, name, usual);
        let (mean, std) = (colours("mean", IMAGENET[0])?, colours("std", IMAGENET[1])?);
        let crop = Some(Crop { size, even: true });
        Ok(Processor { shape, filter, white: false, crop, flipped: false, rescale: 1.0 / 255.0, mean, std })
    }

    /// What a `preprocessor_config.json` says.
    ///
    /// # Errors
    /// A field that is missing or says something odd.
    pub fn read(config: &Json) -> Result<Processor, ConfigError> {
        let flag = |name: &str| config.get(name).and_then(Json::as_bool);
        let kind = ["image_processor_type", "feature_extractor_type"].iter().find_map(|k| config.get(k)?.as_str());
        let kind = kind.unwrap_or_default();
        let resized = flag("do_resize").unwrap_or(true);
        let mut crop = None;
        let shape = if kind.starts_with("Qwen2VL") {
            patches(config)?
        } else if ["Idefics3", "SmolVLM"].iter().any(|tiled| kind.starts_with(tiled))
            && flag("do_image_splitting").unwrap_or(true)
        {
            let longest = side(config, "size", "longest_edge")?.unwrap_or(4 * 364);
            Shape::Tiles { longest, tile: side(config, "max_image_size", "longest_edge")?.unwrap_or(364) }
        } else if kind.starts_with("ConvNext") {
            let size = side(config, "size", "shortest_edge")?.unwrap_or(384);
            let share = config.get("crop_pct").and_then(Json::as_f64).unwrap_or(224.0 / 256.0);
            if size < 384 && share > 0.1 {
                crop = Some([size; 2]);
                Shape::Shortest((size as f64 / share) as usize)
            } else {
                Shape::Fixed([size; 2])
            }
        } else if !resized {
            Shape::Own
        } else if let Some(shortest) = side(config, "size", "shortest_edge")? {
            Shape::Shortest(shortest)
        } else {
            Shape::Fixed(pair(config, "size")?.ok_or_else(|| odd(FILE, config, "size", "a size"))?)
        };
        if flag("do_center_crop") == Some(true) {
            crop = pair(config, "crop_size")?;
        }
        let filter = match config.get("resample") {
            None => Some(Filter::Bilinear),
            Some(number) => number.as_u64().and_then(Filter::of),
        };
        let plain = flag("do_normalize") == Some(false);
        let colours = |name, usual, none: f32| if plain { Ok([none; 3]) } else { colours(FILE, config, name, usual) };
        Ok(Processor {
            shape,
            filter: filter.ok_or_else(|| odd(FILE, config, "resample", "1 (Lanczos), 2 (bilinear) or 3 (bicubic)"))?,
            white: flag("do_convert_rgb").unwrap_or(false),
            crop: crop.map(|size| Crop { size, even: false }),
            flipped: flag("do_flip_channel_order").unwrap_or(false),
            rescale: match (flag("do_rescale"), config.get("rescale_factor").and_then(Json::as_f64)) {
                (Some(false), _) => 1.0,
                (_, factor) => factor.unwrap_or(1.0 / 255.0) as f32,
            },
            mean: colours("image_mean", IMAGENET[0], 0.0)?,
            std: colours("image_std", IMAGENET[1], 1.0)?,
        })
    }

    /// What a model looks at of a picture.
    ///
    /// # Errors
    /// A picture that cannot be made to fit.
    pub fn pixels(&self, picture: &Picture) -> Result<Pixels, ConfigError> {
        let picture = if self.white { picture.on_white() } else { Picture { alpha: None, ..picture.clone() } };
        let [height, width] = picture.size;
        let (all, tiles) = match self.shape {
            Shape::Own => (vec![picture], [0, 0]),
            Shape::Fixed(size) => (vec![resize(&picture, size, self.filter)], [0, 0]),
            Shape::Shortest(side) => {
                let long = (side as f64 * height.max(width) as f64 / height.min(width) as f64) as usize;
                let size = if height < width { [side, long] } else { [long, side] };
                (vec![resize(&picture, thin(size, picture.size)?, self.filter)], [0, 0])
            }
            Shape::Tiles { longest, tile } => self.tiles(&picture, longest, tile),
            Shape::Patches { patch, merge, frames, least, most } => {
                let size = whole(picture.size, patch * merge, least, most)?;
                let values = self.coloured(&resize(&picture, size, self.filter));
                return Ok(cut(&values, size, patch, merge, frames));
            }
        };
        let cropped = all.into_iter().map(|p| match self.crop {
            Some(crop) => p.crop(crop.start(0, p.size[0]), crop.start(1, p.size[1]), crop.size),
            None => p,
        });
        let all: Vec<Picture> = cropped.collect();
        let (count, size) = (all.len(), all[0].size);
        let values = all.iter().flat_map(|p| self.coloured(p)).collect();
        Ok(Pixels { values, layout: Layout::Pictures { count, size, tiles } })
    }

    /// Height and width of each picture or tile that [`pixels`](Self::pixels) makes, where they do not depend on what it makes them
    /// of.
    pub fn size(&self) -> Option<[usize; 2]> {
        match (self.shape, self.crop) {
            (Shape::Patches { .. }, _) => None,
            (_, Some(crop)) => Some(crop.size),
            (Shape::Fixed(size), None) => Some(size),
            (Shape::Tiles { tile, .. }, None) => Some([tile; 2]),
            _ => None,
        }
    }

    /// Bytes as values around zero.
    fn coloured(&self, picture: &Picture) -> Vec<f32> {
        let value = |i: usize| {
            let colour = if self.flipped { i - i % 3 + 2 - i % 3 } else { i };
            (f32::from(picture.rgb[colour]) * self.rescale - self.mean[i % 3]) / self.std[i % 3]
        };
        (0..picture.rgb.len()).map(value).collect()
    }

    /// Idefics 3 (Laurençon et al. 2024): tiles, and the whole picture behind them.
    fn tiles(&self, picture: &Picture, longest: usize, tile: usize) -> (Vec<Picture>, [usize; 2]) {
        // Sides follow each other as floats do in the reference, and are even.
        let [height, width] = picture.size;
        let ratio = width as f64 / height as f64;
        let even = |side: usize| side + side % 2;
        let [height, width] = match width >= height {
            true => [even((longest as f64 / ratio) as usize).max(1), longest],
            false => [longest, even((longest as f64 * ratio) as usize).max(1)],
        };
        let first = resize(picture, [height, width], self.filter);
        let ratio = width as f64 / height as f64;
        let up = |side: usize| side.div_ceil(tile) * tile;
        let size = match width >= height {
            true => [up((up(width) as f64 / ratio) as usize).max(tile), up(width)],
            false => [up(height), up((up(height) as f64 * ratio) as usize).max(tile)],
        };
        let whole = resize(&first, size, self.filter);
        if size == [tile; 2] {
            return (vec![whole], [0, 0]);
        }
        let tiles = size.map(|side| side / tile);
        let places = (0..tiles[0]).flat_map(|y| (0..tiles[1]).map(move |x| (y, x)));
        let mut all: Vec<_> =
            places.map(|(y, x)| whole.crop((y * tile) as isize, (x * tile) as isize, [tile; 2])).collect();
        all.push(resize(&whole, [tile; 2], self.filter));
        (all, tiles)
    }
}

/// Where transformers' processors are described.
const FILE: &str = "preprocessor_config.json";

/// A number for each colour.
fn colours(file: &'static str, config: &Json, name: &'static str, usual: [f32; 3]) -> Result<[f32; 3], ConfigError> {
    let Some(values) = config.get(name) else { return Ok(usual) };
    let values = values.as_array().and_then(|v| v.iter().map(Json::as_f64).collect::<Option<Vec<_>>>());
    let values = values.and_then(|v| <[f64; 3]>::try_from(v).ok());
    values.map(|v| v.map(|v| v as f32)).ok_or_else(|| odd(file, config, name, "three numbers"))
}

fn odd(file: &'static str, config: &Json, field: &'static str, expected: &'static str) -> ConfigError {
    ConfigError::Odd { file, field, found: config.get(field).map_or("missing".into(), Json::to_string), expected }
}

/// A number of pixels, if it is there.
fn pixels(config: &Json, field: &'static str, value: Option<&Json>) -> Result<Option<usize>, ConfigError> {
    match value.map(|v| v.as_u64().filter(|v| (1..=MOST_SIDE).contains(v))) {
        None => Ok(None),
        Some(Some(v)) => Ok(Some(v as usize)),
        Some(None) => Err(odd(FILE, config, field, "pixels from 1 to 16384")),
    }
}

fn side(config: &Json, field: &'static str, name: &str) -> Result<Option<usize>, ConfigError> {
    pixels(config, field, config.get(field).and_then(|v| v.get(name)))
}

/// Height and width, or one number for both.
fn pair(config: &Json, field: &'static str) -> Result<Option<[usize; 2]>, ConfigError> {
    match config.get(field) {
        Some(number @ Json::Number(_)) => Ok(pixels(config, field, Some(number))?.map(|v| [v; 2])),
        _ => Ok(side(config, field, "height")?.zip(side(config, field, "width")?).map(|(h, w)| [h, w])),
    }
}

/// Qwen2-VL (Wang et al. 2024).
fn patches(config: &Json) -> Result<Shape, ConfigError> {
    let number = |field: &'static str, usual| Ok(pixels(config, field, config.get(field))?.unwrap_or(usual));
    let area = |old: &'static str, new: &str, usual: usize| {
        let value = config.get(old).or_else(|| config.get("size")?.get(new));
        value.map_or(Some(usual), |v| v.as_u64().map(|v| v as usize)).filter(|v| (1..=crate::MOST_PIXELS).contains(v))
    };
    let areas = area("min_pixels", "shortest_edge", 56 * 56).zip(area("max_pixels", "longest_edge", 28 * 28 * 1280));
    let (least, most) = areas.ok_or_else(|| odd(FILE, config, "max_pixels", "at least 1 and at most 67108864"))?;
    let [patch, merge] = [number("patch_size", 14)?, number("merge_size", 2)?];
    Ok(Shape::Patches { patch, merge, frames: number("temporal_patch_size", 2)?, least, most })
}

/// The size, unless it is far longer than wide: resized such a picture could be of any length.
fn thin(size: [usize; 2], from: [usize; 2]) -> Result<[usize; 2], ConfigError> {
    match from[0].max(from[1]) > 200 * from[0].min(from[1]) {
        true => Err(ConfigError::Thin { width: from[1], height: from[0] }),
        false => Ok(size),
    }
}

/// Sides that are whole multiples of `unit`, with an area between `least` and `most` and about the shape of the picture.
fn whole(from: [usize; 2], unit: usize, least: usize, most: usize) -> Result<[usize; 2], ConfigError> {
    let sides = from.map(|side| side as f64);
    let units = |f: &dyn Fn(f64) -> f64| sides.map(|side| f(side / unit as f64) as usize * unit);
    let near = thin(units(&f64::round_ties_even), from)?;
    let area = sides[0] * sides[1];
    Ok(match near[0] * near[1] {
        a if a > most => {
            let shrink = (area / most as f64).sqrt();
            sides.map(|side| ((side / shrink / unit as f64).floor() as usize * unit).max(unit))
        }
        a if a < least => {
            let grow = (least as f64 / area).sqrt();
            sides.map(|side| (side * grow / unit as f64).ceil() as usize * unit)
        }
        _ => near,
    })
}

/// Patches as rows; a picture is as many equal frames as a patch is deep.
fn cut(values: &[f32], size: [usize; 2], patch: usize, merge: usize, frames: usize) -> Pixels {
    let (grid, len) = (size.map(|side| side / patch), 3 * frames * patch * patch);
    let mut out = Vec::with_capacity(grid[0] * grid[1] * len);
    for i in 0..grid[0] * grid[1] {
        // Which square of merged patches, and which patch in it.
        let (square, inner) = (i / (merge * merge), i % (merge * merge));
        let top = (square / (grid[1] / merge) * merge + inner / merge) * patch;
        let left = (square % (grid[1] / merge) * merge + inner % merge) * patch;
        for channel in 0..3 {
            for _ in 0..frames {
                let places = (0..patch * patch).map(|p| (top + p / patch) * size[1] + left + p % patch);
                out.extend(places.map(|pixel| values[3 * pixel + channel]));
            }
        }
    }
    Pixels { values: out, layout: Layout::Patches { grid, len } }
}
