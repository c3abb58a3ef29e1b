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
