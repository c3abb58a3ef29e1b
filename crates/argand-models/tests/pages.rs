//! Every page from its configuration alone: a sound graph that can be counted and drawn, before any weight is read.

use argand_graph::draw::{Format, draw};
use argand_graph::{At, count};
use argand_models::{Model, PAGES};
use std::collections::BTreeSet;
use std::path::Path;

fn configs() -> Vec<(String, serde_json::Value)> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let read = |e: std::io::Result<std::fs::DirEntry>| {
        let path = e.unwrap().path();
        let text = std::fs::read_to_string(path.join("config.json")).unwrap();
        (path.file_name().unwrap().to_string_lossy().into_owned(), serde_json::from_str(&text).unwrap())
    };
    let folders = ["tiny", "tiny_encoders", "tiny_vision", "tiny_cnn", "tiny_rnn", "tiny_seq2seq"]
        .map(|folder| std::fs::read_dir(tests.join(folder)).unwrap());
    // Ways to decode have no network.
    let decoding = |name: &str| ["crf", "ctc"].contains(&name);
    folders.into_iter().flatten().map(read).filter(|(name, _)| !decoding(name)).collect()
}

#[test]
fn every_configuration_builds_a_graph_that_can_be_counted_and_drawn() {
    let mut seen = BTreeSet::new();
    let configs = configs();
    let models = configs.iter().flat_map(|(name, config)| {
        let model = Model::from_config(config, None).unwrap_or_else(|e| panic!("{name}: {e}"));
        // Models that read and see have two graphs.
        let tower = config.get("vision_config").map(|_| (format!("{name}, looking"), model.looking()));
        let tower = tower.map(|(name, tower)| (name.clone(), tower.unwrap_or_else(|e| panic!("{name}: {e}"))));
        [(name.clone(), model)].into_iter().chain(tower)
    });
    for (name, model) in models {
        seen.insert(model.page.name);
        let looks = argand_models::vision::Sight::of(&model.graph).is_some();
        assert_eq!(looks, name.ends_with("looking") || name == "vit", "{name}");
        argand_graph::check::check(&model.graph).unwrap_or_else(|e| panic!("{name}: {e}"));
        let counted = count(&model.graph, |_, n| 4 * n);
        let one = At::step(1, 0);
        // Every stored parameter is known to somebody, and each product is two operations for each parameter that it reads.
        let all = counted.rows.iter().chain(counted.encoder.iter().flat_map(|e| &e.rows));
        let listed: usize = all.map(|r| r.params).sum();
        assert!(listed >= counted.params, "{name}: {listed} of {} parameters", counted.params);
        assert!(counted.read_bytes(&one) <= 4.0 * listed as f64, "{name}");
        assert!(counted.total(|r| &r.flops).at(&one) > 0.0, "{name}");
        for format in [Format::Text, Format::Dot, Format::Svg, Format::Json] {
            let drawn = draw(&model.graph, format);
            for w in model.graph.weights() {
                let base = w.name.trim_end_matches(".bias").rsplit('.').next().unwrap();
                assert!(drawn.contains(base), "{name} as {format:?}: no {base}");
            }
        }
        for w in model.graph.weights() {
            let member = if w.shape.len() == 3 { "#0" } else { "" };
            model.locate(&format!("{}{member}", w.name)).unwrap_or_else(|e| panic!("{name}: {e}"));
        }
    }
    let missing: Vec<_> = PAGES.iter().filter(|p| !seen.contains(p.name)).map(|p| p.name).collect();
    assert!(missing.is_empty(), "no configuration for {missing:?}");
}

