//! Which files of a repository make one runnable model. Looks at names only, never at contents.

use crate::error::{HubError, Result};
use crate::spec::is_weights_file;

/// Quantisations in the order in which one is taken when the user names none.
const PREFERENCE: [&str; 18] = [
    "Q4_K_M", "Q4_K_S", "Q4_1", "Q4_0", "IQ4_NL", "IQ4_XS", "MXFP4", "Q5_K_M", "Q5_K_S", "Q5_1", "Q5_0", "Q6_K",
    "Q8_0", "Q3_K_L", "Q3_K_M", "BF16", "F16", "F32",
];

/// Small files without which safetensors cannot be run, by their exact names.
const SIDECARS: [&str; 19] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "tokenizer.model",
    "chat_template.jinja",
    "chat_template.json",
    "preprocessor_config.json",
    "processor_config.json",
    "adapter_config.json",
    "modules.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "1_Pooling/config.json",
];

/// Files that say what the model is and may be used for.
const PAPERS: [&str; 4] = ["README.md", "LICENSE", "LICENSE.txt", "LICENSE.md"];

/// The files of one runnable model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// One GGUF file, or all parts of a split one in order.
    Gguf {
        /// Files of weights.
        weights: Vec<String>,
        /// Quantisation as spelled in the name, if it tells one.
        quant: Option<String>,
    },
    /// Safetensors with their sidecars.
    Safetensors {
        /// Files of weights.
        weights: Vec<String>,
        /// Index of the shards, configuration and tokenizer files.
        sidecars: Vec<String>,
    },
}

impl Selection {
    /// Files of weights, in order.
    pub fn weights(&self) -> &[String] {
        match self {
            Self::Gguf { weights, .. } | Self::Safetensors { weights, .. } => weights,
        }
    }

    /// All files that running needs.
    pub fn files(&self) -> Vec<String> {
        let sidecars = match self {
            Self::Gguf { .. } => &[][..],
            Self::Safetensors { sidecars, .. } => sidecars,
        };
        self.weights().iter().chain(sidecars).cloned().collect()
    }
}

/// The papers (model card, licence) among `files`.
pub fn papers(files: &[String]) -> impl Iterator<Item = &String> {
    files.iter().filter(|file| PAPERS.contains(&file.as_str()))
}

/// Picks one model out of a repository's files. Without a selector a GGUF is taken before safetensors, and among
/// several the first of the preference list, `Q4_K_M` leading.
///
/// # Errors
/// [`HubError::NoSuchFile`] if nothing answers to the selector; it lists what there is.
pub fn select(repo: &str, files: &[String], selector: Option<&str>) -> Result<Selection> {
    let ggufs = gguf_choices(files);
    let found = match selector {
        Some(wanted) if wanted.eq_ignore_ascii_case("safetensors") => safetensors(files),
        Some(wanted) if wanted.eq_ignore_ascii_case("gguf") => preferred(&ggufs),
        Some(wanted) => by_name(files, &ggufs, wanted),
        None => preferred(&ggufs).or_else(|| safetensors(files)),
    };
    found.ok_or_else(|| HubError::NoSuchFile {
        repo: repo.to_owned(),
        wanted: selector.map(str::to_owned),
        available: files.iter().filter(|file| is_weights_file(file)).cloned().collect(),
    })
}

/// Every model that could be picked out of these files.
pub fn choices(files: &[String]) -> Vec<Selection> {
    gguf_choices(files).into_iter().chain(safetensors(files)).collect()
}

/// All GGUF models: whole files, and split ones as one choice each. Vision projectors and importance matrices are
/// companions, not models.
fn gguf_choices(files: &[String]) -> Vec<Selection> {
    let mut stems: Vec<(String, Vec<String>)> = Vec::new();
    for file in files.iter().filter(|file| file.to_ascii_lowercase().ends_with(".gguf")) {
        let lower = file.to_ascii_lowercase();
        if lower.contains("mmproj") || lower.contains("imatrix") {
            continue;
        }
        let stem = &file[..file.len() - ".gguf".len()];
        let stem = split_of(stem).map_or(stem.to_owned(), |(base, _, of)| format!("{base} of {of}"));
        match stems.iter_mut().find(|(known, _)| *known == stem) {
            Some((_, parts)) => parts.push(file.clone()),
            None => stems.push((stem, vec![file.clone()])),
        }
    }
    let choice = |(_, mut weights): (String, Vec<String>)| {
        weights.sort();
        Selection::Gguf { quant: quant_of(&weights[0]), weights }
    };
    stems.into_iter().map(choice).collect()
}

