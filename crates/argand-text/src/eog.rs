//! Which tokens end a generation. Files name one end token; models emit several, so known texts count as well.

use std::collections::BTreeSet;

/// Texts of tokens that end a turn, a message or a sequence, whatever the file says of them.
pub(crate) const TEXTS: &[&str] = &[
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|calls|>",
    "<|flush|>",
    "<end_of_turn>",
    "<turn|>",
    "<|tool_response>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|end_of_sentence|>",
    "<|eom_id|>",
    "</s>",
    "<eos>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "[e~[",
    "<end_of_utterance>",
    "<｜end▁of▁sentence｜>",
    // A model that begins to fill or to separate files has finished its text.
    "<|fim_pad|>",
    "<fim-pad>",
    "<fim_pad>",
    "<|fim_repo|>",
    "<|repo_name|>",
    "<fim-repo>",
    "<REPO>",
    "<reponame>",
    "<|file_sep|>",
];

/// Collects the ids: `named` are those that the file gives a role, `find` looks up a text.
pub(crate) fn collect(named: impl IntoIterator<Item = u32>, find: impl Fn(&str) -> Option<u32>) -> BTreeSet<u32> {
    let mut ids: BTreeSet<u32> = TEXTS.iter().filter_map(|text| find(text)).collect();
    let has = |text: &str| find(text).is_some();
    // Formats with channels end messages with <|end|> and turns with other tokens.
    if (has("<|return|>") && has("<|call|>")) || (has("<|flush|>") && (has("<|calls|>") || has("<|call|>"))) {
        find("<|end|>").map(|id| ids.remove(&id));
    }
    // Gemma 4 has an ordinary </s>.
    if has("<|tool_response>") {
        find("</s>").map(|id| ids.remove(&id));
    }
    ids.extend(named);
    ids
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collect_from(tokens: &[&str], named: &[u32]) -> Vec<u32> {
        let find = |text: &str| tokens.iter().position(|token| *token == text).map(|id| id as u32);
        collect(named.iter().copied(), find).into_iter().collect()
    }

    #[test]
    fn known_texts_and_named_ids_end_a_generation() {
        assert_eq!(collect_from(&["a", "<|im_end|>", "<|endoftext|>", "b"], &[3]), [1, 2, 3]);
    }

    #[test]
    fn end_of_message_is_not_end_of_turn_in_channel_formats() {
        assert_eq!(collect_from(&["<|end|>", "<|return|>", "<|call|>"], &[]), [1, 2]);
        assert_eq!(collect_from(&["<|end|>", "<|return|>"], &[]), [0, 1]);
        assert_eq!(collect_from(&["</s>", "<|tool_response>"], &[]), [1]);
    }
}
