//! The pre-tokenizers that `tokenizer.ggml.pre` names: which regular expressions cut text into words before pairs
//! merge. The names are the GGUF converters'; the expressions are those of the models' own tokenizer.json files.

use crate::Error;
use crate::bpe::WholeWords;
use tokenizers::SplitDelimiterBehavior::{self, Isolated, Removed};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};

/// What the characters of tokens stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Alphabet {
    /// Each character is a byte, in GPT-2's printable alphabet.
    Bytes,
    /// Characters are themselves, and U+2581 is a space.
    Spaces,
    /// Characters are themselves; white space is not kept.
    Words,
}

/// One row: the names that mean the same cut, and what else they settle.
#[derive(Debug)]
pub(crate) struct PreTokenizer {
    pub(crate) names: &'static [&'static str],
    /// Applied one after the other, each to the pieces that the one before left.
    pub(crate) patterns: &'static [&'static str],
    pub(crate) alphabet: Alphabet,
    pub(crate) whole_words: WholeWords,
    /// Whether a sequence begins with BOS where the file does not say.
    pub(crate) add_bos: bool,
}

const ROW: PreTokenizer = PreTokenizer {
    names: &[],
    patterns: &[],
    alphabet: Alphabet::Bytes,
    whole_words: WholeWords::Never,
    add_bos: false,
};

const DIGIT: &str = r"\p{N}";
const DIGITS_3: &str = r"\p{N}{1,3}";
/// Groups of three digits counted from the right.
const DIGITS_3_RIGHT: &str = r"\p{N}{1,3}(?=(?:\p{N}{3})*(?!\p{N}))";
const LINES: &str = r"[^\n]+|\n+";
pub(crate) const GPT_2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const LLAMA_3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN_2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN_35: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const O200K: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const KIMI_K2: &str = r"[\p{Han}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const YOUTU: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const DEEPSEEK_3: &str = r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##;
const KANA_HAN: &str = r"[\x{4E00}-\x{9FA5}\x{3040}-\x{309F}\x{30A0}-\x{30FF}]+";
const HAN_HANGUL: &str = r"[\x{4E00}-\x{9FA5}\x{800}-\x{4E00}\x{AC00}-\x{D7FF}]+";
const BLOOM: &str = r" ?[^(\s|.,!?\x{2026}\x{3002}\x{FF0C}\x{3001}\x{964}\x{6D4}\x{60C})]+";

