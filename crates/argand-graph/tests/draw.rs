//! The four pictures of a small decoder, compared with files; `ARGAND_BLESS=1` writes the files anew.

use argand_graph::check::check;
use argand_graph::draw::{Format, draw};
use argand_graph::{At, AttentionSpec, Builder, Graph, KvSpec, Mask, Rope, RopeFreqs, RopeStyle, count};
use std::path::PathBuf;
use std::sync::Arc;

/// Two kinds of layers, so that a picture has to say which layers are which.
fn decoder(windows: &[Option<usize>]) -> Graph {
    let b = Builder::new("tiny");
    let freqs = RopeFreqs { inv_freq: vec![1.0, 0.1], magnitude: 1.0 };
    let rope = Rope { style: RopeStyle::Half, freqs: Arc::new(freqs), sections: vec![] };
    let x = b.embed("token_embd", 10, 8).repeat("layers", windows, |x, window| {
        let kv = KvSpec { heads: 1, dim_k: 4, dim_v: 4, window: *window, memory: false };
        let spec = AttentionSpec::new(2, kv, 0.5);
        let h = x.rms_norm("attn_norm", 1e-5);
        let q = h.linear("attn_q", 8).heads(2).rope(&rope);
        let k = h.linear("attn_k", 4).heads(1).rope(&rope);
        let v = h.linear("attn_v", 4).heads(1);
        x + q.attend(k, v, &spec).linear("attn_out", 8)
    });
    let logits = x.logit_rows().rms_norm("output_norm", 1e-5).linear("output", 10);
    let output = logits.value();
    b.finish(output).expect("the graph is sound")
}

fn compare(name: &str, found: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/draw").join(name);
    if std::env::var_os("ARGAND_BLESS").is_some() {
        std::fs::write(&path, found).expect("the golden file can be written");
    }
    let expected = std::fs::read_to_string(&path).expect("the golden file is there");
    assert_eq!(found, expected, "{name} differs; look at it, then run with ARGAND_BLESS=1");
}

#[test]
fn pictures_are_as_looked_at() {
    let graph = decoder(&[Some(3), Some(3), None, Some(3)]);
    compare("tiny.txt", &draw(&graph, Format::Text));
    compare("tiny.dot", &draw(&graph, Format::Dot));
    compare("tiny.svg", &draw(&graph, Format::Svg));
    compare("tiny.json", &draw(&graph, Format::Json));
}

/// A model of two parts.
fn pair() -> Graph {
    let memory = KvSpec { heads: 1, dim_k: 4, dim_v: 4, window: None, memory: true };
    let b = Builder::new("reader");
    let read = b.embed("token_embd", 10, 8).repeat("dec", &[(); 2], |x, ()| {
        x.remember(x.linear("cross_attn_k", 4).heads(1), x.linear("cross_attn_v", 4).heads(1), memory)
    });
    let output = read.value();
    let reader = b.finish(output).expect("the graph is sound");
    let b = Builder::new("writer");
    let spec = AttentionSpec { mask: Mask::Full, ..AttentionSpec::new(2, memory, 0.5) };
    let x = b.embed("token_embd", 10, 8).repeat("dec", &[(); 2], |x, ()| {
        x + x.linear("cross_attn_q", 8).heads(2).recall(&spec).linear("cross_attn_out", 8)
    });
    let output = x.logit_rows().linear("token_embd", 10).named("logits").value();
    b.finish(output).expect("the graph is sound").with_encoder(reader)
}

#[test]
fn both_parts_of_a_model_are_drawn_and_counted() {
    let graph = pair();
    check(&graph).expect("the memory is written as it is recalled");
    for format in [Format::Text, Format::Dot, Format::Svg, Format::Json] {
        let drawn = draw(&graph, format);
        for name in ["reader", "writer", "cross_attn_k", "cross_attn_q"] {
            assert!(drawn.contains(name), "{name} is missing in {drawn}");
        }
    }
    // A table of 10 x 8 that both parts read counts once; two layers of 2 x 8 x 8 and 2 x 4 x 8.
    let counted = count(&graph, |_, n| 4 * n);
    assert_eq!(counted.params, 80 + 2 * (2 * 64 + 2 * 32));
    // Two layers with a head of a key and a value.
    assert_eq!(counted.state_per_token, 2 * 8);
    let encoder = counted.encoder.expect("there is an encoder");
    assert_eq!(encoder.params, 80 + 2 * 2 * 32);
    let products = encoder.rows.iter().find(|r| r.name == "cross_attn_k").expect("the encoder makes keys");
    assert_eq!(products.flops.at(&At::step(3, 0)), f64::from(2 * 3 * 2 * 4 * 8));
}

#[test]
fn a_memory_that_nobody_writes_is_a_mistake() {
    let (graph, reader) = (pair(), pair().encoder.expect("there is an encoder"));
    let alone = Graph { encoder: None, ..graph };
    assert!(check(&alone).is_err_and(|e| e.contains("no encoder")));
    let nested = alone.with_encoder(Graph { body: reader.body.clone(), ..*reader });
    check(&nested).expect("the encoder is back");
    let b = Builder::new("other");
    let output = b.embed("token_embd", 10, 8).value();
    let silent = nested.with_encoder(b.finish(output).expect("the graph is sound"));
    assert!(check(&silent).is_err_and(|e| e.contains("writes otherwise")));
}

#[test]
fn a_repetition_is_drawn_once() {
    let (few, many) = (decoder(&[None; 2]), decoder(&[None; 40]));
    let lines = |graph: &Graph, format| draw(graph, format).lines().count();
    for format in [Format::Text, Format::Dot, Format::Svg] {
        assert_eq!(lines(&few, format), lines(&many, format));
    }
    assert!(draw(&many, Format::Text).contains("layers ×40"));
}

#[test]
fn json_holds_every_node_and_agrees_with_the_graph() {
    let graph = decoder(&[None, Some(3)]);
    let json: serde_json::Value = serde_json::from_str(&draw(&graph, Format::Json)).expect("it is JSON");
    assert_eq!(json["body"]["nodes"].as_array().map(Vec::len), Some(graph.body.nodes.len()));
    let repeat = json["body"]["nodes"].as_array().into_iter().flatten().find(|n| n["op"] == "repeat");
    let bodies = &repeat.expect("there are layers")["bodies"];
    let (_, inner, _) = graph.repeats().next().expect("there are layers");
    for (i, body) in inner.iter().enumerate() {
        assert_eq!(bodies[i]["nodes"].as_array().map(Vec::len), Some(body.nodes.len()));
    }
}