fn preferred(ggufs: &[Selection]) -> Option<Selection> {
    let rank = |choice: &&Selection| match choice {
        Selection::Gguf { quant: Some(quant), .. } => {
            PREFERENCE.iter().position(|known| known == quant).unwrap_or(PREFERENCE.len())
        }
        _ => PREFERENCE.len() + 1,
    };
    ggufs.iter().min_by_key(rank).cloned()
}

fn by_name(files: &[String], ggufs: &[Selection], wanted: &str) -> Option<Selection> {
    if let Some(choice) = ggufs.iter().find(|choice| choice.weights().iter().any(|file| file == wanted)) {
        return Some(choice.clone());
    }
    if files.iter().any(|file| file == wanted) && wanted.to_ascii_lowercase().ends_with(".gguf") {
        return Some(Selection::Gguf { weights: vec![wanted.to_owned()], quant: quant_of(wanted) });
    }
    if let Some(Selection::Safetensors { sidecars, .. }) = safetensors(files)
        && files.iter().any(|file| file == wanted)
        && is_weights_file(wanted)
    {
        return Some(Selection::Safetensors { weights: vec![wanted.to_owned()], sidecars });
    }
    let has_quant = |choice: &&Selection| matches!(choice, Selection::Gguf { quant: Some(quant), .. } if quant.eq_ignore_ascii_case(wanted));
    let has_words = |choice: &&Selection| has_words(&choice.weights()[0], wanted);
    ggufs.iter().find(has_quant).or_else(|| ggufs.iter().find(has_words)).cloned()
}

/// The safetensors at the repository's root. `consolidated*` repeats the weights in another naming, so it counts
/// only where nothing else is there.
fn safetensors(files: &[String]) -> Option<Selection> {
    let root = |file: &&String| !file.contains('/');
    let mut weights: Vec<String> =
        files.iter().filter(root).filter(|file| file.to_ascii_lowercase().ends_with(".safetensors")).cloned().collect();
    for standard in ["model", "adapter_model"] {
        if weights.iter().any(|file| file.starts_with(standard)) {
            weights.retain(|file| file.starts_with(standard));
            break;
        }
    }
    if weights.is_empty() {
        return None;
    }
    weights.sort();
    let needed = |file: &&String| SIDECARS.contains(&file.as_str()) || file.ends_with(".safetensors.index.json");
    let sidecars = files.iter().filter(needed).cloned().collect();
    Some(Selection::Safetensors { weights, sidecars })
}

/// Splits `base-00002-of-00005` into base, 2 and 5.
pub(crate) fn split_of(stem: &str) -> Option<(&str, u32, u32)> {
    let (rest, of) = stem.rsplit_once("-of-")?;
    let (base, part) = rest.rsplit_once('-')?;
    let number = |text: &str| (text.len() == 5).then(|| text.parse().ok()).flatten();
    Some((base, number(part)?, number(of)?))
}

/// The first part of a split file that is not among `weights`, if any is missing.
pub(crate) fn missing_part(weights: &[String]) -> Option<String> {
    let first = weights.first()?;
    let (stem, extension) = first.rsplit_once('.')?;
    let (base, _, of) = split_of(stem)?;
    let part = |number| format!("{base}-{number:05}-of-{of:05}.{extension}");
    // A hostile count costs nothing: the search ends at the first gap.
    (1..=of).map(part).find(|name| !weights.contains(name))
}

/// The quantisation that a file name tells, upper case: the last of its words that looks like one.
fn quant_of(file: &str) -> Option<String> {
    let name = file.rsplit('/').next()?.to_ascii_uppercase();
    let name = name.strip_suffix(".GGUF").unwrap_or(&name);
    let stem = split_of(&name.replace("-OF-", "-of-")).map_or(name.to_owned(), |(base, ..)| base.to_owned());
    let word = stem.split(['-', '.']).rev().find(|word| looks_like_quant(word))?;
    Some(word.to_owned())
}