/// Every name that GGUF converters write.
pub(crate) const TABLE: &[PreTokenizer] = &[
    PreTokenizer {
        names: &["default"],
        patterns: &[r"[\p{P}\$\+<=>\^~\|]+", GPT_2, r"\p{N}+", "[0-9][0-9][0-9]"],
        ..ROW
    },
    PreTokenizer {
        names: &[
            "llama-bpe",
            "llama3",
            "llama-v3",
            "falcon3",
            "falcon-h1",
            "pixtral",
            "midm-2.0",
            "lfm2",
            "jina-v5-nano",
        ],
        patterns: &[LLAMA_3],
        whole_words: WholeWords::Always,
        add_bos: true,
        ..ROW
    },
    PreTokenizer { names: &["dbrx", "smaug-bpe", "chatglm-bpe"], patterns: &[LLAMA_3], ..ROW },
    PreTokenizer { names: &["glm4", "glm5"], patterns: &[LLAMA_3], whole_words: WholeWords::Always, ..ROW },
    PreTokenizer {
        names: &["jais-2"],
        patterns: &[
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s{512}(?!\S)|\s{256}(?!\S)|\s{128}(?!\S)|\s{64}(?!\S)|\s{32}(?!\S)|\s{16}(?!\S)|\s{8}(?!\S)|\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1}",
        ],
        ..ROW
    },
    PreTokenizer {
        names: &["deepseek-llm"],
        patterns: &[
            r"[\r\n]",
            r"\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+",
            r"\s?[!-/:-~\x{FF01}-\x{FF0F}\x{FF1A}-\x{FF5E}\x{2018}-\x{201F}\x{3000}-\x{3002}]+",
            r"\s+$",
            HAN_HANGUL,
            r"\p{N}+",
        ],
        ..ROW
    },
    PreTokenizer {
        names: &["deepseek-coder"],
        patterns: &[r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", HAN_HANGUL, DIGIT],
        ..ROW
    },
    PreTokenizer {
        names: &["deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"],
        patterns: &[DIGITS_3, KANA_HAN, DEEPSEEK_3],
        ..ROW
    },
    PreTokenizer {
        names: &["spark2_5"],
        patterns: &[
            DIGITS_3,
            KANA_HAN,
            r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+|[\r\n]|\s+(?!\S)|\s+"##,
            DIGIT,
        ],
        ..ROW
    },
    PreTokenizer {
        names: &["youtu"],
        patterns: &[
            r"[\x{AC00}-\x{D7A3}\x{3131}-\x{318E}]+|[\x{FF01}\x{2026}\x{201C}\x{201D}\x{2018}\x{2019}\x{2014}\x{FF1A}\x{FF1B}\x{FF0C}\x{3001}-\x{303F}\x{FE30}-\x{FE4F}]+|[\x{3105}-\x{312F}]+|[\x{4E00}-\x{9FA5}\x{3040}-\x{309F}\x{30A0}-\x{30FF}]+",
            YOUTU,
        ],
        whole_words: WholeWords::Always,
        ..ROW
    },
    PreTokenizer { names: &["falcon"], patterns: &[r"[\p{P}\$\+<=>\^~\|`]+", GPT_2, "[0-9][0-9][0-9]"], ..ROW },
    PreTokenizer {
        names: &["starcoder", "refact", "command-r", "smollm", "codeshell", "exaone", "minerva-7b", "mellum2"],
        patterns: &[DIGIT, GPT_2],
        ..ROW
    },
    PreTokenizer {
        names: &[
            "gpt-2",
            "phi-2",
            "jina-es",
            "jina-de",
            "gigachat",
            "jina-v2-es",
            "jina-v2-de",
            "jina-v1-en",
            "jina-v2-code",
            "roberta-bpe",
            "a.x-4.0",
            "mellum",
            "modern-bert",
            "mpt",
            "olmo",
            "jais",
            "trillion",
            "granite-docling",
            "exaone4",
        ],
        patterns: &[GPT_2],
        ..ROW
    },
    PreTokenizer {
        names: &[
            "qwen2",
            "deepseek-r1-qwen",
            "kormo",
            "f2llmv2",
            "stablelm2",
            "hunyuan",
            "solar-open",
            "megrez",
            "grok-2",
        ],
        patterns: &[QWEN_2],
        ..ROW
    },
    PreTokenizer { names: &["qwen35"], patterns: &[QWEN_35], ..ROW },
    PreTokenizer {
        names: &["ufakzeka"],
        patterns: &[r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"],
        ..ROW
    },
    PreTokenizer { names: &["laguna"], patterns: &[LINES, QWEN_2], ..ROW },
    PreTokenizer {
        names: &["minicpm5"],
        patterns: &[
            DIGITS_3,
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ],
        whole_words: WholeWords::Always,
        ..ROW
    },
    PreTokenizer { names: &["poro-chat", "bloom", "gpt3-finnish"], patterns: &[BLOOM], ..ROW },
    PreTokenizer { names: &["viking"], patterns: &[BLOOM, DIGIT], ..ROW },
    PreTokenizer { names: &["tekken"], patterns: &[TEKKEN], whole_words: WholeWords::Always, add_bos: true, ..ROW },
    PreTokenizer {
        names: &["chameleon"],
        patterns: &[
            "<sentinel:[0-9]+>",
            "(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z",
            r"([\t\n]|    |  )",
            DIGIT,
            r"[\p{P}!-/:-@\[-`{-~]",
            GPT_2,
        ],
        add_bos: true,
        ..ROW
    },
    PreTokenizer { names: &["gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"], patterns: &[O200K], ..ROW },
    PreTokenizer { names: &["granite-embed-multi-97m"], patterns: &[O200K], whole_words: WholeWords::Always, ..ROW },
    PreTokenizer { names: &["tiny_aya", "cohere2moe"], patterns: &[r"\d{1,3}(?=(?:\d{3})*\b)", O200K], ..ROW },
    PreTokenizer { names: &["superbpe"], patterns: &[r"\p{N}+", r"(?=(\d{3})+(?!\d))"], ..ROW },
    PreTokenizer {
        names: &["bailingmoe", "bailingmoe2", "llada-moe"],
        patterns: &[
            r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+",
        ],
        ..ROW
    },
    PreTokenizer {
        names: &["seed-coder"],
        patterns: &[
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+",
        ],
        ..ROW
    },
    PreTokenizer { names: &["kimi-k2"], patterns: &[KIMI_K2], ..ROW },
    PreTokenizer {
        names: &["afmoe"],
        patterns: &[
            DIGITS_3_RIGHT,
            r"[\x{4E00}-\x{9FFF}\x{3400}-\x{4DBF}\x{8C48}-\x{FAFF}\x{3040}-\x{309F}\x{30A0}-\x{30FF}\x{FF65}-\x{FF9F}\x{2F00}-\x{2FDF}\x{E40}-\x{E7F}\x{E80}-\x{EFF}\x{1780}-\x{17FF}\x{1000}-\x{109F}\x{AA60}-\x{AA7F}\x{A9E0}-\x{A9FF}\x{AC00}-\x{D7AF}\x{1100}-\x{11FF}]+",
            DEEPSEEK_3,
        ],
        ..ROW
    },
    PreTokenizer {
        names: &["exaone-moe"],
        patterns: &[
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+",
        ],
        ..ROW
    },
    PreTokenizer {
        names: &["gemma4", "granite-embed-multi-311m"],
        patterns: &[LINES],
        alphabet: Alphabet::Spaces,
        whole_words: WholeWords::LineFeeds,
        add_bos: true,
    },
    PreTokenizer { names: &["sarvam-moe"], patterns: &[LINES], alphabet: Alphabet::Spaces, ..ROW },
    PreTokenizer { names: &["whitespace"], patterns: &[r"\s+"], alphabet: Alphabet::Words, ..ROW },
];

impl PreTokenizer {
    /// The row of a name.
    ///
    /// # Errors
    /// [`Error::UnknownPreTokenizer`]: guessing would change tokens without a sign.
    pub(crate) fn named(name: &str) -> Result<&'static Self, Error> {
        let row = TABLE.iter().find(|row| row.names.contains(&name));
        row.ok_or_else(|| Error::UnknownPreTokenizer { name: name.to_owned() })
    }

    /// Compiles the row.
    pub(crate) fn build(&self) -> Result<PreTokenizerWrapper, Error> {
        let behavior = if self.alphabet == Alphabet::Words { Removed } else { Isolated };
        let mut steps =
            self.patterns.iter().map(|pattern| split(pattern, behavior)).collect::<Result<Vec<_>, Error>>()?;
        if self.alphabet == Alphabet::Bytes {
            steps.push(ByteLevel::new(false, false, false).into());
        }
        Ok(Sequence::new(steps).into())
    }
}

