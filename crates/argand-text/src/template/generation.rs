//! `{% generation %}` ... `{% endgeneration %}` marks what the assistant said, for training. Rendering treats it as a
//! scope: the tags are replaced by the engine's own before compiling, line for line.

/// Replaces the tags. Everything else, white space control and line breaks included, stays.
pub(super) fn replace_tags(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find("{%") {
        let (before, tag) = rest.split_at(at);
        out.push_str(before);
        match generation_tag(tag) {
            Some((word, replacement)) => {
                let start = tag.find(word).unwrap_or(0);
                out.push_str(&tag[..start]);
                out.push_str(replacement);
                rest = &tag[start + word.len()..];
            }
            None => {
                out.push_str("{%");
                rest = &tag[2..];
            }
        }
    }
    out.push_str(rest);
    out
}

/// The tag's word and what replaces it, if the text begins with such a tag.
fn generation_tag(tag: &str) -> Option<(&'static str, &'static str)> {
    let inside = tag.strip_prefix("{%")?;
    let inside = inside.strip_prefix(['-', '+']).unwrap_or(inside).trim_start();
    let ends = |rest: &str| {
        let rest = rest.trim_start();
        rest.strip_prefix(['-', '+']).unwrap_or(rest).starts_with("%}")
    };
    let tags = [("endgeneration", "endwith"), ("generation", "with")];
    tags.into_iter().find(|(word, _)| inside.strip_prefix(word).is_some_and(ends))
}

#[cfg(test)]
mod tests {
    use super::replace_tags;

    #[test]
    fn tags_become_scopes() {
        assert_eq!(replace_tags("{% generation %}a{%- endgeneration -%}"), "{% with %}a{%- endwith -%}");
        assert_eq!(replace_tags("{%-\n generation\n-%}"), "{%-\n with\n-%}");
    }

    #[test]
    fn all_else_stays() {
        for text in ["{% set generation = 1 %}", "{{ generation }}", "{% generations %}", "{% if generation %}", "{%"] {
            assert_eq!(replace_tags(text), text);
        }
    }
}
