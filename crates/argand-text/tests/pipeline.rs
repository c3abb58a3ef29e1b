//! Small vocabularies made here, through the whole pipeline: what holds for any text.

use argand_text::{Algorithm, Error, SpecialIds, TokenType, Tokenizer, Vocabulary};
use proptest::prelude::*;
use std::sync::LazyLock;

/// The characters that GPT-2 writes bytes with.
fn byte_alphabet() -> Vec<String> {
    let mut shifted = 0x100..;
    let printable = |byte: u32| matches!(byte, 0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF);
    let code = |byte: u32| if printable(byte) { byte } else { shifted.next().expect("endless") };
    (0..256).map(code).map(|code| char::from_u32(code).expect("a character").to_string()).collect()
}

/// Bytes, some merges, two control tokens and a user-defined one.
fn byte_level(pre: &str) -> Tokenizer {
    let alphabet = byte_alphabet();
    let merges = ["h e", "l l", "he ll", "hell o", "Ġ hello", "Ã ©"];
    let products = ["he", "ll", "hell", "hello", "Ġhello", "Ã©", "<s>", "</s>", "<tool>"];
    let tokens: Vec<&str> = alphabet.iter().map(String::as_str).chain(products).collect();
    let mut types = vec![TokenType::Normal; tokens.len()];
    types[262] = TokenType::Control;
    types[263] = TokenType::Control;
    types[264] = TokenType::UserDefined;
    let vocabulary = Vocabulary {
        tokens,
        types,
        merges: merges.to_vec(),
        pre: Some(pre),
        special: SpecialIds { bos: Some(262), eos: Some(263), ..SpecialIds::default() },
        add_bos: Some(true),
        ..Vocabulary::default()
    };
    Tokenizer::from_vocabulary(&vocabulary).expect("a tokenizer")
}

/// A SentencePiece vocabulary with all byte tokens.
fn sentence_piece() -> Tokenizer {
    let bytes: Vec<String> = (0..256).map(|byte| format!("<0x{byte:02X}>")).collect();
    let words = ["▁", "h", "i", "▁h", "hi", "▁hi", "é"];
    let tokens: Vec<&str> =
        ["<unk>", "<s>", "</s>"].into_iter().chain(bytes.iter().map(String::as_str)).chain(words).collect();
    let mut types = vec![TokenType::Byte; 259];
    types[..3].copy_from_slice(&[TokenType::Unknown, TokenType::Control, TokenType::Control]);
    types.extend([TokenType::Normal; 7]);
    let vocabulary = Vocabulary {
        algorithm: Algorithm::SentencePiece,
        scores: (0..tokens.len()).map(|id| -(id as f32)).collect(),
        tokens,
        types,
        special: SpecialIds { bos: Some(1), eos: Some(2), unknown: Some(0), ..SpecialIds::default() },
        ..Vocabulary::default()
    };
    Tokenizer::from_vocabulary(&vocabulary).expect("a tokenizer")
}

#[test]
fn special_tokens_are_parsed_only_when_asked() {
    let tokenizer = byte_level("gpt-2");
    let parsed = tokenizer.encode("hello hello<s>", true, true).unwrap();
    assert_eq!(parsed, [262, 259, 260, 262]);
    let literal = tokenizer.encode("<s><tool>", false, false).unwrap();
    assert_eq!(literal.len(), 4);
    assert_eq!(literal[3], 264);
    assert_eq!(tokenizer.decode(&literal, true), "<s><tool>");
    assert_eq!(tokenizer.decode(&parsed, true), "hello hello");
    assert_eq!(tokenizer.decode(&parsed, false), "<s>hello hello<s>");
}

#[test]
fn roles_and_ends_are_known() {
    let tokenizer = byte_level("gpt-2");
    assert_eq!(
        (tokenizer.bos(), tokenizer.eos(), tokenizer.add_bos(), tokenizer.add_eos()),
        (Some(262), Some(263), true, false)
    );
    assert_eq!(tokenizer.eog().iter().copied().collect::<Vec<_>>(), [263]);
    assert_eq!(tokenizer.vocab_size(), 265);
    assert_eq!(tokenizer.token_text(260).as_deref(), Some("Ġhello"));
    assert_eq!(tokenizer.token_bytes(260), b" hello");
    assert_eq!(tokenizer.token_id("hello"), Some(259));
    assert_eq!((tokenizer.token_text(999), tokenizer.token_bytes(999)), (None, Vec::new()));
}

#[test]
fn sentence_piece_puts_a_space_in_front_and_takes_it_away() {
    let tokenizer = sentence_piece();
    let ids = tokenizer.encode("hi hi", true, true).unwrap();
    let texts: Vec<String> = ids.iter().filter_map(|&id| tokenizer.token_text(id)).collect();
    assert_eq!(texts, ["<s>", "▁hi", "▁hi"]);
    assert_eq!(tokenizer.decode(&ids, true), "hi hi");
    let mut stream = tokenizer.stream().continuing();
    assert_eq!(stream.push(ids[1]), " hi");
    assert_eq!(tokenizer.decode(&tokenizer.encode(" hi", false, false).unwrap(), true), " hi");
}

