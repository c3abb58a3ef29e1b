use super::*;
use proptest::prelude::*;

fn ranked(tokens: &[&str], merges: &[&str], whole: WholeWords, unknown: Option<u32>) -> Bpe {
    let table = TokenTable::new(tokens).unwrap();
    let merges = Merges::ranked(&table, merges).unwrap();
    Bpe::new(table, merges, whole, unknown)
}

fn encode(bpe: &Bpe, word: &str) -> Vec<String> {
    let mut ids = Vec::new();
    bpe.encode(word, &mut ids).unwrap();
    ids.into_iter().map(|id| bpe.tokens().text(id).unwrap().to_owned()).collect()
}

#[test]
fn the_least_rank_merges_first_and_the_leftmost_of_equals() {
    let bpe = ranked(&["a", "b", "ab", "ba", "aba", "aa"], &["b a", "a b", "a ba", "a a"], WholeWords::Never, None);
    assert_eq!(encode(&bpe, "aba"), ["aba"]);
    assert_eq!(encode(&bpe, "aab"), ["a", "ab"]);
    assert_eq!(encode(&bpe, "aaa"), ["aa", "a"]);
    assert_eq!(encode(&bpe, ""), Vec::<String>::new());
}

#[test]
fn whole_words_may_skip_the_merges() {
    let tokens = ["a", "b", "ab", "\n", "\n\n"];
    assert_eq!(encode(&ranked(&tokens, &[], WholeWords::Never, None), "ab"), ["a", "b"]);
    assert_eq!(encode(&ranked(&tokens, &[], WholeWords::Always, None), "ab"), ["ab"]);
    let lines = ranked(&tokens, &[], WholeWords::LineFeeds, None);
    assert_eq!(encode(&lines, "ab"), ["a", "b"]);
    assert_eq!(encode(&lines, "\n\n"), ["\n\n"]);
}

#[test]
fn the_best_score_merges_first() {
    let table = TokenTable::new(&["h", "e", "y", "he", "ey", "hey", "<s>"]).unwrap();
    let scores = [0.0, 0.0, 0.0, -2.0, -1.0, -3.0];
    let merges = Merges::scored(scores.into_iter().map(Some).chain([None]));
    let bpe = Bpe::new(table, merges, WholeWords::Never, Some(0));
    assert_eq!(encode(&bpe, "hey"), ["hey"]);
    assert_eq!(encode(&bpe, "heyhe"), ["hey", "he"]);
    // Reserved tokens never come out of text.
    assert!(!encode(&bpe, "<s>").contains(&"<s>".to_owned()));
}

#[test]
fn characters_without_a_token_fall_back_to_bytes_then_unknown() {
    let bytes: Vec<String> = (0..=255).map(|byte| format!("<0x{byte:02X}>")).collect();
    let tokens: Vec<&str> = bytes.iter().map(String::as_str).chain(["a"]).collect();
    assert_eq!(encode(&ranked(&tokens, &[], WholeWords::Never, None), "aé"), ["a", "<0xC3>", "<0xA9>"]);
    assert_eq!(encode(&ranked(&["?", "a"], &[], WholeWords::Never, Some(0)), "éüaé"), ["?", "a", "?"]);
    let mut ids = Vec::new();
    let nothing = ranked(&["a"], &[], WholeWords::Never, None);
    assert_eq!(nothing.encode("aé", &mut ids), Err(Unencodable('é')));
}

/// The definition: merge the best pair of the whole word until there is none.
fn slowly(tokens: &[&str], merges: &[&str], word: &str) -> Vec<String> {
    let mut parts: Vec<String> = word.chars().map(String::from).collect();
    loop {
        let rank = |pair: &[String]| {
            let product = pair.concat();
            let line = format!("{} {}", pair[0], pair[1]);
            merges.iter().position(|merge| *merge == line).filter(|_| tokens.contains(&product.as_str()))
        };
        let best = (0..parts.len().saturating_sub(1)).filter_map(|at| Some((rank(&parts[at..at + 2])?, at))).min();
        let Some((_, at)) = best else { return parts };
        let right = parts.remove(at + 1);
        parts[at] += &right;
    }
}

proptest! {
    #[test]
    fn the_queue_gives_what_the_definition_gives(
        word in "[abc]{0,24}",
        order in Just(vec!["a b", "b c", "a a", "ab c", "aa aa", "c ab", "bc a", "b b", "bb b", "cab c"]).prop_shuffle(),
    ) {
        let tokens = ["a", "b", "c", "ab", "bc", "aa", "abc", "aaaa", "cab", "bca", "bb", "bbb", "cabc"];
        let bpe = ranked(&tokens, &order, WholeWords::Never, None);
        prop_assert_eq!(encode(&bpe, &word), slowly(&tokens, &order, &word));
    }
}
