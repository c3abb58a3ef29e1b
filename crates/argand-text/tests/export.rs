//! Tokenizers of Hugging Face's libraries, described in GGUF's words and read again.

use argand_text::{Error, Tokenizer, gguf_vocabulary};
use serde_json::{Map, Value, json};

/// GPT-2's printable alphabet of bytes, in the order of its vocabulary.
fn alphabet() -> Vec<char> {
    let plain = |b: &u32| matches!(b, 33..=126 | 161..=172 | 174..=255);
    let own = (0..256).filter(plain);
    let moved = (256..).zip((0..256).filter(|b| !plain(b))).map(|(to, _)| to);
    own.chain(moved).filter_map(char::from_u32).collect()
}

fn vocabulary(tokens: impl Iterator<Item = String>) -> Value {
    Value::Object(tokens.zip(0..).map(|(token, id)| (token, json!(id))).collect::<Map<_, _>>())
}

const LLAMA_3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Byte-level byte pair encoding as in Llama 3's files.
fn byte_level(pattern: &str) -> Value {
    let words = ["he", "ll", "hell", "Ġw", "or", "Ġwor", "ld", "Ġworld", "12"];
    let tokens = alphabet().into_iter().map(String::from).chain(words.map(String::from));
    let next = 256 + words.len();
    json!({
        "version": "1.0",
        "added_tokens": [
            {"id": next, "content": "<|begin|>", "special": true, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false},
            {"id": next + 1, "content": "<|eot_id|>", "special": true, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false},
            {"id": next + 2, "content": "<tool>", "special": false, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false}
        ],
        "normalizer": null,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false},
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}
        ]},
        "post_processor": {"type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<|begin|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<|begin|>": {"id": "<|begin|>", "ids": [next], "tokens": ["<|begin|>"]}}},
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": true,
            "vocab": vocabulary(tokens),
            "merges": [["h", "e"], ["l", "l"], ["he", "ll"], ["Ġ", "w"], ["o", "r"], ["Ġw", "or"], ["l", "d"], ["Ġwor", "ld"], ["1", "2"]]}
    })
}

/// SentencePiece's byte pair encoding as converters of Llama 2 write it.
fn sentence_piece() -> Value {
    let reserved = ["<unk>", "<s>", "</s>"].map(String::from);
    let bytes = (0..256).map(|b| format!("<0x{b:02X}>"));
    let pieces = ["▁", "h", "e", "l", "o", "w", "r", "d", "he", "ll", "▁w", "or", "hell", "▁wor", "ld", "▁world"];
    let added = |id: usize, text: &str| json!({"id": id, "content": text, "special": true, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false});
    json!({
        "version": "1.0",
        "added_tokens": [added(0, "<unk>"), added(1, "<s>"), added(2, "</s>")],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
        "pre_tokenizer": null,
        "post_processor": {"type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": {"type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true,
            "vocab": vocabulary(reserved.into_iter().chain(bytes).chain(pieces.map(String::from))),
            "merges": ["h e", "l l", "▁ w", "o r", "he ll", "▁w or", "l d", "▁wor ld"]}
    })
}

/// The tokenizer of a folder with that tokenizer.json, and the one that its description in GGUF's words gives.
fn both(tokenizer: &Value, rows: usize) -> Result<[Tokenizer; 2], Error> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tokenizer.json"), tokenizer.to_string()).unwrap();
    let config = json!({"eos_token": if tokenizer["model"]["byte_fallback"] == true { "</s>" } else { "<|eot_id|>" },
        "chat_template": "{{ messages[0].content }}"});
    std::fs::write(folder.path().join("tokenizer_config.json"), config.to_string()).unwrap();
    let metadata = gguf_vocabulary(folder.path(), rows)?;
    assert_eq!(metadata.get_str("tokenizer.chat_template"), Some("{{ messages[0].content }}"));
    Ok([Tokenizer::from_hf_dir(folder.path())?, Tokenizer::from_gguf(&metadata)?])
}

fn agree([own, read]: [Tokenizer; 2]) {
    let texts = ["hello world", " hello  world\n", "Hell 1212 122 <|eot_id|> <tool>x", "naïve 東京 🙂", "<s> hell</s>"];
    for text in texts {
        for special in [true, false] {
            let found = read.encode(text, true, special).unwrap();
            assert_eq!(own.encode(text, true, special).unwrap(), found, "{text:?}");
            assert_eq!(own.decode(&found, true), read.decode(&found, true), "{text:?}");
        }
    }
    assert_eq!((own.bos(), own.eos(), own.eog()), (read.bos(), read.eos(), read.eog()));
    assert_eq!((own.add_bos(), own.add_eos()), (read.add_bos(), read.add_eos()));
}

#[test]
fn byte_level_pairs_survive() {
    let [own, read] = both(&byte_level(LLAMA_3), 300).unwrap();
    assert_eq!(read.vocab_size(), 300);
    assert_eq!(read.encode("hello world", true, true).unwrap().len(), 4);
    agree([own, read]);
}

#[test]
fn sentence_piece_survives() {
    let [own, read] = both(&sentence_piece(), 0).unwrap();
    assert_eq!(read.encode("hello world", false, true).unwrap().len(), 4);
    agree([own, read]);
}

#[test]
fn what_no_converter_has_named_is_refused() {
    let found = both(&byte_level(r"\d+|\D+"), 0).err().unwrap();
    assert!(matches!(&found, Error::NoWords { what } if what.contains(r"\\d+")), "{found}");
    let mut words = sentence_piece();
    words["model"] =
        json!({"type": "WordLevel", "unk_token": "<unk>", "vocab": {"<unk>": 0, "<s>": 1, "</s>": 2, "hello": 3}});
    assert!(matches!(both(&words, 0).err(), Some(Error::NoWords { what }) if what.contains("WordLevel")));
    let mut odd = sentence_piece();
    assert!(matches!(both(&odd, 8).err(), Some(Error::NoWords { what }) if what.contains("a table of 8")));
    odd["added_tokens"][2]["content"] = json!("[PAD299]");
    odd["added_tokens"][2]["id"] = json!(298);
    assert!(matches!(both(&odd, 300).err(), Some(Error::NoWords { what }) if what.contains("[PAD299]")));
}

#[test]
fn an_id_beyond_any_vocabulary_is_refused() {
    let mut odd = sentence_piece();
    odd["model"]["vocab"]["<s>"] = json!(u32::MAX);
    odd["added_tokens"][1]["id"] = json!(u32::MAX);
    let found = Tokenizer::from_json_bytes(odd.to_string().as_bytes(), None, None).err().unwrap();
    assert!(matches!(&found, Error::Field { key, .. } if key == "added_tokens"), "{found}");
}

#[test]
fn a_folder_without_a_tokenizer_has_no_vocabulary() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(gguf_vocabulary(folder.path(), 8).unwrap().iter().len(), 0);
}
