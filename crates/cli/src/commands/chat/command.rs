//! What a line that starts with `/` asks for.

use std::path::PathBuf;

/// What `/help` says.
pub(super) const HELP: &str = "\
/system TEXT     what the model is told first; without TEXT, nothing
/regenerate      another answer to the last message (/again)
/undo            take back the last message and its answer
/clear           begin anew; what is told first stays
/set KEY VALUE   change how answers are made; /show lists the keys
/show            settings, and how long the conversation is
/save FILE       the conversation as JSON, in OpenAI's form
/load FILE       go on with a saved one
/bye             end (/exit, /quit, Ctrl-D)
A message of several lines starts and ends with \"\"\", or has \\ at the ends of its lines.
Ctrl-C stops an answer. A space before / makes it part of a message.";

/// A command.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command {
    Help,
    System(Option<String>),
    Regenerate,
    Undo,
    Clear,
    Set(String, String),
    Show,
    Save(PathBuf),
    Load(PathBuf),
    Bye,
}

impl Command {
    /// The command in a line; none where it is a message.
    pub(super) fn parse(text: &str) -> Option<Result<Self, String>> {
        let line = text.strip_prefix('/')?;
        let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim();
        let file = || match rest {
            "" => Err(format!("`/{name}` has no FILE")),
            file => Ok(PathBuf::from(file)),
        };
        let command = match name {
            "system" => Ok(Command::System((!rest.is_empty()).then(|| rest.to_owned()))),
            "save" => file().map(Command::Save),
            "load" => file().map(Command::Load),
            "set" => match rest.strip_prefix("parameter ").unwrap_or(rest).trim().split_once(char::is_whitespace) {
                Some(("system", text)) => Ok(Command::System(Some(text.trim().trim_matches('"').to_owned()))),
                Some((key, value)) => Ok(Command::Set(key.to_owned(), value.trim().to_owned())),
                None => Err("`/set` wants KEY VALUE, as `/set temp 0.5`; `/show` lists the keys".to_owned()),
            },
            _ if !rest.is_empty() && simple(name).is_some() => Err(format!("`/{name}` takes nothing after it")),
            _ => simple(name).ok_or_else(|| {
                format!("found no command `/{name}`; `/help` lists them, and a space before `/` makes it a message")
            }),
        };
        Some(command)
    }
}

/// A command that is one word.
fn simple(name: &str) -> Option<Command> {
    Some(match name {
        "help" | "?" => Command::Help,
        "regenerate" | "again" => Command::Regenerate,
        "undo" => Command::Undo,
        "clear" => Command::Clear,
        "show" => Command::Show,
        "bye" | "exit" | "quit" => Command::Bye,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_told_from_messages() {
        for (text, want) in [
            ("/?", Ok(Command::Help)),
            ("/quit", Ok(Command::Bye)),
            ("/again ", Ok(Command::Regenerate)),
            ("/system  Be brief. ", Ok(Command::System(Some("Be brief.".to_owned())))),
            ("/system", Ok(Command::System(None))),
            ("/set temp 0.5", Ok(Command::Set("temp".to_owned(), "0.5".to_owned()))),
            // As Ollama has them.
            ("/set parameter temperature 0.2", Ok(Command::Set("temperature".to_owned(), "0.2".to_owned()))),
            ("/set system \"Be brief.\"", Ok(Command::System(Some("Be brief.".to_owned())))),
            ("/save a b.json", Ok(Command::Save("a b.json".into()))),
            ("/save", Err("has no FILE")),
            ("/set temp", Err("wants KEY VALUE")),
            ("/undo all", Err("takes nothing after it")),
            ("/dance", Err("found no command `/dance`")),
        ] {
            let found = Command::parse(text).unwrap();
            match want {
                Ok(want) => assert_eq!(found, Ok(want), "`{text}`"),
                Err(want) => assert!(found.unwrap_err().contains(want), "`{text}`"),
            }
        }
        assert_eq!(Command::parse(" /quit"), None);
        assert_eq!(Command::parse("a/b"), None);
    }
}
