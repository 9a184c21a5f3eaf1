//! Methods of Python's strings and lists.
//!
//! Most are the engine's own; here are those that it has not.

use minijinja::value::{ValueKind, from_args};
use minijinja::{Error, ErrorKind, State, Value};
use minijinja_contrib::pycompat::unknown_method_callback;

use crate::OUTPUT_MAX_BYTES;

/// The result of a method that the engine does not know.
pub(super) fn unknown_method(
    state: &mut State<'_, '_>,
    value: &Value,
    method: &str,
    arguments: &[Value],
) -> Result<Value, Error> {
    if let Some(text) = value.as_str() {
        match method {
            "removeprefix" | "removesuffix" => {
                let (end,): (&str,) = from_args(arguments)?;
                let rest =
                    if method == "removeprefix" { text.strip_prefix(end) } else { text.strip_suffix(end) };
                return Ok(rest.unwrap_or(text).into());
            }
            "partition" | "rpartition" => {
                let (separator,): (&str,) = from_args(arguments)?;
                let found = if method == "partition" {
                    text.split_once(separator)
                } else {
                    text.rsplit_once(separator)
                };
                return Ok(match (found, method) {
                    (Some((before, after)), _) => [before, separator, after].into_iter().collect(),
                    (None, "partition") => [text, "", ""].into_iter().collect(),
                    (None, _) => ["", "", text].into_iter().collect(),
                });
            }
            "rsplit" => {
                let (separator, most): (Option<&str>, Option<i64>) = from_args(arguments)?;
                return Ok(rsplit(text, separator, most));
            }
            "format" => {
                // The engine pays for what was made, and a width alone may ask for more than there is memory.
                let asked = widths(text);
                if asked > OUTPUT_MAX_BYTES as u64 {
                    let detail = format!("fields of {asked} characters, expected at most {OUTPUT_MAX_BYTES}");
                    return Err(Error::new(ErrorKind::InvalidOperation, detail));
                }
            }
            "casefold" => {
                let () = from_args(arguments)?;
                return Ok(text.to_lowercase().into());
            }
            _ => {}
        }
    }
    if method == "index" && value.kind() == ValueKind::Seq {
        let (wanted,): (&Value,) = from_args(arguments)?;
        let mut items = value.try_iter()?;
        let place = items.position(|item| item == *wanted);
        // The value itself is not told: as a text it may be larger than memory, and nothing pays for that.
        return place
            .map(Value::from)
            .ok_or_else(|| Error::new(ErrorKind::InvalidOperation, "the value is not in the list"));
    }
    unknown_method_callback(state, value, method, arguments)
}

/// All numbers in the fields of a format together: widths, precisions, and places of arguments. It errs on the side of
/// counting: what stands in doubled braces counts too.
fn widths(format: &str) -> u64 {
    let fields = format.split('{').skip(1).map(|field| field.split('}').next().unwrap_or_default());
    let numbers = fields.flat_map(|field| field.split(|c: char| !c.is_ascii_digit()));
    let numbers = numbers.filter(|number| !number.is_empty());
    numbers.fold(0, |sum, number| sum.saturating_add(number.parse().unwrap_or(u64::MAX)))
}

/// `str.rsplit`: at most so many splits, counted from the end.
fn rsplit(text: &str, separator: Option<&str>, most: Option<i64>) -> Value {
    let most = most.and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX);
    let mut parts: Vec<&str> = match separator {
        Some(separator) => text.rsplitn(most.saturating_add(1), separator).collect(),
        None => {
            let mut parts = Vec::new();
            let mut rest = text.trim();
            while parts.len() < most
                && let Some((before, last)) = rest.rsplit_once(char::is_whitespace)
            {
                parts.push(last);
                rest = before.trim_end();
            }
            if !rest.is_empty() {
                parts.push(rest);
            }
            parts
        }
    };
    parts.reverse();
    parts.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::super::add_to;
    use minijinja::{Environment, context};

    #[test]
    fn methods_are_those_of_python() {
        let mut environment = Environment::new();
        add_to(&mut environment);
        for (expression, want) in [
            ("'abc'.removeprefix('a')", "bc"),
            ("'abc'.removesuffix('a')", "abc"),
            ("'a-b-c'.partition('-')[2]", "b-c"),
            ("'a-b-c'.rpartition('-')[0]", "a-b"),
            ("'abc'.rpartition('-')[2]", "abc"),
            ("'a b  c'.rsplit(none, 1)|join('|')", "a b|c"),
            ("'a-b-c'.rsplit('-', 1)|join('|')", "a-b|c"),
            ("' a b '.rsplit()|join('|')", "a|b"),
            ("['a', 'b'].index('b')", "1"),
            ("'a b'.split()|last", "b"),
            ("'ÄB'.casefold()", "äb"),
            ("'{:>4}|{:.1f}'.format(1, 2.5)", "   1|2.5"),
        ] {
            let found = environment.render_str(&format!("{{{{ {expression} }}}}"), context! {}).unwrap();
            assert_eq!(found, want, "{expression}");
        }
        assert!(environment.render_str("{{ ['a'].index('b') }}", context! {}).is_err());
        assert!(environment.render_str("{{ '{:>4000000}{:>300000}'.format(1, 2) }}", context! {}).is_err());
        assert_eq!(super::widths("9 {} {:>12} {0:.3f}} {99999999999999999999"), u64::MAX);
        assert_eq!(super::widths("9 {} {:>12} {0:.3f}}"), 15);
    }
}
