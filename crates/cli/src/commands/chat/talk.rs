//! The conversation so far, and its file.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use serde_json::{Value, json};
use tempfile::NamedTempFile;

/// A longer conversation fits no model.
const FILE_MAX_BYTES: u64 = 64 << 20;

/// What was said.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Talk {
    /// What the model is told first.
    pub(super) system: Option<String>,
    /// Messages of both sides, in OpenAI's form.
    pub(super) turns: Vec<Value>,
}

impl Talk {
    pub(super) fn new(system: Option<String>) -> Self {
        Talk { system, turns: Vec::new() }
    }

    /// All messages, what the model is told first among them.
    pub(super) fn messages(&self) -> Vec<Value> {
        let system = self.system.iter().map(|text| json!({"role": "system", "content": text}));
        system.chain(self.turns.iter().cloned()).collect()
    }

    pub(super) fn ask(&mut self, text: &str) {
        self.turns.push(json!({"role": "user", "content": text}));
    }

    pub(super) fn answer(&mut self, text: &str) {
        self.turns.push(json!({"role": "assistant", "content": text}));
    }

    /// Takes back the last message of the user and what followed it; whether there was one.
    pub(super) fn undo(&mut self) -> bool {
        let last = self.turns.iter().rposition(|turn| turn["role"] == "user");
        self.turns.truncate(last.unwrap_or(self.turns.len()));
        last.is_some()
    }

    /// Takes back the answer to the last message of the user; whether there was such a message.
    pub(super) fn forget_answer(&mut self) -> bool {
        let last = self.turns.iter().rposition(|turn| turn["role"] == "user");
        self.turns.truncate(last.map_or(self.turns.len(), |last| last + 1));
        last.is_some()
    }

    /// Writes all messages to a file; what was there before stays until all is written. What was said is for its
    /// owner alone: so are temporary files, and it becomes one of these.
    pub(super) fn save(&self, file: &Path) -> Result<(), String> {
        let failed = |error: io::Error| format!("{}: cannot be written: {error}", file.display());
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // The system's words, of which the next error has none.
        folder.join(".").metadata().map_err(failed)?;
        // Its own words name a file that nobody asked for.
        let unmade = |error: io::Error| failed(error.kind().into());
        let mut written = NamedTempFile::new_in(folder).map_err(unmade)?;
        writeln!(written, "{:#}", json!({"messages": self.messages()})).map_err(failed)?;
        written.persist(file).map_err(|error| failed(error.error))?;
        Ok(())
    }

    /// Reads a file with messages: a list, or an object with one as `messages`.
    pub(super) fn load(file: &Path) -> Result<Self, String> {
        let at_fault = |what: &dyn std::fmt::Display| format!("{}: {what}", file.display());
        let mut text = String::new();
        let opened = File::open(file).map_err(|error| at_fault(&format!("cannot be read: {error}")))?;
        let read = opened.take(FILE_MAX_BYTES + 1).read_to_string(&mut text);
        read.map_err(|error| at_fault(&format!("cannot be read: {error}")))?;
        if text.len() as u64 > FILE_MAX_BYTES {
            let what = format!("has more than {FILE_MAX_BYTES} bytes, expected at most that many");
            return Err(at_fault(&what));
        }
        let mut value: Value = serde_json::from_str(&text).map_err(|error| {
            at_fault(&format!("found no JSON, expected a conversation as `/save` writes it: {error}"))
        })?;
        if let Some(messages) = value.get_mut("messages") {
            value = messages.take();
        }
        let Value::Array(mut turns) = value else {
            return Err(at_fault(&"found no list of messages, expected one, or an object with `messages`"));
        };
        for (i, turn) in turns.iter().enumerate() {
            if !(turn["role"].is_string() && turn["content"].is_string()) {
                let what = format!(
                    "message {i} is something else than an object with the texts `role` and `content`"
                );
                return Err(at_fault(&what));
            }
        }
        let begins_with_system = turns.first().is_some_and(|turn| turn["role"] == "system");
        let first = begins_with_system.then(|| turns.remove(0));
        let system = first.and_then(|turn| turn["content"].as_str().map(str::to_owned));
        Ok(Talk { system, turns })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conversation_comes_back_from_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("talk.json");
        let mut talk = Talk::new(Some("Be brief.".to_owned()));
        talk.ask("a\n\"b\"");
        talk.answer("é");
        talk.save(&file).unwrap();
        assert_eq!(Talk::load(&file).unwrap(), talk);
        std::fs::write(&file, r#"[{"role": "user", "content": "a"}]"#).unwrap();
        assert_eq!(Talk::load(&file).unwrap().turns.len(), 1);
        for (text, want) in [
            ("3", "found no list of messages"),
            ("{", "found no JSON, expected a conversation as `/save` writes it: EOF"),
            (r#"{"messages": [{"role": "user"}]}"#, "message 0 is something else"),
        ] {
            std::fs::write(&file, text).unwrap();
            let error = Talk::load(&file).unwrap_err();
            assert!(error.contains(want), "`{text}`: {error}");
        }
        assert!(Talk::load(Path::new("/no/such")).unwrap_err().contains("cannot be read"));
        for (place, want) in [("no/such.json", "No such file"), ("talk.json/a.json", "Not a directory")] {
            let error = talk.save(&folder.path().join(place)).unwrap_err();
            assert!(error.contains("cannot be written") && error.contains(want), "{error}");
        }
    }

    #[test]
    fn a_file_that_is_too_long_is_called_so() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("talk.json");
        File::create(&file).unwrap().set_len(FILE_MAX_BYTES + 1).unwrap();
        let error = Talk::load(&file).unwrap_err();
        assert!(error.contains("has more than 67108864 bytes"), "{error}");
    }

    #[test]
    fn turns_are_taken_back_to_the_last_message_of_the_user() {
        let mut talk = Talk::new(None);
        assert!(!talk.undo() && !talk.forget_answer());
        talk.ask("a");
        talk.answer("b");
        talk.ask("c");
        talk.answer("d");
        assert!(talk.forget_answer());
        assert_eq!(talk.turns.len(), 3);
        assert!(talk.undo());
        assert_eq!(talk.turns.len(), 2);
        assert!(talk.undo() && talk.turns.is_empty());
    }
}
