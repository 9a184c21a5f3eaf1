//! The white space of Python's strings. It knows one character at a time.

/// Whether Python's `str.isspace` holds: Unicode's white space and four separators.
pub(crate) fn is_python_space(character: char) -> bool {
    character.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&character)
}
