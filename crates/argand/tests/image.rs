//! Classifying pictures through the façade and the command, on tiny random checkpoints and the pictures of `argand-models`.

use argand::{Error, ImageClassifier, LoadOptions, Picture, Sense};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../argand-models/tests")
}

fn picture(name: &str) -> Picture {
    argand::open_picture(&fixtures().join("tiny_images").join(name)).unwrap()
}

/// A folder of a classifier, with what is said of pictures.
fn classifier(processor: Option<&str>) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(fixtures().join("tiny_cnn/resnet_basic").join(file), folder.path().join(file)).unwrap();
    }
    if let Some(from) = processor {
        let file = "preprocessor_config.json";
        std::fs::copy(fixtures().join("tiny_images").join(from).join(file), folder.path().join(file)).unwrap();
    }
    folder
}

fn load(path: &Path, options: &LoadOptions) -> Result<ImageClassifier, Error> {
    ImageClassifier::load(path, &LoadOptions { threads: Some(2), ..options.clone() }, &mut |_| {})
}

fn with_config(config: Value) -> LoadOptions {
    LoadOptions { config: Some(config), ..LoadOptions::default() }
}

#[test]
fn labels_come_with_probabilities_and_do_not_depend_on_the_others() {
    let folder = classifier(Some("images_resnet"));
    let mut model = load(folder.path(), &LoadOptions::default()).unwrap();
    assert_eq!(model.labels(), ["left", "middle", "right"]);
    let pictures = ["wide.png", "tall.png", "grey.png", "small.png"].map(picture);
    let alone: Vec<_> = pictures.iter().map(|p| model.classify(p).unwrap()).collect();
    for choices in &alone {
        assert_eq!(choices.len(), 3);
        assert!((choices.iter().map(|c| c.probability).sum::<f32>() - 1.0).abs() < 1e-6);
        assert!(choices.is_sorted_by(|a, b| a.probability >= b.probability));
    }
    assert_ne!(alone[0], alone[1]);
    let prepared: Vec<_> = pictures.iter().map(|p| model.prepare(p).unwrap()).collect();
    assert_eq!(model.classify_prepared(&prepared).unwrap(), alone);
}

/// Pictures of their own size are each a graph of its own.
#[test]
fn pictures_of_any_size_are_looked_at() {
    let folder = classifier(None);
    let mut config: Value = serde_json::from_slice(&std::fs::read(folder.path().join("config.json")).unwrap()).unwrap();
    config["preprocessor_config"] = json!({ "size": { "shortest_edge": 20 } });
    let mut model = load(folder.path(), &with_config(config)).unwrap();
    let prepared: Vec<_> = ["wide.png", "tall.png", "wide.png"].map(|p| model.prepare(&picture(p)).unwrap()).into();
    assert_ne!(prepared[0].layout, prepared[1].layout);
    let told = model.classify_prepared(&prepared).unwrap();
    assert!(told.len() == 3 && told[0] == told[2] && told[0] != told[1]);
}

/// From the file of a picture to the probabilities, as transformers tells them.
#[test]
fn a_transformer_agrees_with_transformers() {
    let path = fixtures().join("tiny_vision/vit");
    let expected: Value = serde_json::from_slice(&std::fs::read(path.join("seeing.json")).unwrap()).unwrap();
    let mut model = load(&path, &LoadOptions { exact: true, ..LoadOptions::default() }).unwrap();
    for (name, probabilities) in
        expected["pictures"].as_array().unwrap().iter().zip(expected["probabilities"].as_array().unwrap())
    {
        let told = model.classify(&picture(&format!("{}.png", name.as_str().unwrap()))).unwrap();
        for (label, expected) in model.labels().iter().zip(probabilities.as_array().unwrap()) {
            let found = told.iter().find(|c| c.text == *label).unwrap().probability;
            assert!(
                (f64::from(found) - expected.as_f64().unwrap()).abs() < 1e-5,
                "{name}: {found}, expected {expected}"
            );
        }
    }
}

#[test]
fn what_a_model_senses_is_told_by_its_graph() {
    let of = |path: &str| Sense::of(&fixtures().join(path), &LoadOptions::default()).unwrap();
    assert_eq!(of("tiny_cnn/resnet_basic"), Sense::Pictures);
    assert_eq!(of("tiny_vision/vit"), Sense::Pictures);
    assert_eq!(of("tiny_vision/llava"), Sense::Texts);
    assert_eq!(of("tiny_encoders/bert_classify"), Sense::Texts);
    assert_eq!(of("tiny/llama"), Sense::Texts);
}

#[test]
fn what_is_missing_or_odd_is_told() {
    let told = |path: &Path, options: &LoadOptions| load(path, options).err().expect("it should fail").to_string();
    let plain = classifier(None);
    let error = told(plain.path(), &LoadOptions::default());
    assert!(error.contains("put its preprocessor_config.json beside the weights"), "{error}");
    let mut config: Value = serde_json::from_slice(&std::fs::read(plain.path().join("config.json")).unwrap()).unwrap();
    config["pretrained_cfg"] = json!({ "input_size": [3, 224] });
    let error = told(plain.path(), &with_config(config.clone()));
    assert!(error.contains("field `input_size` is [3,224], expected channels, height and width"), "{error}");
    config["pretrained_cfg"] = json!({ "input_size": [3, 14, 14], "crop_pct": 7 });
    assert!(told(plain.path(), &with_config(config)).contains("`crop_pct` is 7"));
    let error = told(&fixtures().join("tiny_cnn/dcgan"), &LoadOptions::default());
    assert!(error.contains("DCGAN gives no label for a picture"), "{error}");
    let gguf = fixtures().join("tiny/llama/model.gguf");
    assert!(told(&gguf, &with_config(json!({}))).contains("another configuration than the file's own"));
}

