//! Models that see, from files to words, on tiny folders with what transformers says of the same pictures (see `parity/seeing.py`).

use argand::{Generation, ImageClassifier, LoadOptions, Matcher, Model, OpenOptions, Sampling, cosine};
use argand_cpu::kv::KvType;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../argand-models/tests")
}

fn folder(name: &str) -> PathBuf {
    tests().join("tiny_vision").join(name)
}

fn picture(name: &Value) -> PathBuf {
    tests().join("tiny_images").join(format!("{}.png", name.as_str().unwrap()))
}

fn expected(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(folder(name).join("seeing.json")).unwrap()).unwrap()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

fn numbers(value: &Value) -> Vec<f32> {
    list(value).iter().map(|x| x.as_f64().unwrap() as f32).collect()
}

/// As the reference computes, but for the order of sums.
fn exact() -> LoadOptions {
    LoadOptions { threads: Some(2), exact: true, kv: KvType::F32, context: Some(96), ..LoadOptions::default() }
}

/// Two layers of f32 sums in another order; the values are at most 1.
fn assert_near(found: &[f32], expected: &[f32], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let off = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(off < 2e-5, "{what}: off by {off:e}");
}

#[test]
fn a_vision_transformer_labels_pictures() {
    let mut classifier = ImageClassifier::load(&folder("vit"), &exact(), &mut |_| {}).unwrap();
    let expected = expected("vit");
    for (name, probabilities) in list(&expected["pictures"]).iter().zip(list(&expected["probabilities"])) {
        let choices = classifier.classify(&argand::open_picture(&picture(name)).unwrap()).unwrap();
        assert!(choices.is_sorted_by(|a, b| a.probability >= b.probability));
        let of = |label: &String| choices.iter().find(|c| c.text == *label).unwrap().probability;
        let found: Vec<f32> = classifier.labels().iter().map(of).collect();
        assert_near(&found, &numbers(probabilities), &format!("{name}"));
    }
}

#[test]
fn pictures_and_texts_are_compared() {
    for name in ["clip", "siglip"] {
        let mut matcher = Matcher::load(&folder(name), &exact(), &mut |_| {}).unwrap();
        let expected = expected(name);
        let labels: Vec<&str> = list(&expected["labels"]).iter().map(|label| label.as_str().unwrap()).collect();
        let texts = matcher.embed_texts(&labels).unwrap();
        for (found, expected) in texts.iter().zip(list(&expected["text_embeds"])) {
            assert_near(found, &numbers(expected), &format!("{name}: a label"));
        }
        let shown = list(&expected["pictures"]).iter().map(|p| argand::open_picture(&picture(p)).unwrap());
        let prepared: Vec<_> = shown.map(|p| matcher.prepare(&p).unwrap()).collect();
        let pictures = matcher.embed_pictures(&prepared).unwrap();
        assert_eq!(pictures.len(), 2);
        for (i, picture) in pictures.iter().enumerate() {
            assert_near(picture, &numbers(&expected["image_embeds"][i]), &format!("{name}: picture {i}"));
            let found = matcher.probabilities(picture, &texts);
            assert_near(&found, &numbers(&expected["probabilities"][i]), &format!("{name}: probabilities"));
            let ranked = matcher.ranked(picture, &labels, &texts);
            let best = (0..3).max_by(|a, b| found[*a].total_cmp(&found[*b])).unwrap();
            assert_eq!(ranked[0].text, labels[best]);
            assert!((cosine(picture, picture) - 1.0).abs() < 1e-6);
        }
    }
}

fn seeing(name: &str) -> Model {
    let options = OpenOptions { load: exact(), prefill_chunk: Some(7) };
    let mut model = Model::load(&folder(name), &options, &mut |_| {}).unwrap();
    assert!(model.sees());
    let greedy = Generation { sampling: Sampling::greedy(), ignore_eos: true, ..Generation::default() };
    *model.generation_mut() = Generation { max_tokens: Some(12), ..greedy };
    model
}

/// Says something after some pictures: tokens of the answer, of the prompt, and of those how many were there already.
fn say(model: &mut Model, pictures: &[Value], text: &str) -> (Vec<u32>, usize, usize) {
    for name in pictures {
        model.show(&argand::open_picture(&picture(name)).unwrap()).unwrap();
    }
    let mut answer = model.chat(text).unwrap();
    answer.by_ref().for_each(|piece| drop(piece.unwrap()));
    let usage = answer.usage().unwrap();
    (answer.tokens().to_vec(), usage.prompt_tokens, usage.cached_tokens)
}

#[test]
fn pictures_are_described_as_transformers_does() {
    for name in ["llava", "smolvlm", "qwen2_vl"] {
        let mut model = seeing(name);
        for run in list(&expected(name)) {
            model.reset();
            let (tokens, prompt, _) = say(&mut model, list(&run["pictures"]), run["prompt"].as_str().unwrap());
            assert_eq!(prompt, list(&run["tokens"]).len(), "{name}: {}", run["pictures"]);
            let generated: Vec<u32> = list(&run["generated"]).iter().map(|id| id.as_u64().unwrap() as u32).collect();
            assert_eq!(tokens, generated, "{name}: {}", run["pictures"]);
        }
    }
}