/// Names that no page knows are told by the configuration: one by one, or by patterns.
#[test]
fn a_configuration_can_name_its_weights() {
    let (_, mut config) = configs().into_iter().find(|(name, _)| name == "resnet_basic").unwrap();
    config["tensor_names"] = serde_json::json!({
        "stem": "Conv_1",
        "stages.{}.layers.{}.conv.0": "s{}/b{}/a",
        "output": { "tensor": "fc", "transposed": true },
    });
    let model = Model::from_config(&config, None).unwrap();
    let at = |name: &str| model.locate(name).unwrap();
    let (stem, conv, output) = (at("stem"), at("stages.1.layers.0.conv.0"), at("output"));
    assert_eq!([&*stem.tensor, &*conv.tensor, &*output.tensor], ["Conv_1", "s1/b0/a", "fc"]);
    // Kernels stay kernels, and a norm is taken to be folded in.
    assert!(stem.kernel && conv.kernel && !output.kernel && output.transposed && stem.norm.is_none());
    // What it does not name is called as always, norm and all.
    let other = at("stages.1.layers.0.conv.1");
    assert!(other.tensor.ends_with("layer.1.convolution.weight") && other.norm.is_some(), "{other:?}");
    for odd in [serde_json::json!({ "stem": 7 }), serde_json::json!("stem")] {
        config["tensor_names"] = odd;
        let error = Model::from_config(&config, None).unwrap().locate("stem").unwrap_err().to_string();
        assert!(error.contains("tensor_names"), "{error}");
    }
}

/// A step of one token reads the experts that it meets, one of many tokens all of them.
#[test]
fn only_chosen_experts_are_read() {
    let (_, config) = configs().into_iter().find(|(name, _)| name == "qwen3_moe").unwrap();
    let model = Model::from_config(&config, None).unwrap();
    let counted = count(&model.graph, |_, n| 4 * n);
    let row = counted.rows.iter().find(|r| r.name == "ffn_up_exps").unwrap();
    // Three of six experts, each of 9 x 16 values, in two layers.
    assert_eq!(row.read_bytes(&At::step(1, 0)), f64::from(4 * 2 * 3 * 9 * 16));
    assert_eq!(row.read_bytes(&At::step(100, 0)), f64::from(4 * 2 * 6 * 9 * 16));
    assert_eq!(row.flops.at(&At::step(1, 0)), f64::from(2 * 2 * 3 * 9 * 16));
}

/// What a configuration says is checked before anything is made of it, and a word that is not known is never a default.
#[test]
fn hostile_configurations_are_refused() {
    let huge = serde_json::json!(i32::MAX - 1);
    for (name, field, value) in [
        ("bloom", "n_head", huge.clone()),
        ("deepseek_v3", "qk_rope_head_dim", huge.clone()),
        ("deepseek_v3", "kv_lora_rank", huge.clone()),
        ("deepseek_v3", "n_group", 3.into()),
        ("deepseek_v3", "topk_method", "weird".into()),
        ("deepseek_v3", "scoring_func", "tanh".into()),
        ("deepseek_v3", "rope_interleave", false.into()),
        ("deepseek_v3", "attention_bias", true.into()),
        ("mixtral", "num_local_experts", huge.clone()),
        ("t5", "num_decoder_layers", huge.clone()),
        ("t5", "relative_attention_max_distance", huge.clone()),
        ("t5", "relative_attention_num_buckets", 0.into()),
        ("t5", "feed_forward_proj", "gated-tanh".into()),
        ("llama", "num_hidden_layers", huge),
        ("gemma3", "layer_types", serde_json::json!(["chunked_attention", "full_attention"])),
        ("gemma3", "layer_types", serde_json::json!(["full_attention"])),
    ] {
        let (_, mut config) = configs().into_iter().find(|(found, _)| found == name).unwrap();
        config[field] = value.clone();
        let error = Model::from_config(&config, None).err().unwrap_or_else(|| panic!("{name}: {field} is {value}"));
        // A mistake in the graph is told with its place in the page.
        let error = error.to_string();
        assert!(!error.contains("builder.rs"), "{error}");
    }
    for (name, field, value) in [
        ("llava", "vision_feature_layer", serde_json::json!(-4)),
        ("llava", "vision_feature_select_strategy", "full".into()),
        ("llava", "projector_hidden_act", "weird".into()),
        ("smolvlm", "scale_factor", 3.into()),
        ("siglip", "vision_config", serde_json::json!({ "patch_size": 400 })),
        ("clip", "vision_config", serde_json::json!({ "num_hidden_layers": i32::MAX - 1 })),
        ("qwen2_vl", "vision_config", serde_json::json!({ "embed_dim": 10, "num_heads": 3, "hidden_size": 4 })),
    ] {
        let (_, mut config) = configs().into_iter().find(|(found, _)| found == name).unwrap();
        config[field] = value.clone();
        let error = Model::from_config(&config, None).and_then(|model| model.looking().map(|_| ())).err();
        let error = error.unwrap_or_else(|| panic!("{name}: {field} is {value}")).to_string();
        assert!(!error.contains("builder.rs"), "{error}");
    }
}

