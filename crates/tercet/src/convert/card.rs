//! The card of a converted model: what it came from, and what is not as it was.

use std::fmt::Write;

use super::{Change, ConvertError, Target};
use crate::config::Config;
use crate::folder_files::CARD_FILE;
use crate::source::Source;

/// What the card says.
pub(super) struct Card<'a> {
    /// The model's name, without a path.
    pub(super) name: &'a str,
    pub(super) target: Target,
    /// The configuration of the source.
    pub(super) config: &'a Config,
    pub(super) changes: &'a [Change],
    /// Whether the result is a ternary model.
    pub(super) is_ternary: bool,
}

impl Card<'_> {
    /// The card; a card of the source's follows it, and keeps its front matter before all.
    pub(super) fn text(&self, source: &Source) -> Result<String, ConvertError> {
        let own = match source.has(CARD_FILE) {
            true => String::from_utf8_lossy(&source.read(CARD_FILE)?).replace("\r\n", "\n"),
            false => String::new(),
        };
        let (front_matter, body) = split_front_matter(&own);
        let tags = if self.is_ternary { "---\ntags:\n- bitnet\n---\n\n" } else { "" };
        let front_matter = front_matter.map_or_else(|| tags.to_owned(), |own| format!("{own}\n"));
        let body = if body.trim().is_empty() { String::new() } else { format!("\n{}", body.trim_start()) };
        Ok(format!("{front_matter}{}{body}", self.section()))
    }

    fn section(&self) -> String {
        let Card { name, target, config, changes, .. } = self;
        let mut text = format!(
            "# {name}, converted\n\nConverted to `{target}` by tercet {} from {}.\n",
            env!("CARGO_PKG_VERSION"),
            config.family.description()
        );
        if changes.is_empty() {
            text += "\nIt is the same model to the last bit: codes, scales and all other numbers.\n";
            return text;
        }
        text += "\nWhat is not as it was:\n\n";
        for change in *changes {
            let _ = writeln!(text, "- {change}");
        }
        text
    }
}

/// The YAML between two lines of `---` at the beginning, with these, and what comes after.
fn split_front_matter(card: &str) -> (Option<&str>, &str) {
    let end = card.strip_prefix("---\n").and_then(|rest| Some(4 + rest.find("\n---\n")? + 5));
    match end {
        Some(end) => (Some(&card[..end]), &card[end..]),
        None => (None, card),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn front_matter_is_told_from_text() {
        assert_eq!(split_front_matter("---\na: b\n---\nText"), (Some("---\na: b\n---\n"), "Text"));
        assert_eq!(split_front_matter("Text\n---\n"), (None, "Text\n---\n"));
        assert_eq!(split_front_matter("---\nno end"), (None, "---\nno end"));
    }
}