/// A second turn has what the first has computed, and says the same as a conversation that is read anew.
#[test]
fn a_conversation_goes_on_about_its_pictures() {
    let wide = [Value::from("wide")];
    let mut model = seeing("llava");
    model.generation_mut().max_tokens = Some(3);
    let first = say(&mut model, &wide, "what is in the picture");
    let (again, prompt, cached) = say(&mut model, &[], "is the dog red");
    assert!(prompt > first.1 && cached >= first.1, "{cached} of {prompt} tokens were kept");
    let mut anew = seeing("llava");
    anew.generation_mut().max_tokens = Some(3);
    assert_eq!(say(&mut anew, &wide, "what is in the picture").0, first.0);
    assert_eq!(say(&mut anew, &[], "is the dog red").0, again);
    // Text alone needs no picture, and a place for one that was not shown is refused.
    model.reset();
    assert!(!say(&mut model, &[], "what is the sky").0.is_empty());
    model.show(&argand::open_picture(&picture(&wide[0])).unwrap()).unwrap();
    let error = model.chat("an <image> more").err().expect("two places for a picture").to_string();
    assert!(error.contains("1 pictures were shown"), "{error}");
}

/// The very same picture in a conversation that begins anew has its rows, and what was computed of them, already.
#[test]
fn a_picture_is_looked_at_once() {
    let wide = [Value::from("wide")];
    let mut model = seeing("llava");
    model.generation_mut().max_tokens = Some(3);
    let (first, prompt, _) = say(&mut model, &wide, "what is in the picture");
    model.reset();
    let (again, _, cached) = say(&mut model, &wide, "what is in the picture");
    assert_eq!((again, cached), (first, prompt - 1), "all but the last token was there");
    model.reset();
    let (_, _, cached) = say(&mut model, &[Value::from("tall")], "what is in the picture");
    assert!(cached < prompt - 1, "another picture is another one");
}

/// The part of a model that looks says how far it has come.
#[test]
fn eyes_are_opened_once_and_say_so() {
    let mut model = seeing("llava");
    let mut heard = 0;
    model.open_eyes(&mut |_| heard += 1).unwrap();
    assert!(heard > 0);
    let before = heard;
    model.open_eyes(&mut |_| heard += 1).unwrap();
    assert_eq!(heard, before);
}

/// Pictures are made and looked at in two sizes: one of two files is wrong, whatever the model is for.
#[test]
fn configurations_that_disagree_about_pictures_are_told() {
    for name in ["vit", "clip", "llava"] {
        let made = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(folder(name)).unwrap().map(Result::unwrap) {
            std::fs::copy(entry.path(), made.path().join(entry.file_name())).unwrap();
        }
        let file = made.path().join("preprocessor_config.json");
        let mut config: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        for field in ["size", "crop_size"] {
            if config.get(field).is_some() {
                config[field] = serde_json::json!({ "height": 10, "width": 12 });
            }
        }
        std::fs::write(&file, config.to_string()).unwrap();
        let loaded = |path| match name {
            "vit" => ImageClassifier::load(path, &exact(), &mut |_| {}).map(drop),
            "clip" => Matcher::load(path, &exact(), &mut |_| {}).map(drop),
            _ => Model::load(path, &OpenOptions::default(), &mut |_| {}).unwrap().open_eyes(&mut |_| {}),
        };
        let error = loaded(made.path()).expect_err("it should fail").to_string();
        let told = ["preprocessor_config.json makes pictures of 10 x 12 pixels", "config.json has the model look at"];
        assert!(told.iter().all(|part| error.contains(part)), "{name}: {error}");
    }
}

/// Rows of an array are those of the pictures, or there is no array.
#[test]
fn an_array_has_a_row_for_each_picture_or_is_not_written() {
    let made = tempfile::tempdir().unwrap();
    let (array, photos) = (made.path().join("v.npy"), made.path().join("photos"));
    std::fs::create_dir(&photos).unwrap();
    std::fs::copy(picture(&"wide".into()), photos.join("b.png")).unwrap();
    let arguments = [path(folder("clip")), path(photos.clone()), path(array.clone())];
    let [model, from, to] = arguments.each_ref().map(String::as_str);
    let embed = || argand(&["embed", model, from, "--format", "npy", "--output", to]);
    std::fs::write(photos.join("a.png"), "no picture").unwrap();
    let error = embed().unwrap_err();
    assert!(error.contains("1 of 2 pictures could not be read; no array was written"), "{error}");
    assert!(!array.exists());
    std::fs::remove_file(photos.join("a.png")).unwrap();
    embed().unwrap();
    assert!(array.exists());
}