fn split(pattern: &str, behavior: SplitDelimiterBehavior) -> Result<PreTokenizerWrapper, Error> {
    let split = Split::new(SplitPattern::Regex(pattern.to_owned()), behavior, false);
    Ok(split.map_err(Error::library("pre-tokenizer"))?.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer as _};

    fn cut(name: &str, text: &str) -> Vec<String> {
        let mut pieces = PreTokenizedString::from(text);
        PreTokenizer::named(name).unwrap().build().unwrap().pre_tokenize(&mut pieces).unwrap();
        let splits = pieces.get_splits(OffsetReferential::Original, OffsetType::Byte);
        splits.into_iter().map(|(_, (start, end), _)| text[start..end].to_owned()).collect()
    }

    #[test]
    fn every_row_compiles_and_names_are_unique() {
        let mut seen = BTreeSet::new();
        for row in TABLE {
            row.build().unwrap();
            assert!(row.names.iter().all(|name| seen.insert(name)), "{:?}", row.names);
        }
    }

    #[test]
    fn every_row_keeps_all_text_but_white_space() {
        let text = "Hello, world! I'LL pay 1234567 € für 7月3日\r\n\n  x\u{301}y \t<|end|>\u{85}नमस्ते  ";
        for row in TABLE {
            let joined = cut(row.names[0], text).concat();
            if row.alphabet == Alphabet::Words {
                assert_eq!(joined, text.split_whitespace().collect::<String>());
            } else {
                assert_eq!(joined, text, "{:?}", row.names);
            }
        }
    }

    #[test]
    fn digits_group_as_the_models_do() {
        assert_eq!(cut("qwen2", "12345"), ["1", "2", "3", "4", "5"]);
        assert_eq!(cut("llama-bpe", "12345"), ["123", "45"]);
        assert_eq!(cut("afmoe", "12345 1234567"), ["12", "345", " ", "1", "234", "567"]);
        assert_eq!(cut("superbpe", "a 12345"), ["a ", "12", "345"]);
        assert_eq!(cut("gpt-2", "12345"), ["12345"]);
    }

    #[test]
    fn han_stands_apart_in_kimi() {
        assert_eq!(cut("kimi-k2", "ab漢字 cd"), ["ab", "漢字", " cd"]);
    }

    #[test]
    fn unknown_names_are_errors() {
        assert!(
            matches!(PreTokenizer::named("llama-5"), Err(Error::UnknownPreTokenizer { name }) if name == "llama-5")
        );
    }
}
