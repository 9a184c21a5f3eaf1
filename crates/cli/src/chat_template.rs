//! The templates that conversations are written by: those of a file that was named, or else the model's own.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use tercet::source::Source;
use tercet::tokenizer::Tokenizer;
use tercet_chat::{SOURCE_MAX_BYTES, SpecialTokens, Templates};

use crate::failure::{Exit, Failure};

/// The templates; none, where no file was named and the model has none.
///
/// # Errors
/// Exit code 3 if the file cannot be read, or what is found is no template.
pub(crate) fn templates(
    source: &Source,
    tokenizer: &Tokenizer,
    file: Option<&Path>,
) -> Result<Option<Templates>, Failure> {
    let Some(file) = file else { return Ok(Templates::read(source, tokenizer)?) };
    let tokens = SpecialTokens::read(source, tokenizer)?;
    Ok(Some(Templates::of_text(&file.display().to_string(), &text(file)?, tokens)?))
}

fn text(file: &Path) -> Result<String, Failure> {
    let name = file.display();
    let unreadable = |error| Failure::message(Exit::Model, format!("{name}: cannot be read: {error}"));
    let mut text = String::new();
    // One byte more, so that what is too long is refused and not cut.
    let mut opened = File::open(file).map_err(unreadable)?.take(SOURCE_MAX_BYTES as u64 + 1);
    opened.read_to_string(&mut text).map_err(unreadable)?;
    Ok(text)
}
