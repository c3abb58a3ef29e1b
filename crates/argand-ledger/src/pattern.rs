//! Patterns of names, in which `*` stands for any letters.

/// Whether a name fits a pattern.
pub(crate) fn fits(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        // The earliest place leaves most for the parts behind it.
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn stars_stand_for_any_letters() {
        for (pattern, name) in [("", ""), ("*", ""), ("*", "a"), ("a", "a"), ("a*c", "abc"), ("a*c", "ac")] {
            assert!(fits(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in
            [("qwen*-instruct:*", "qwen2.5-instruct:q4"), ("*a*b*", "xaxbx"), ("**", "x"), ("a*a", "aaa")]
        {
            assert!(fits(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in
            [("", "a"), ("a", ""), ("a", "ab"), ("a*c", "a"), ("a*a", "a"), ("*ab*ba*", "aba"), ("A*", "a")]
        {
            assert!(!fits(pattern, name), "{pattern} {name}");
        }
    }
}