/// The command itself, in a world of its own.
fn argand(args: &[&str]) -> Output {
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_argand"));
    command.args(args).env_clear().env("HF_HUB_CACHE", home.path()).env("HF_HUB_OFFLINE", "1").output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn the_command_labels_files_and_directories() {
    let folder = classifier(Some("images_resnet"));
    let (model, pictures) = (folder.path().to_str().unwrap(), fixtures().join("tiny_images"));
    let wide = pictures.join("wide.png");
    let one = argand(&["classify", model, wide.to_str().unwrap(), "-k", "2"]);
    assert!(one.status.success(), "{}", text(&one.stderr));
    let shown = text(&one.stdout);
    assert!(shown.starts_with("picture") && shown.lines().count() == 3, "{shown}");

    let all = argand(&["classify", model, pictures.to_str().unwrap(), "--json"]);
    assert!(all.status.success() && all.stderr.is_empty(), "{}", text(&all.stderr));
    let lines: Vec<Value> = text(&all.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: Vec<_> = lines.iter().map(|l| Path::new(l["file"].as_str().unwrap()).file_name().unwrap()).collect();
    assert_eq!(names, ["grey.png", "small.png", "tall.png", "wide.png"]);
    assert!(lines.iter().all(|l| l["labels"].as_array().unwrap().len() == 1));

    // One that is damaged is told, the others are labelled.
    let some = tempfile::tempdir().unwrap();
    std::fs::copy(&wide, some.path().join("good.png")).unwrap();
    std::fs::write(some.path().join("bad.png"), &std::fs::read(&wide).unwrap()[..200]).unwrap();
    let mixed = argand(&["classify", model, some.path().to_str().unwrap()]);
    assert!(!mixed.status.success() && text(&mixed.stdout).contains("good.png"));
    let told = text(&mixed.stderr);
    assert!(told.contains("bad.png: the picture is damaged") && told.contains("1 of 2 pictures"), "{told}");

    // One of a shape that cannot be made to fit is told by its own name, and not by the model's.
    let thin = some.path().join("thin.png");
    let mut encoder = png::Encoder::new(std::fs::File::create(&thin).unwrap(), 1000, 2);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.write_header().unwrap().write_image_data(&[7; 2000]).unwrap();
    let vit = fixtures().join("tiny_vision/vit");
    let shorter = some.path().join("shorter.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(vit.join("config.json")).unwrap()).unwrap();
    let side = config["image_size"].clone();
    config["preprocessor_config"] =
        json!({ "size": { "shortest_edge": side }, "do_center_crop": true, "crop_size": side });
    std::fs::write(&shorter, config.to_string()).unwrap();
    let [vit, thin, shorter] = [&vit, &thin, &shorter].map(|path| path.to_str().unwrap());
    let unfit = argand(&["classify", vit, thin, "--config", shorter]);
    let told = text(&unfit.stderr);
    assert!(told.contains(&format!("error: {thin}: a picture of 1000 x 2 pixels")), "{told}");

    let bare = some.path().join("model.safetensors");
    std::fs::copy(folder.path().join("model.safetensors"), &bare).unwrap();
    for (args, expected) in [
        (vec!["classify", bare.to_str().unwrap(), "x.png"], "needs --config"),
        (vec!["classify", model], "there are no pictures"),
        (vec!["classify", model, "--labels", "a,b", "x.png"], "--labels needs a model that has vectors of texts"),
        (vec!["classify", model, "nowhere.png"], "nowhere.png"),
        (vec!["classify", model, "x.png", "--context", "9"], "--context is for models that read texts"),
        (vec!["classify", model, "x.png", "--kv", "f16"], "--kv is for models with attention"),
        (vec!["classify", model, "x.png", "--config", "nowhere"], "no built-in configuration (efficientnet-lite0"),
        (vec!["classify", model, folder.path().join("config.json").to_str().unwrap()], "neither a PNG nor a JPEG"),
    ] {
        let failed = argand(&args);
        assert!(!failed.status.success(), "{args:?}");
        assert!(text(&failed.stderr).contains(expected), "{args:?}: {}", text(&failed.stderr));
    }
}

#[test]
fn the_command_reads_lines() {
    let (model, wide) = (fixtures().join("tiny_cnn/crnn"), fixtures().join("tiny_images/wide.png"));
    let (model, wide) = (model.to_str().unwrap(), wide.to_str().unwrap());
    let one = argand(&["ocr", model, wide, "--line", "--json"]);
    assert!(one.status.success(), "{}", text(&one.stderr));
    let found: Value = serde_json::from_slice(&one.stdout).unwrap();
    let [height, width] = picture("wide.png").size;
    let line = &found["lines"][0];
    assert_eq!([&line["top"], &line["bottom"], &line["left"], &line["right"]], [0, height, 0, width]);
    assert!(line["text"].as_str().unwrap().chars().all(|c| "abc d".contains(c)), "{line}");
    let sure = line["confidence"].as_f64().unwrap();
    assert!((0.0..=1.0).contains(&sure));
    let plain = argand(&["ocr", model, wide, "--line"]);
    assert_eq!(text(&plain.stdout), format!("{}\n", line["text"].as_str().unwrap()));
    // Several pictures are told apart by their names.
    let all = argand(&["ocr", model, fixtures().join("tiny_images").to_str().unwrap()]);
    assert!(all.status.success() && text(&all.stdout).contains("tall.png:\n"), "{}", text(&all.stderr));
    let other = fixtures().join("tiny_cnn/resnet_basic");
    let failed = argand(&["ocr", other.to_str().unwrap(), wide]);
    assert!(text(&failed.stderr).contains("ResNet reads no lines of text"), "{}", text(&failed.stderr));
}