#[test]
fn word_piece_marks_pieces_and_frames_sequences() {
    let tokens = vec!["[PAD]", "[UNK]", "[CLS]", "[SEP]", "▁un", "aff", "able", "▁cafe", "▁."];
    let mut types = vec![TokenType::Control; 4];
    types.extend([TokenType::Normal; 5]);
    let special = SpecialIds { bos: Some(2), unknown: Some(1), separator: Some(3), ..SpecialIds::default() };
    let vocabulary = Vocabulary { algorithm: Algorithm::WordPiece, tokens, types, special, ..Vocabulary::default() };
    let tokenizer = Tokenizer::from_vocabulary(&vocabulary).unwrap();
    let ids = tokenizer.encode("Unaffable CAFÉ. x", true, false).unwrap();
    assert_eq!(ids, [2, 4, 5, 6, 7, 8, 1, 3]);
    assert_eq!(tokenizer.decode(&ids[1..6], true), "unaffable cafe.");
}

#[test]
fn unigram_takes_the_likeliest_pieces() {
    let tokens = vec!["<pad>", "</s>", "<unk>", "▁", "a", "b", "ab", "▁ab", "▁a"];
    let scores = vec![0.0, 0.0, 0.0, -5.0, -3.0, -3.0, -2.0, -9.0, -3.0];
    let mut types = vec![TokenType::Control; 3];
    types[2] = TokenType::Unknown;
    types.extend([TokenType::Normal; 6]);
    let special = SpecialIds { eos: Some(1), unknown: Some(2), ..SpecialIds::default() };
    let vocabulary =
        Vocabulary { algorithm: Algorithm::Unigram, tokens, scores, types, special, ..Vocabulary::default() };
    let tokenizer = Tokenizer::from_vocabulary(&vocabulary).unwrap();
    // "▁a" + "b" (-6) beats "▁" + "ab" (-7) and "▁ab" (-9).
    assert_eq!(tokenizer.encode("ab", true, false).unwrap(), [8, 5, 1]);
    assert_eq!(tokenizer.decode(&[8, 5], true), "ab");
}

#[test]
fn malformed_tables_are_errors() {
    let base = || Vocabulary { tokens: vec!["a", "b"], pre: Some("gpt-2"), ..Vocabulary::default() };
    let error = |vocabulary: Vocabulary<'_>| Tokenizer::from_vocabulary(&vocabulary).expect_err("an error");
    assert!(matches!(error(Vocabulary { tokens: Vec::new(), ..base() }), Error::Size { tokens: 0, .. }));
    assert!(matches!(error(Vocabulary { types: vec![TokenType::Normal], ..base() }), Error::Length { found: 1, .. }));
    assert!(matches!(error(Vocabulary { merges: vec!["ab"], ..base() }), Error::BadMerge { index: 0, .. }));
    assert!(matches!(error(Vocabulary { add_bos: Some(true), ..base() }), Error::MissingSpecial { which: "BOS", .. }));
    let tokenizer = Tokenizer::from_vocabulary(&base()).unwrap();
    assert!(matches!(tokenizer.encode("abc", false, false), Err(Error::Unencodable { character: 'c' })));
}

#[test]
fn tokenizer_json_is_the_same_pipeline() {
    let json = r#"{"version":"1.0","truncation":null,"padding":null,
      "added_tokens":[{"id":5,"content":"<s>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true},
                      {"id":6,"content":"<|im_end|>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true}],
      "normalizer":null,
      "pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true},
      "post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>","type_id":0}},{"Sequence":{"id":"A","type_id":0}}],
         "pair":[{"Sequence":{"id":"A","type_id":0}},{"Sequence":{"id":"B","type_id":1}}],"special_tokens":{"<s>":{"id":"<s>","ids":[5],"tokens":["<s>"]}}},
      "decoder":{"type":"ByteLevel","add_prefix_space":true,"trim_offsets":true,"use_regex":true},
      "model":{"type":"BPE","dropout":null,"unk_token":null,"continuing_subword_prefix":null,"end_of_word_suffix":null,"fuse_unk":false,
         "byte_fallback":false,"vocab":{"h":0,"i":1,"Ġ":2,"hi":3,"Ġhi":4},"merges":["h i","Ġ hi"]}}"#;
    let config = br#"{"eos_token":{"content":"<|im_end|>"}}"#;
    let generation = br#"{"eos_token_id":[6,3]}"#;
    let tokenizer = Tokenizer::from_json_bytes(json.as_bytes(), Some(config), Some(generation)).unwrap();
    assert_eq!(tokenizer.encode("hi hi<|im_end|>", true, true).unwrap(), [5, 3, 4, 6]);
    assert_eq!(tokenizer.decode(&[5, 3, 4, 6], true), "hi hi");
    assert_eq!(
        (tokenizer.bos(), tokenizer.eos(), tokenizer.add_bos(), tokenizer.vocab_size()),
        (Some(5), Some(6), true, 7)
    );
    assert_eq!(tokenizer.eog().iter().copied().collect::<Vec<_>>(), [3, 6]);
    assert!(matches!(Tokenizer::from_json_bytes(b"{", None, None), Err(Error::Library { .. })));
    assert!(matches!(Tokenizer::from_json_bytes(json.as_bytes(), Some(b"["), None), Err(Error::Json { .. })));
}

