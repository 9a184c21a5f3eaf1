//! Rules for text that the harness has as Python code.
//!
//! Where Python and Rust differ on what white space or a capital is, these are Python's. They know
//! strings, and no documents.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::{Captures, Regex};

use crate::python_space::is_python_space;

/// `str.strip()`.
pub(super) fn strip(text: &str) -> &str {
    text.trim_matches(is_python_space)
}

/// `str.lstrip()`.
pub(super) fn lstrip(text: &str) -> &str {
    text.trim_start_matches(is_python_space)
}

/// `str.rstrip()`.
pub(super) fn rstrip(text: &str) -> &str {
    text.trim_end_matches(is_python_space)
}

/// `str.capitalize()`: the first character in title case and the rest in lower case.
pub(super) fn capitalize(text: &str) -> String {
    let mut characters = text.chars();
    let Some(first) = characters.next() else { return String::new() };
    // The rest is lowered as part of the whole, for a sigma's form depends on what precedes it.
    let lower = text.to_lowercase();
    let first_lower: usize = first.to_lowercase().map(char::len_utf8).sum();
    let mut capitalized = title(first);
    capitalized.push_str(lower.get(first_lower..).unwrap_or_default());
    capitalized
}

/// The title case of a character: its upper case, with only the first of several letters kept so.
///
/// Right for all but Greek letters with an iota below, of which it makes two.
fn title(character: char) -> String {
    match character {
        'Ǆ' | 'ǅ' | 'ǆ' => return "ǅ".to_owned(),
        'Ǉ' | 'ǈ' | 'ǉ' => return "ǈ".to_owned(),
        'Ǌ' | 'ǋ' | 'ǌ' => return "ǋ".to_owned(),
        'Ǳ' | 'ǲ' | 'ǳ' => return "ǲ".to_owned(),
        'ŉ' => return "ʼN".to_owned(),
        // Georgian letters are their own title case.
        '\u{10d0}'..='\u{10ff}' => return character.to_string(),
        _ => {}
    }
    let mut upper = character.to_uppercase();
    let mut title: String = upper.next().into_iter().collect();
    title.extend(upper.flat_map(char::to_lowercase));
    title
}

/// The first letter in lower case, the rest as it is.
pub(super) fn lower_first(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next();
    first.into_iter().flat_map(char::to_lowercase).chain(characters).collect()
}

/// The number of words: one more than there are runs of white space, as `len(re.split(r"\s+", …))`.
pub(super) fn words(text: &str) -> u64 {
    static SPACES: LazyLock<Regex> = LazyLock::new(|| pattern(r"[\s\x1c-\x1f]+"));
    1 + SPACES.find_iter(text).count() as u64
}

/// A text of HellaSwag without the marks of the articles that some come from.
pub(super) fn hellaswag(text: &str) -> String {
    static BRACKETS: LazyLock<Regex> = LazyLock::new(|| pattern(r"\[.*?\]"));
    let text = strip(text).replace(" [title]", ". ");
    BRACKETS.replace_all(&text, "").replace("  ", " ")
}

