//! A test: each command of tercet that a document shows is one that this program takes.
//!
//! Commands are those of `sh` blocks and of code within text. A value in capital letters stands for any, and so does
//! what is missing behind a subcommand or a flag that is only named.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, Parser};

use crate::{Cli, arguments};

#[test]
fn commands_in_documents_are_understood() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut wrong = Vec::new();
    for (folder, at_least) in [("", 50), ("docs", 120), ("examples", 0)] {
        let entries = fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap().path());
        let mut found = 0;
        for path in entries.filter(|path| path.extension().is_some_and(|extension| extension == "md")) {
            for command in commands(&fs::read_to_string(&path).unwrap()) {
                found += 1;
                if let Err(error) = check(&command) {
                    wrong.push(format!("{}: {}\n{error}", path.display(), command.join(" ")));
                }
            }
        }
        assert!(found >= at_least, "`{folder}`: found {found} commands, expected {at_least} or more");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_the_program_does_not_take_is_told() {
    let text = "A `tercet run -n 8 \"a | b\"`, `tercet bench --train`, `tercet convert A B --to FORM`.\n\n\
        ```sh\nX=1 tercet run --colour | tercet rum  # tercet rm\n```\n\n```text\ntercet rim\n```\n";
    let commands = commands(text);
    let told: Vec<bool> = commands.iter().map(|command| check(command).is_err()).collect();
    assert_eq!(told, [false, false, false, true, true], "{commands:?}");
    assert_eq!(commands[0], ["tercet", "run", "-n", "8", "a | b"]);
}

/// Why the program does not take a command.
fn check(command: &[String]) -> Result<(), String> {
    let [_, rest @ ..] = command else { return Ok(()) };
    match rest {
        [] => return Ok(()),
        [name] if Cli::command().find_subcommand(name).is_some() => return Ok(()),
        _ => {}
    }
    let parsed = Cli::try_parse_from(arguments(command.iter().map(OsString::from)));
    let Some(error) = parsed.err() else { return Ok(()) };
    let is_any = match error.get(ContextKind::InvalidValue) {
        Some(ContextValue::String(value)) if value.is_empty() => rest[rest.len() - 1].starts_with('-'),
        Some(ContextValue::String(value)) => value.chars().all(|letter| letter.is_ascii_uppercase()),
        _ => false,
    };
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Ok(()),
        ErrorKind::InvalidValue | ErrorKind::ValueValidation if is_any => Ok(()),
        _ => Err(error.to_string()),
    }
}

/// The commands of tercet in a document, each as its words.
fn commands(markdown: &str) -> Vec<Vec<String>> {
    let (mut pieces, mut paragraph, mut block) = (Vec::new(), String::new(), None);
    for line in markdown.lines().chain([""]) {
        let fence = line.trim_start().strip_prefix("```");
        if fence.is_some() || line.is_empty() {
            pieces.extend(paragraph.split('`').skip(1).step_by(2).map(str::to_owned));
            paragraph.clear();
        }
        match (fence, &mut block) {
            (Some(language), None) => block = Some((language == "sh").then(String::new)),
            (Some(_), Some(lines)) => {
                pieces.extend(lines.take());
                block = None;
            }
            (None, Some(lines)) => lines.iter_mut().for_each(|lines| lines.extend([line, "\n"])),
            (None, None) => paragraph.extend([line, " "]),
        }
    }
    pieces.iter().flat_map(|piece| shell_commands(piece)).filter_map(of_tercet).collect()
}

/// The command with its name first, if it is one of tercet.
fn of_tercet(words: Vec<String>) -> Option<Vec<String>> {
    let is_variable = |word: &&String| word.split_once('=').is_some_and(|(name, _)| !name.starts_with('-'));
    let words = &words[words.iter().take_while(is_variable).count()..];
    let cargo_run = ["cargo", "run", "--release", "--"];
    if words.iter().take(cargo_run.len()).eq(cargo_run) {
        return Some([&["tercet".to_owned()], &words[cargo_run.len()..]].concat());
    }
    (words.first()? == "tercet").then(|| words.to_vec())
}

/// Lines of a shell as the words of their commands; quotes, comments and what parts commands are understood.
fn shell_commands(text: &str) -> Vec<Vec<String>> {
    let (mut commands, mut words, mut word, mut quote) = (Vec::new(), Vec::new(), None::<String>, None);
    let mut letters = text.chars().chain(['\n']).peekable();
    while let Some(letter) = letters.next() {
        match letter {
            _ if quote == Some(letter) => quote = None,
            _ if quote.is_some() => word.get_or_insert_default().push(letter),
            '\'' | '"' => quote = Some(letter),
            '\\' => drop(letters.next()),
            '#' if word.is_none() => while letters.next_if(|next| *next != '\n').is_some() {},
            ' ' => words.extend(word.take()),
            '\n' | '|' | ';' | '&' | '<' | '>' => {
                words.extend(word.take());
                commands.push(std::mem::take(&mut words));
            }
            _ => word.get_or_insert_default().push(letter),
        }
    }
    commands
}
