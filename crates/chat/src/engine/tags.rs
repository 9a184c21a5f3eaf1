//! The tags of a template, before the engine reads them.
//!
//! `{% generation %}`, by which templates mark what the assistant wrote, is written in words that the
//! engine has: the text is the same without, and what is between its ends is a scope of its own, as a `with`
//! block is. A tag that is too long is refused, since the engine's way through one is as deep as that
//! has operators. It looks at tags alone, not into texts or comments.

/// Bytes of a tag at most, those in quotes left out: the longest of a published template has a tenth.
pub(super) const TAG_MAX_BYTES: usize = 8 << 10;

/// A tag that is too long: its line, and its bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LongTag {
    pub(super) line: usize,
    pub(super) bytes: usize,
}

/// A template with `with` blocks in place of `generation` blocks.
pub(super) fn checked(source: &str) -> Result<String, LongTag> {
    let mut made = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find('{') {
        let (before, from) = rest.split_at(at);
        made.push_str(before);
        let (length, unquoted) = match from.as_bytes().get(1) {
            Some(b'#') => (from.find("#}").map_or(from.len(), |end| end + 2), 0),
            Some(b'{') => end_of_tag(from, "}}"),
            Some(b'%') => end_of_tag(from, "%}"),
            _ => (1, 1),
        };
        if unquoted > TAG_MAX_BYTES {
            let line = 1 + source[..source.len() - from.len()].matches('\n').count();
            return Err(LongTag { line, bytes: unquoted });
        }
        let (tag, after) = from.split_at(length);
        let inner = tag.strip_prefix("{%").and_then(|inner| inner.strip_suffix("%}"));
        let name = inner.map(|inner| inner.trim_matches(['-', '+']).trim());
        match name {
            Some("generation") => made.push_str(&tag.replacen("generation", "with", 1)),
            Some("endgeneration") => made.push_str(&tag.replacen("endgeneration", "endwith", 1)),
            _ => made.push_str(tag),
        }
        rest = after;
        if name == Some("raw") {
            let raw = end_of_raw(rest);
            made.push_str(&rest[..raw]);
            rest = &rest[raw..];
        }
    }
    made.push_str(rest);
    Ok(made)
}

/// The bytes of a tag with its end, which is not looked for in quotes; and those outside of quotes.
fn end_of_tag(from: &str, end: &str) -> (usize, usize) {
    let mut quote = None;
    let mut is_escaped = false;
    let mut unquoted = 0;
    for (at, c) in from.char_indices().skip(2) {
        unquoted += usize::from(quote.is_none());
        match quote {
            Some(_) if is_escaped => is_escaped = false,
            Some(_) if c == '\\' => is_escaped = true,
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if c == '"' || c == '\'' => quote = Some(c),
            None if from[at..].starts_with(end) => return (at + end.len(), unquoted),
            None => {}
        }
    }
    (from.len(), unquoted)
}

/// The bytes before the tag that ends a raw block.
fn end_of_raw(from: &str) -> usize {
    let mut tags = from.match_indices("{%").map(|(at, _)| at);
    let ends = |at: &usize| from[at + 2..].trim_start_matches(['-', '+']).trim_start().starts_with("endraw");
    tags.find(ends).unwrap_or(from.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tags_are_changed() {
        for (source, want) in [
            ("a{%- generation -%}b{% endgeneration %}", "a{%- with -%}b{% endwith %}"),
            ("{% generation%}{ x }{%+ endgeneration +%}", "{% with%}{ x }{%+ endwith +%}"),
            ("{{ '{% generation %}' }}", "{{ '{% generation %}' }}"),
            ("{{ \"\\\"}}{% generation %}\" }}", "{{ \"\\\"}}{% generation %}\" }}"),
            ("{# {% generation %} #}", "{# {% generation %} #}"),
            ("{% raw %}{% generation %}{% endraw %}", "{% raw %}{% generation %}{% endraw %}"),
            ("{% if generation %}{% endif %}", "{% if generation %}{% endif %}"),
            ("{% set x = 1", "{% set x = 1"),
            ("{", "{"),
            ("é{", "é{"),
        ] {
            assert_eq!(checked(source).as_deref(), Ok(want), "`{source}`");
        }
    }

    #[test]
    fn a_long_tag_is_refused_and_a_long_text_is_not() {
        let long = "1 + ".repeat(TAG_MAX_BYTES);
        assert_eq!(checked(&format!("a\n{{{{ {long}1 }}}}")).map_err(|tag| tag.line), Err(2));
        assert!(checked(&format!("{{{{ '{long}' }}}}")).is_ok());
    }
}
