//! The four pictures of a small decoder, compared with files; `ARGAND_BLESS=1` writes the files anew.

use argand_graph::draw::{Format, draw};
use argand_graph::{AttentionSpec, Builder, Graph, KvSpec, Rope, RopeFreqs, RopeStyle};
use std::path::PathBuf;
use std::sync::Arc;

/// Two kinds of layers, so that a picture has to say which layers are which.
fn decoder(windows: &[Option<usize>]) -> Graph {
    let b = Builder::new("tiny");
    let freqs = RopeFreqs { inv_freq: vec![1.0, 0.1], magnitude: 1.0 };
    let rope = Rope { style: RopeStyle::Half, freqs: Arc::new(freqs), sections: vec![] };
    let x = b.embed("token_embd", 10, 8).repeat("layers", windows, |x, window| {
        let kv = KvSpec { heads: 1, dim_k: 4, dim_v: 4, window: *window };
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