#[test]
fn a_hostile_normalisation_map_is_an_error() {
    // One unit whose offset points far outside, then no replacement texts.
    let charsmap = [4u32.to_le_bytes(), 0x7FFF_FC00_u32.to_le_bytes()].concat();
    let with_map = |charsmap: Vec<u8>| {
        Tokenizer::from_vocabulary(&Vocabulary {
            algorithm: Algorithm::Unigram,
            tokens: vec!["</s>", "<unk>", "a"],
            scores: vec![0.0, 0.0, -1.0],
            charsmap,
            special: SpecialIds { eos: Some(0), unknown: Some(1), ..SpecialIds::default() },
            ..Vocabulary::default()
        })
    };
    assert!(matches!(with_map(vec![0xFF; 8]), Err(Error::Field { .. })));
    assert!(matches!(with_map(vec![0; 2]), Err(Error::Field { .. })));
    let tokenizer = with_map(charsmap).unwrap();
    assert!(matches!(tokenizer.encode("a", false, false), Err(Error::Library { part: "encode", .. })));
}

proptest! {
    #[test]
    fn byte_level_text_survives(text in ".{0,80}", parse in any::<bool>()) {
        static TOKENIZERS: LazyLock<Vec<Tokenizer>> =
            LazyLock::new(|| ["gpt-2", "llama-bpe", "qwen2", "deepseek-v3", "tekken"].map(byte_level).to_vec());
        for tokenizer in TOKENIZERS.iter() {
            let ids = tokenizer.encode(&text, false, parse).unwrap();
            prop_assert_eq!(tokenizer.decode(&ids, false), text.as_str());
        }
    }

    #[test]
    fn sentence_piece_text_survives(text in "[hié x\n🙂]{0,60}") {
        let tokenizer = sentence_piece();
        let ids = tokenizer.encode(&text, true, false).unwrap();
        prop_assert_eq!(tokenizer.decode(&ids, true), text);
    }

    #[test]
    fn streams_give_what_batches_give(ids in prop::collection::vec(0u32..300, 0..60)) {
        for tokenizer in [byte_level("gpt-2"), sentence_piece()] {
            let mut stream = tokenizer.stream();
            let mut text = String::new();
            for &id in &ids {
                let part = stream.push(id);
                let broken = |text: &str| text.contains(char::REPLACEMENT_CHARACTER);
                prop_assert!(!broken(&part) || broken(&tokenizer.decode(&ids, true)));
                text += &part;
            }
            text += &stream.finish();
            prop_assert_eq!(&text, &tokenizer.decode(&ids, true));
            let special = |id: &&u32| !tokenizer.is_special(**id);
            let bytes: Vec<u8> = ids.iter().filter(special).flat_map(|&id| tokenizer.token_bytes(id)).collect();
            let all = String::from_utf8_lossy(&bytes).into_owned();
            prop_assert!(all == text || all.strip_prefix(' ') == Some(&text));
        }
    }

    #[test]
    fn no_table_makes_it_panic(
        tokens in prop::collection::vec(".{0,4}", 0..20),
        scores in prop::collection::vec(any::<f32>(), 0..20),
        merges in prop::collection::vec(".{0,3} .{0,3}", 0..8),
        charsmap in prop::collection::vec(any::<u8>(), 0..40),
        id in prop::option::of(0u32..20),
        text in ".{0,30}",
    ) {
        let id = id.filter(|&id| (id as usize) < tokens.len());
        for algorithm in [Algorithm::Bpe, Algorithm::SentencePiece, Algorithm::WordPiece, Algorithm::Unigram] {
            let vocabulary = Vocabulary {
                algorithm,
                tokens: tokens.iter().map(String::as_str).collect(),
                scores: scores.clone(),
                merges: merges.iter().map(String::as_str).collect(),
                pre: Some("qwen2"),
                charsmap: charsmap.clone(),
                special: SpecialIds { bos: id, eos: id, unknown: id, separator: id, ..SpecialIds::default() },
                ..Vocabulary::default()
            };
            if let Ok(tokenizer) = Tokenizer::from_vocabulary(&vocabulary)
                && let Ok(ids) = tokenizer.encode(&text, true, true)
            {
                tokenizer.decode(&ids, false);
            }
        }
    }
}
