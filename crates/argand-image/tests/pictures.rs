//! Against transformers' processors and Pillow (see `parity/`), and against files that are damaged or too large.

use argand_image::{Error, Filter, Layout, Picture, Processor, decode, open, resize};
use argand_weights::Checkpoint;
use std::path::{Path, PathBuf};

const PICTURES: [&str; 4] = ["wide", "tall", "grey", "small"];

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../argand-models/tests/tiny_images")
}

fn picture(name: &str) -> Picture {
    open(&fixtures().join(format!("{name}.png"))).unwrap()
}

#[test]
fn processors_agree_with_transformers() {
    let mut compared = 0;
    for kind in ["vit", "clip", "siglip", "resnet", "idefics3", "qwen2_vl"] {
        let dir = fixtures().join(format!("images_{kind}"));
        let config = std::fs::read_to_string(dir.join("preprocessor_config.json")).unwrap();
        let processor = Processor::read(&serde_json::from_str(&config).unwrap()).unwrap();
        let golden = Checkpoint::open(dir.join("golden.safetensors")).unwrap();
        let values = |name: String| {
            let tensor = golden.tensor(&name)?;
            let mut values = vec![0.0; tensor.info.elements()];
            tensor.info.codec.decode(tensor.bytes, &mut values).unwrap();
            Some((tensor.info.shape.clone(), values))
        };
        for name in PICTURES {
            let found = processor.pixels(&picture(name)).unwrap();
            let (shape, expected) = values(format!("{name}/pixel_values")).unwrap();
            let expected = match found.layout {
                Layout::Patches { grid, len } => {
                    let (_, grid_of) = values(format!("{name}/grid")).unwrap();
                    assert_eq!(vec![1.0, grid[0] as f32, grid[1] as f32], grid_of, "{kind}, {name}");
                    assert_eq!(shape, [grid[0] * grid[1], len], "{kind}, {name}");
                    expected
                }
                Layout::Pictures { count, size: [height, width], tiles } => {
                    if let (Some((_, rows)), Some((_, cols))) =
                        (values(format!("{name}/rows")), values(format!("{name}/cols")))
                    {
                        assert_eq!(tiles.map(|t| t as f32), [rows[0], cols[0]], "{kind}, {name}");
                    }
                    let [.., n, 3, h, w] = *shape.as_slice() else { panic!("{kind}, {name}: {shape:?}") };
                    assert_eq!([n, h, w], [count, height, width], "{kind}, {name}");
                    // Channels first in the file.
                    let at = |i: usize| (i / (3 * h * w) * 3 + i % 3) * h * w + i / 3 % (h * w);
                    (0..expected.len()).map(|i| expected[at(i)]).collect()
                }
            };
            assert_eq!(found.values.len(), expected.len(), "{kind}, {name}");
            for (a, b) in found.values.iter().zip(&expected) {
                // One level of a byte would be a hundred times as much.
                assert!((a - b).abs() < 4e-6 * (1.0 + b.abs()), "{kind}, {name}: {a} for {b}");
            }
            compared += 1;
        }
    }
    assert_eq!(compared, 24);
}

/// Pillow's `Image.open(...).convert("RGB")`: of grey of 16 bits what is above 255 is cut off, of colours the upper byte counts.
#[test]
fn sixteen_bits_become_eight_as_in_pillow() {
    let file = |colour: png::ColorType, samples: &[u16]| {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, (samples.len() / colour.samples()) as u32, 1);
        encoder.set_color(colour);
        encoder.set_depth(png::BitDepth::Sixteen);
        let samples: Vec<u8> = samples.iter().flat_map(|sample| sample.to_be_bytes()).collect();
        encoder.write_header().unwrap().write_image_data(&samples).unwrap();
        decode("16.png", &bytes).unwrap()
    };
    let grey = file(png::ColorType::Grayscale, &[0, 1, 255, 256, 300, 1000, 32768, 65535, 128, 257]);
    assert_eq!(grey.grey(), [0, 1, 255, 255, 255, 255, 255, 255, 128, 255]);
    assert_eq!(file(png::ColorType::Rgb, &[256, 65535, 255]).rgb, [1, 255, 0]);
}

#[test]
fn pictures_keep_their_size_and_a_plain_one_its_colour() {
    for filter in [Filter::Bilinear, Filter::Bicubic, Filter::Lanczos] {
        let wide = picture("wide");
        assert_eq!(resize(&wide, wide.size, filter), wide);
        let plain = Picture::new([5, 9], [7, 130, 251].repeat(45));
        for size in [[1, 1], [3, 20], [40, 2]] {
            assert_eq!(resize(&plain, size, filter).rgb, [7, 130, 251].repeat(size[0] * size[1]), "{filter:?}");
        }
    }
}

/// Cut off anywhere, a file is an error and never a panic; so is any single byte that is changed, or nothing is noticed.
#[test]
fn damaged_files_are_errors() {
    let jpeg = include_bytes!("small.jpg").to_vec();
    let png = std::fs::read(fixtures().join("small.png")).unwrap();
    for (name, file) in [("png", &png), ("jpeg", &jpeg)] {
        assert!(decode(name, file).is_ok());
        // The last bytes only say that the file ends.
        for len in 0..file.len() - 14 {
            assert!(decode(name, &file[..len]).is_err(), "{name}, {len} of {} bytes", file.len());
        }
        for i in 0..file.len() {
            let mut changed = file.clone();
            changed[i] ^= 0x41;
            let _ = decode(name, &changed);
        }
    }
    assert!(matches!(decode("gif", b"GIF89a"), Err(Error::Format { .. })));
}