/// Parts of a configuration that say nothing are as usual.
#[test]
fn what_is_usual_goes_without_saying() {
    for (name, width) in [("clip", 512), ("siglip", 768)] {
        let config = serde_json::json!({ "model_type": name, "text_config": {}, "vision_config": {} });
        let model = Model::from_config(&config, None).unwrap();
        for graph in [&model.looking().unwrap().graph, &model.graph] {
            assert_eq!(graph.body.node(graph.body.output).ty.row_len(), Some(width), "{name}");
        }
    }
    let text = serde_json::json!({ "model_type": "llama", "vocab_size": 32064 });
    let vision = serde_json::json!({ "model_type": "clip_vision_model", "image_size": 336, "patch_size": 14 });
    let config = serde_json::json!({ "model_type": "llava", "text_config": text, "vision_config": vision });
    let tower = Model::from_config(&config, None).unwrap().looking().unwrap();
    let rows = argand_models::vision::Sight::of(&tower.graph).map(|sight| match sight {
        argand_models::vision::Sight::Whole { rows, wanted, .. } => (rows, wanted.len()),
        argand_models::vision::Sight::Patches { .. } => (0, 0),
    });
    assert_eq!(rows, Some((577, 576)));
}

/// A value of another kind than a field has is told, and never taken for one that is not there.
#[test]
fn values_of_another_kind_are_told_by_their_field() {
    let (_, config) = configs().into_iter().find(|(name, _)| name == "qwen2").unwrap();
    let told = |field: &str, value: serde_json::Value| {
        let mut config = config.clone();
        config[field] = value;
        Model::from_config(&config, None).err().map(|error| error.to_string()).unwrap_or_default()
    };
    let odd = |field: &str, found: &str, expected: &str| {
        format!("config.json: field `{field}` is {found}, expected {expected}")
    };
    assert_eq!(told("tie_word_embeddings", "true".into()), odd("tie_word_embeddings", "\"true\"", "true or false"));
    assert_eq!(told("use_sliding_window", 1.into()), odd("use_sliding_window", "1", "true or false"));
    assert!(told("hidden_act", 3.into()).ends_with("is 3, expected a word"), "{}", told("hidden_act", 3.into()));
    assert_eq!(told("layer_types", 4.into()), odd("layer_types", "4", "a list"));
    assert_eq!(told("use_sliding_window", serde_json::Value::Null), "", "null is no value");
}

/// A vocabulary of another size than its table: one of two files is wrong.
#[test]
fn a_vocabulary_that_its_table_contradicts_is_told() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tiny/llama");
    let own = argand_weights::Checkpoint::open(&path).unwrap();
    let mut config = own.config().unwrap().clone();
    let rows = config["vocab_size"].as_u64().unwrap();
    config["vocab_size"] = (rows + 1).into();
    let other = argand_weights::Checkpoint::open_as(&path, Some(&config)).unwrap();
    let error = Model::open(&other, None).err().expect("it should fail").to_string();
    let said = format!("field `vocab_size` is {}, and tensor `model.embed_tokens.weight` has {rows} rows", rows + 1);
    assert!(error.contains(&said), "{error}");
}