/// What a command writes to standard output, or to standard error when it fails.
fn argand(arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(env!("CARGO_BIN_EXE_argand")).args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

fn path(path: PathBuf) -> String {
    path.display().to_string()
}

fn json(line: &str) -> Value {
    serde_json::from_str(line).unwrap()
}

const GREEDY: [&str; 8] =
    ["--prompt", "what is in the picture", "--temperature", "0", "-n", "12", "--ignore-eos", "--exact"];

#[test]
fn describe_says_what_transformers_says() {
    for name in ["llava", "smolvlm", "qwen2_vl"] {
        let model = path(folder(name));
        for run in list(&expected(name)) {
            let files: Vec<String> = list(&run["pictures"]).iter().map(|p| path(picture(p))).collect();
            let mut arguments = vec!["describe", &model, "--json", "--together", "--context", "96"];
            arguments.extend(files.iter().map(String::as_str));
            arguments.extend(GREEDY);
            let found = json(&argand(&arguments).unwrap());
            assert_eq!(found["tokens"], run["generated"], "{name}: {}", run["pictures"]);
            assert_eq!(found["files"], serde_json::json!(files));
        }
    }
}

#[test]
fn describe_takes_directories_and_tells_what_is_wrong() {
    let (model, wide) = (path(folder("qwen2_vl")), path(tests().join("tiny_images/wide.png")));
    let one = argand(&[&["describe", &model, &wide][..], &GREEDY].concat()).unwrap();
    let folder_of = path(tests().join("tiny_images"));
    let all = argand(&[&["describe", &model, &folder_of][..], &GREEDY].concat()).unwrap();
    // Each after its name, one like the other.
    assert_eq!(all.matches(".png\n").count(), 4, "{all}");
    assert!(all.contains(&format!("wide.png\n{one}")), "{all}: {one}");
    let lines = argand(&[&["describe", &model, &folder_of, "--json"][..], &GREEDY].concat()).unwrap();
    let files: Vec<Value> = lines.lines().map(|line| json(line)["file"].clone()).collect();
    assert_eq!(files.len(), 4);
    assert!(files.contains(&wide.as_str().into()), "{files:?}");
    let error = argand(&["describe", &model, "nowhere.png"]).unwrap_err();
    assert!(error.contains("nowhere.png"), "{error}");
    let error = argand(&["describe", &path(folder("clip")), &wide]).unwrap_err();
    assert!(error.contains("CLIP"), "{error}");
}

#[test]
fn classify_and_embed_take_pictures() {
    let clip = path(folder("clip"));
    let pictures = ["wide", "tall"].map(|name| path(tests().join(format!("tiny_images/{name}.png"))));
    let [wide, tall] = [&pictures[0], &pictures[1]].map(String::as_str);
    let all = expected("clip");
    let labels = list(&all["labels"]).iter().map(|label| label.as_str().unwrap()).collect::<Vec<_>>().join(",");
    let found = argand(&["classify", &clip, wide, tall, "--labels", &labels, "-k", "3", "--json", "--exact"]).unwrap();
    for (line, probabilities) in found.lines().zip(list(&all["probabilities"])) {
        let best = numbers(probabilities).into_iter().fold(0.0, f32::max);
        let top = json(line)["labels"][0]["probability"].as_f64().unwrap();
        assert!((top as f32 - best).abs() < 1e-3, "{line}");
    }
    assert_eq!(found.lines().count(), 2);
    let error = argand(&["classify", &clip, wide]).unwrap_err();
    assert!(error.contains("--labels"), "{error}");
    let table = argand(&["classify", &path(folder("vit")), wide, "--exact"]).unwrap();
    assert!(["left", "middle", "right"].iter().any(|label| table.contains(label)), "{table}");

    let found = argand(&["embed", &clip, wide, tall, "--exact"]).unwrap();
    for (line, vector) in found.lines().zip(list(&all["image_embeds"])) {
        assert!(cosine(&numbers(&json(line)["embedding"]), &numbers(vector)) > 0.9999, "{line}");
    }
    let ranked = argand(&["embed", &clip, wide, tall, "--similar", "a dog", "--json", "--exact"]).unwrap();
    assert_eq!(list(&json(&ranked)).len(), 2, "{ranked}");
    let error = argand(&["embed", &clip, wide, "nosuch.png"]).unwrap_err();
    assert!(error.contains("nosuch.png"), "{error}");
    let texts = argand(&["embed", &clip, "a dog", "--exact"]).unwrap();
    assert!(cosine(&numbers(&json(&texts)["embedding"]), &numbers(&all["text_embeds"][0])) > 0.9999);
}

#[test]
fn both_parts_of_a_model_can_be_counted_and_drawn() {
    let config = path(folder("llava").join("config.json"));
    let counted = |more: &[&str]| json(&argand(&[&["count", &config, "--json"][..], more].concat()).unwrap());
    // Two layers of the language model, one of the tower over a class token and nine patches.
    assert_eq!(
        (counted(&[])["tokens"].clone(), counted(&["--looking", "--batch", "3"])["tokens"].clone()),
        (1.into(), 30.into())
    );
    assert!(argand(&["draw", &config]).unwrap().contains("place"));
    let tower = argand(&["draw", &config, "--looking"]).unwrap();
    assert!(tower.contains("v.patch_embd") && tower.contains("mm"), "{tower}");
    let error = argand(&["draw", &path(tests().join("tiny/llama/config.json")), "--looking"]).unwrap_err();
    assert!(error.contains("no part of its own that looks"), "{error}");
}