#[test]
fn jpeg_is_read() {
    let found = decode("small.jpg", include_bytes!("small.jpg")).unwrap();
    let original = picture("small");
    assert_eq!(found.size, original.size);
    let off: u32 = found.rgb.iter().zip(&original.rgb).map(|(a, b)| u32::from(a.abs_diff(*b))).sum();
    assert!(off / (found.rgb.len() as u32) < 16, "on average {} levels off", off / found.rgb.len() as u32);
}

/// A header may promise anything; memory is only taken for what a bound allows.
#[test]
fn huge_pictures_are_refused_by_their_header() {
    let mut png = std::fs::read(fixtures().join("small.png")).unwrap();
    png[16..24].copy_from_slice(&[0, 1, 0, 0, 0, 1, 0, 0]);
    let checksum = png[12..29].iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| crc >> 1 ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 })
    });
    png[29..33].copy_from_slice(&(!checksum).to_be_bytes());
    assert!(matches!(decode("huge.png", &png), Err(Error::Huge { width: 65536, height: 65536, .. })));
    let mut jpeg = include_bytes!("small.jpg").to_vec();
    let frame = jpeg.windows(2).position(|w| w == [0xff, 0xc0]).unwrap();
    jpeg[frame + 5..frame + 9].copy_from_slice(&[0xff; 4]);
    assert!(decode("huge.jpg", &jpeg).is_err());
}

/// What transformers and timm say of one and the same thing.
#[test]
fn configurations_of_timm_are_followed() {
    let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    // Half of what is cut away is a whole number of pixels, so that both begin at the same one.
    let timm = r#"{"input_size": [3, 12, 12], "crop_pct": 0.75, "interpolation": "bicubic", "mean": [0.5, 0.4, 0.3]}"#;
    let own = r#"{"size": {"shortest_edge": 16}, "do_center_crop": true, "crop_size": 12, "resample": 3,
        "image_mean": [0.5, 0.4, 0.3], "image_std": [0.229, 0.224, 0.225]}"#;
    let (timm, own) = (Processor::timm(&json(timm)).unwrap(), Processor::read(&json(own)).unwrap());
    assert_eq!((timm.size(), own.size()), (Some([12, 12]), Some([12, 12])));
    let square = resize(&picture("wide"), [40, 40], Filter::Bilinear);
    let (found, expected) = (timm.pixels(&square).unwrap(), own.pixels(&square).unwrap());
    assert_eq!(found.layout, expected.layout);
    assert!(found.values.iter().zip(&expected.values).all(|(a, b)| (a - b).abs() < 1e-5));
    // Where the middle falls between two pixels, torchvision takes the even one: 3 pixels of 16 go, and one or two are before.
    let odd =
        Processor::timm(&json(r#"{"input_size": [3, 13, 13], "crop_pct": 0.8}"#)).unwrap().pixels(&square).unwrap();
    let whole = resize(&square, [16, 16], Filter::Bilinear);
    let red = (f32::from(whole.crop(2, 2, [13, 13]).rgb[0]) / 255.0 - 0.485) / 0.229;
    assert!((odd.values[0] - red).abs() < 1e-5, "{} for {red}", odd.values[0]);
    for text in [
        "{}",
        r#"{"input_size": [3, 0, 5]}"#,
        r#"{"input_size": [3, 8, 8], "crop_pct": 0}"#,
        r#"{"input_size": [3, 8, 8], "crop_mode": "border"}"#,
        r#"{"input_size": [3, 8, 9]}"#,
        r#"{"input_size": [3, 8, 8], "interpolation": "random"}"#,
        r#"{"input_size": [3, 8, 8], "std": [1]}"#,
    ] {
        assert!(Processor::timm(&json(text)).is_err(), "{text}");
    }
}

#[test]
fn colours_are_turned_round_where_a_model_wants_blue_first() {
    let config = r#"{"do_resize": false, "do_rescale": false, "image_mean": [1, 2, 3], "image_std": [1, 1, 1],
        "do_flip_channel_order": true}"#;
    let processor = Processor::read(&serde_json::from_str(config).unwrap()).unwrap();
    let found = processor.pixels(&Picture::new([1, 2], vec![10, 20, 30, 40, 50, 60])).unwrap();
    assert_eq!(found.values, [29.0, 18.0, 7.0, 59.0, 48.0, 37.0]);
}

#[test]
fn odd_configurations_are_refused() {
    let read = |text: &str| Processor::read(&serde_json::from_str(text).unwrap());
    for text in [
        "{}",
        r#"{"size": {"height": 0, "width": 5}}"#,
        r#"{"size": {"shortest_edge": 1000000}}"#,
        r#"{"size": 16, "resample": 7}"#,
        r#"{"size": 16, "image_mean": [1, 2]}"#,
    ] {
        assert!(read(text).is_err(), "{text}");
    }
    let thin = Picture::new([1, 300], vec![0; 900]);
    assert!(read(r#"{"size": {"shortest_edge": 16}}"#).unwrap().pixels(&thin).is_err());
}