/// A page of WikiText as prose: spaces that its tokenizer put around marks are taken out.
pub(super) fn wikitext(page: &str) -> String {
    static PAIRS: LazyLock<[(Regex, [&str; 2]); 5]> = LazyLock::new(|| {
        let pair = |expression, marks| (pattern(expression), marks);
        [
            pair(r"\([\s\x1c-\x1f]*([^)]*?)[\s\x1c-\x1f]*\)", ["(", ")"]),
            pair(r"\[[\s\x1c-\x1f]*([^\]]*?)[\s\x1c-\x1f]*\]", ["[", "]"]),
            pair(r"\{[\s\x1c-\x1f]*([^}]*?)[\s\x1c-\x1f]*\}", ["{", "}"]),
            pair(r#""[\s\x1c-\x1f]*([^"]*?)[\s\x1c-\x1f]*""#, ["\"", "\""]),
            pair(r"'[\s\x1c-\x1f]*([^']*?)[\s\x1c-\x1f]*'", ["'", "'"]),
        ]
    });
    // The harness's expression for contractions has slashes in it and so matches only those.
    static SLASHES: LazyLock<Regex> = LazyLock::new(|| pattern("/' [0-9]/"));

    let text = page.replace("s '", "s'");
    let text = SLASHES.replace_all(&text, "/'[0-9]/");
    let mut text = replaced(
        &text,
        &[
            (" @-@ ", "-"),
            (" @,@ ", ","),
            (" @.@ ", "."),
            (" : ", ": "),
            (" ; ", "; "),
            (" . ", ". "),
            (" ! ", "! "),
            (" ? ", "? "),
            (" , ", ", "),
        ],
    );
    for (expression, [open, close]) in PAIRS.iter() {
        let joined =
            expression.replace_all(&text, |inner: &Captures<'_>| format!("{open}{}{close}", &inner[1]));
        if let Cow::Owned(joined) = joined {
            text = joined;
        }
    }
    replaced(
        &text,
        &[
            ("= = = =", "===="),
            ("= = =", "==="),
            ("= =", "=="),
            (" \u{b0} ", "\u{b0}"),
            (" \n", "\n"),
            ("\n ", "\n"),
            (" N ", " 1 "),
            (" 's", "'s"),
        ],
    )
}

/// The pages of a raw file of WikiText, each from its title to the next.
///
/// A title is a line ` = Title = `; those of sections have more signs. What precedes the first
/// title is a page of its own unless it is blank.
pub(super) fn pages(raw: &str) -> Vec<String> {
    let mut pages = Vec::new();
    let mut lines: Vec<&str> = Vec::new();
    for line in raw.split('\n') {
        let heading = line.replace("= = =", "===").replace("= =", "==");
        let heading = strip(&heading);
        if heading.starts_with("= ") && heading.ends_with(" =") {
            let page = lines.join("\n");
            if !strip(&page).is_empty() {
                pages.push(page);
            }
            lines.clear();
        }
        lines.push(line);
    }
    pages.push(lines.join("\n"));
    pages
}

/// An option of WSC273 as it reads in place of the pronoun.
///
/// One for a possessive pronoun gets `'s`; an article or pronoun at its start is lowered unless it
/// starts the sentence.
///
/// # Errors
/// If there is no word in the option or no character two before the pronoun.
pub(super) fn wsc273_option(
    option: &str,
    pronoun: &str,
    text: &str,
    pronoun_loc: i64,
) -> Result<String, &'static str> {
    const STARTS: [&str; 11] = ["A", "An", "The", "She", "He", "It", "They", "My", "His", "Her", "Their"];
    const POSSESSIVES: [&str; 5] = ["my", "his", "her", "our", "their"];
    let mut option = option.to_owned();
    if POSSESSIVES.contains(&pronoun.to_lowercase().as_str()) {
        option.push_str("'s");
    }
    let first =
        option.split(is_python_space).find(|word| !word.is_empty()).ok_or("an option is blank")?.to_owned();
    // As in Python, a place before the text is one from its end.
    let place = pronoun_loc.saturating_sub(2);
    let place = if place < 0 { place + text.chars().count() as i64 } else { place };
    let before = usize::try_from(place).ok().and_then(|place| text.chars().nth(place));
    let starts_sentence = before.ok_or("`pronoun_loc` lies outside of the text")? == '.';
    if !starts_sentence && STARTS.contains(&first.as_str()) {
        return Ok(option.replace(&first, &first.to_lowercase()));
    }
    Ok(option)
}

fn replaced(text: &str, replacements: &[(&str, &str)]) -> String {
    replacements.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

fn pattern(expression: &str) -> Regex {
    Regex::new(expression).expect("an expression of this file, which its tests compile")
}

#[cfg(test)]
mod tests {
    use super::*;

    // Expected values are printed by CPython 3.11 and lm-evaluation-harness 0.4.13.

    #[test]
    fn white_space_is_pythons() {
        assert_eq!(strip("\u{1f} a\u{3000}\u{1c}"), "a");
        assert_eq!(lstrip("\u{85}a "), "a ");
        assert_eq!(rstrip(" a\u{1d}\n"), " a");
        assert_eq!(strip("\u{200b}a"), "\u{200b}a");
        assert_eq!(words(""), 1);
        assert_eq!(words(" two  words\u{1e}or so\n"), 6);
    }

    #[test]
    fn capitals_are_pythons() {
        let check = |text: &str, wanted: &str| assert_eq!(capitalize(text), wanted, "{text}");
        check("", "");
        check("hELLO World", "Hello world");
        check("ßA", "Ssa");
        check("ŉX", "ʼNx");
        check("ΑΣ", "Ας");
        check("ǆA", "ǅa");
        check("İX", "İx");
        check("ﬁX", "Fix");
        check("დA", "დa");
        check(" aB", " ab");
        assert_eq!(lower_first("The End"), "the End");
        assert_eq!(lower_first(""), "");
    }

    #[test]
    fn brackets_of_hellaswag_go() {
        assert_eq!(
            hellaswag(" How to [header] bake [title] Mix. [step] Stir  it [a\nb] "),
            "How to bake. Mix. Stir it [a\nb]"
        );
    }

    #[test]
    fn wikitext_becomes_prose() {
        let page = " = A title = \n \n It was 3 @.@ 5 km ( 2 @.@ 2 mi ) , \" so they said \" ; 10 @,@ 000 . \n \
                    = = Part = = \n The dogs ' tails ' n ' that . Bob 's 5 \u{b0} N or { x } [ y ] = = = = /' 7/";
        let wanted = " = A title =\n\nIt was 3.5 km (2.2 mi), \"so they said\"; 10,000.\n== Part ==\nThe dogs'tails' n \
                      'that. Bob's 5\u{b0}N or {x} [y] ==== /'[0-9]/";
        assert_eq!(wikitext(page), wanted);
    }

    #[test]
    fn pages_begin_at_titles() {
        let raw = " \n = One = \n text \n = = Part = = \n more \n = Two = \n text \n ";
        assert_eq!(pages(raw), [" = One = \n text \n = = Part = = \n more ", " = Two = \n text \n "]);
        assert_eq!(pages(""), [""]);
    }

    #[test]
    fn options_of_wsc273_fit_their_place() {
        let text = "Ann saw Bea. She waved. It fit her hat.";
        let check = |option: &str, pronoun: &str, place, wanted: Result<&str, &str>| {
            let found = wsc273_option(option, pronoun, text, place);
            assert_eq!(found.as_deref().map_err(|error| *error), wanted);
        };
        check("The hat", "She", 13, Ok("The hat"));
        check("The hat of The man", "it", 8, Ok("the hat of the man"));
        check("Bea", "her", 31, Ok("Bea's"));
        check("Bea", "her", 0, Ok("Bea's"));
        check(" ", "it", 8, Err("an option is blank"));
        check("Bea", "it", 99, Err("`pronoun_loc` lies outside of the text"));
        check("Bea", "it", i64::MIN, Err("`pronoun_loc` lies outside of the text"));
    }
}
