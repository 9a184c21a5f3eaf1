//! Flags of llama.cpp that have no place here, and that would be read as something else.
//!
//! They have one dash and several letters: `-ngl 99` would be `-n gl`, and `-hf` begins with the flag for help.

use std::ffi::OsString;

use crate::failure::{Exit, Failure};

const NO_GPU: &str = "there is no GPU here: leave it out";
const ONE_KV: &str = "`--kv f32`, `--kv f16` or `--kv int8` is for keys and values both";

/// Refuses the first of such flags, with what takes its place.
///
/// # Errors
/// Exit code 2.
pub(crate) fn check(arguments: &[OsString]) -> Result<(), Failure> {
    let options = arguments.iter().take_while(|argument| *argument != "--");
    let words: Vec<&str> = options.map(|argument| argument.to_str().unwrap_or_default()).collect();
    // A command of this name, and the value of the flag, where there are both.
    let command = words.get(1).filter(|word| !word.starts_with('-')).unwrap_or(&"run");
    for (at, flag) in words.iter().enumerate() {
        let value = words.get(at + 1).filter(|word| !word.starts_with('-'));
        let hint = match *flag {
            "-hf" | "-hfr" => {
                // llama.cpp's name of a type, as in `org/name:Q4_K_M`, is none of the Hub.
                let name = value.and_then(|name| name.split(':').next()).unwrap_or("org/name");
                format!("it is not needed: `tercet {command} {name}`")
            }
            "-hff" => "`tercet pull org/name --include FILE` prints the path to run".to_owned(),
            "-hft" => "a token of the Hub is taken from the variable `HF_TOKEN`".to_owned(),
            "-ngl" | "-ngld" | "-mg" | "-sm" | "-ts" | "-dev" | "-ot" | "-cmoe" | "-ncmoe" | "-nkvo" => {
                NO_GPU.to_owned()
            }
            "-fa" => "there is one way of attention here: leave it out".to_owned(),
            "-ctk" | "-ctv" | "-ctkd" | "-ctvd" => ONE_KV.to_owned(),
            _ => continue,
        };
        let message = format!("found llama.cpp's flag `{flag}`, which `tercet` does not have");
        return Err(Failure::message(Exit::Usage, message).with_hint(hint));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(arguments: &str) -> Option<String> {
        let arguments: Vec<OsString> = arguments.split(' ').map(OsString::from).collect();
        check(&arguments).err().map(|failure| format!("{failure:?}"))
    }

    #[test]
    fn flags_that_would_be_misread_are_refused() {
        for (arguments, want) in [
            ("tercet run -hf org/name -p Once", "`tercet run org/name`"),
            ("tercet serve -hf org/name:Q4", "`tercet serve org/name`"),
            ("tercet -hf", "`tercet run org/name`"),
            ("tercet run -hff a.gguf", "--include"),
            ("tercet pull -hft token", "HF_TOKEN"),
            ("tercet run x -ngl 99", NO_GPU),
            ("tercet chat x -mg 0", NO_GPU),
            ("tercet run x -ot exps=CPU", NO_GPU),
            ("tercet run x -fa on", "leave it out"),
            ("tercet serve x -ctk q8_0 -ctv q8_0", ONE_KV),
        ] {
            let found = refused(arguments).unwrap_or_default();
            assert!(found.contains(want) && found.contains("Usage"), "`{arguments}`: {found}");
        }
        for arguments in ["tercet run x -n 99 -m g -f a", "tercet run -- -hf", "tercet -h", "tercet run -s 1"]
        {
            assert_eq!(refused(arguments), None, "`{arguments}`");
        }
    }
}
