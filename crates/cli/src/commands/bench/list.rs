//! Lists of numbers as arguments, as llama-bench takes them: `512,128`, `0-1024+256`.

use crate::flag_bounds::CONTEXT_MAX;

/// Numbers in the order they were given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct List(pub(super) Vec<usize>);

/// A longer list is a mistake.
const LENGTH_MAX: usize = 64;
/// As wide as any context.
const NUMBER_MAX: usize = CONTEXT_MAX as usize;

/// Reads a list of numbers and of ranges `first-last+step`.
pub(super) fn list(text: &str) -> Result<List, String> {
    const EXPECTED: &str = "expected whole numbers with commas, or a range `first-last+step`";
    let number = |text: &str| {
        let number = text.parse().map_err(|_| EXPECTED.to_owned())?;
        if number > NUMBER_MAX { Err(format!("expected at most {NUMBER_MAX}")) } else { Ok(number) }
    };
    let mut numbers = Vec::new();
    for part in text.split(',') {
        match part.split_once('-') {
            None => numbers.push(number(part)?),
            Some((first, rest)) => {
                let (last, step) = rest.split_once('+').ok_or(EXPECTED)?;
                let step = number(step)?;
                if step == 0 {
                    return Err("expected a step above 0".to_owned());
                }
                numbers.extend((number(first)?..=number(last)?).step_by(step).take(LENGTH_MAX + 1));
            }
        }
    }
    match numbers.len() {
        0 => Err("expected at least one number".to_owned()),
        1..=LENGTH_MAX => Ok(List(numbers)),
        _ => Err(format!("expected at most {LENGTH_MAX} numbers")),
    }
}

/// As [`list`], of counts above 0.
pub(super) fn counts(text: &str) -> Result<List, String> {
    let list = list(text)?;
    if list.0.contains(&0) { Err("expected numbers above 0".to_owned()) } else { Ok(list) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_ranges_are_read() {
        for (text, want) in [
            ("512", &[512][..]),
            ("512,128", &[512, 128]),
            ("0-1000+250,7", &[0, 250, 500, 750, 1000, 7]),
            ("3-4+9", &[3]),
        ] {
            assert_eq!(list(text), Ok(List(want.to_vec())), "`{text}`");
        }
        for text in ["", "a", "1,", "-1", "1-5", "1-5+0", "5-1+1", "0-100+1", "999999999", "0-999999999+1"] {
            assert!(list(text).is_err(), "`{text}`");
        }
        assert!(counts("1,0").is_err() && counts("1,4").is_ok());
    }
}