fn looks_like_quant(word: &str) -> bool {
    let digit = |text: &str| text.starts_with(|c: char| c.is_ascii_digit());
    matches!(word, "F16" | "F32" | "BF16" | "FP16" | "FP32" | "MXFP4" | "MXFP4_MOE")
        || ["Q", "IQ", "TQ"]
            .iter()
            .any(|start| word.strip_prefix(start).is_some_and(|rest| digit(rest) && rest.contains('_')))
}

/// Whether the words of `wanted` (`UD-Q4_K_XL`) appear in the file name, not within longer words.
fn has_words(file: &str, wanted: &str) -> bool {
    let (file, wanted) = (file.to_ascii_uppercase(), wanted.to_ascii_uppercase());
    let edge = |c: Option<char>| c.is_none_or(|c| !(c.is_ascii_alphanumeric() || c == '_'));
    file.match_indices(&wanted)
        .any(|(at, _)| edge(file[..at].chars().next_back()) && edge(file[at + wanted.len()..].chars().next()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| name.to_string()).collect()
    }

    fn picked(names: &[&str], selector: Option<&str>) -> Vec<String> {
        select("a/b", &files(names), selector).unwrap().weights().to_vec()
    }

    const QUANTS: [&str; 7] = [
        "README.md",
        "mmproj-F16.gguf",
        "m-Q8_0.gguf",
        "m-IQ4_XS.gguf",
        "m-UD-Q4_K_XL.gguf",
        "m.q4_k_m.gguf",
        "BF16/m-BF16-00001-of-00002.gguf",
    ];

    #[test]
    fn quantisations_are_picked_by_name_or_preference() {
        assert_eq!(picked(&QUANTS, None), ["m.q4_k_m.gguf"]);
        assert_eq!(picked(&QUANTS, Some("q8_0")), ["m-Q8_0.gguf"]);
        assert_eq!(picked(&QUANTS, Some("UD-Q4_K_XL")), ["m-UD-Q4_K_XL.gguf"]);
        assert_eq!(picked(&QUANTS, Some("mmproj-F16.gguf")), ["mmproj-F16.gguf"]);
        assert_eq!(picked(&["x-Q3_K_M.gguf", "x-Q8_0.gguf"], None), ["x-Q8_0.gguf"]);
        assert_eq!(picked(&["odd.gguf"], None), ["odd.gguf"]);
        let error = select("a/b", &files(&QUANTS), Some("Q4_0")).unwrap_err().to_string();
        assert!(error.contains("has no Q4_0") && error.contains("m-Q8_0.gguf"), "{error}");
    }

    #[test]
    fn split_files_come_whole_and_gaps_are_seen() {
        let parts = ["m-Q4_0-00002-of-00002.gguf", "m-Q4_0-00001-of-00002.gguf"];
        let weights = picked(&parts, None);
        assert_eq!(weights, ["m-Q4_0-00001-of-00002.gguf", "m-Q4_0-00002-of-00002.gguf"]);
        assert_eq!(missing_part(&weights), None);
        assert_eq!(missing_part(&weights[1..]).as_deref(), Some("m-Q4_0-00001-of-00002.gguf"));
        assert_eq!(missing_part(&files(&["m.gguf"])), None);
        assert_eq!(split_of("x-00000001-of-00002"), None);
    }

    #[test]
    fn safetensors_come_with_their_sidecars() {
        let names = [
            "config.json",
            "consolidated.safetensors",
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
            "model.safetensors.index.json",
            "onnx/model.safetensors",
            "pytorch_model.bin",
            "run.py",
            "tokenizer.json",
        ];
        let picked = select("a/b", &files(&names), None).unwrap();
        assert_eq!(picked.weights(), ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]);
        let all = picked.files();
        assert!(all.contains(&"tokenizer.json".into()) && all.contains(&"model.safetensors.index.json".into()));
        assert!(!all.iter().any(|file| file.ends_with(".bin") || file.ends_with(".py")));
        assert!(select("a/b", &files(&["pytorch_model.bin"]), None).is_err());
        let mixed = files(&["m-F16.gguf", "model.safetensors"]);
        assert_eq!(select("a/b", &mixed, Some("safetensors")).unwrap().weights(), ["model.safetensors"]);
        assert_eq!(choices(&mixed).len(), 2);
    }
}
