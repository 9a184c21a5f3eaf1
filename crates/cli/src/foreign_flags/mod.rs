//! Flags of other programs, as `docs/migrating.md` lists them, with what takes their place here.
//!
//! llama.cpp has flags of one dash and several letters, which would be read as something else: `-ngl 99` as `-n gl`,
//! and `-hf` as the flag for help. They are refused before the arguments are parsed; all others when a command turns
//! out not to have them.

mod programs;

use std::ffi::OsString;

use crate::failure::{Exit, Failure};
use programs::{Flags, PROGRAMS};

/// Refuses the first flag of one dash and several letters that is another program's.
///
/// # Errors
/// Exit code 2.
pub(crate) fn check(arguments: &[OsString]) -> Result<(), Failure> {
    let (command, words) = command_and_words(arguments);
    // Where a command has them, they are known by another name.
    let is_known = |flag: &str| crate::ALIASES.iter().any(|(alias, _)| *alias == flag);
    let is_misread = |flag: &&str| flag.starts_with('-') && !flag.starts_with("--") && flag.len() > 2;
    let of_others = words.iter().copied().filter(|flag| is_misread(flag) && !is_known(flag));
    let mut of_others = of_others.filter_map(|flag| refusal(command, flag, arguments));
    of_others.next().map_or(Ok(()), Err)
}

/// The refusal of a flag that a command has not, with what takes its place; none if it is no known program's.
pub(crate) fn refusal(command: &str, flag: &str, arguments: &[OsString]) -> Option<Failure> {
    let is_for = |flags: &&Flags| flags.commands.is_empty() || flags.commands.contains(&command);
    let (program, flags) = PROGRAMS.iter().find_map(|(program, all)| {
        Some(program).zip(all.iter().filter(is_for).find(|flags| flags.names.contains(&flag)))
    })?;
    let (_, words) = command_and_words(arguments);
    let place = words.iter().position(|word| *word == flag);
    let value = place.and_then(|at| words.get(at + 1)).filter(|word| !word.starts_with('-'));
    // llama.cpp's name of a type, as in `org/name:Q4_K_M`, is none of the Hub.
    let name = value.and_then(|name| name.split(':').next()).unwrap_or("org/name");
    let message = format!("found {program}'s flag `{flag}`, which `tercet {command}` does not have");
    let hint = flags.hint.replace("COMMAND", command).replace("NAME", name);
    Some(Failure::message(Exit::Usage, message).with_hint(hint))
}

/// The command, and all words before the end of options.
fn command_and_words(arguments: &[OsString]) -> (&str, Vec<&str>) {
    let options = arguments.iter().take_while(|argument| *argument != "--");
    let words: Vec<&str> = options.map(|argument| argument.to_str().unwrap_or_default()).collect();
    let command = words.get(1).filter(|word| !word.starts_with('-')).unwrap_or(&"run");
    (command, words)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use clap::CommandFactory;

    use super::programs::{NO_GPU, ONE_KV};
    use super::*;
    use crate::Cli;

    fn arguments(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn flags_that_would_be_misread_are_refused() {
        for (line, want) in [
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
            ("tercet run -cnv x", "`tercet chat` always converses"),
            ("tercet run -no-cnv x", "never converses"),
            ("tercet chat x -st", "-p TEXT"),
            ("tercet serve -cb", "leave it out"),
        ] {
            let found =
                check(&arguments(line)).err().map(|failure| format!("{failure:?}")).unwrap_or_default();
            assert!(found.contains(want) && found.contains("Usage"), "`{line}`: {found}");
        }
        for line in [
            "tercet run x -n 99 -m g -f a",
            "tercet run -- -hf",
            "tercet -h",
            "tercet run -s 1",
            "tercet serve -np 8",
            "tercet run -n64 -t2",
        ] {
            assert!(check(&arguments(line)).is_ok(), "`{line}`");
        }
    }

    #[test]
    fn no_flag_that_a_command_has_is_refused_by_name() {
        for command in Cli::command().get_subcommands() {
            for argument in command.get_arguments() {
                let long = argument.get_long_and_visible_aliases().unwrap_or_default();
                let short = argument.get_short_and_visible_aliases().unwrap_or_default();
                let names = long.iter().map(|name| format!("--{name}"));
                for name in names.chain(short.iter().map(|name| format!("-{name}"))) {
                    // What only that command has is told to others.
                    let of_it = PROGRAMS.iter().flat_map(|(_, all)| all.iter());
                    let mut of_it = of_it.filter(|flags| flags.commands.contains(&command.get_name()));
                    let is_told = of_it.any(|flags| flags.names.contains(&&*name));
                    assert!(!is_told, "`tercet {}` has `{name}`", command.get_name());
                }
            }
        }
    }

    /// Cells of a line of a table.
    fn cells(line: &str) -> Vec<&str> {
        line.trim_matches('|').split('|').map(str::trim).collect()
    }

    /// What stands in backticks.
    fn code(cell: &str) -> impl Iterator<Item = &str> {
        cell.split('`').skip(1).step_by(2)
    }

    /// Commands that a cell names, or that may be meant where it names none.
    fn commands_of<'a>(cell: &'a str, section: &str) -> Vec<&'a str> {
        let known: Vec<String> =
            Cli::command().get_subcommands().map(|command| command.get_name().to_owned()).collect();
        let named = code(cell).filter_map(|code| code.strip_prefix("tercet ")?.split(' ').next());
        let named: Vec<&str> = named.filter(|name| known.iter().any(|known| known == name)).collect();
        match (named.is_empty(), section) {
            (false, _) => named,
            (true, "Ollama") => vec!["chat"],
            (true, _) => vec!["run"],
        }
    }

    #[test]
    fn each_flag_in_the_left_columns_of_the_document_is_taken_or_answered() {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/migrating.md");
        let page = fs::read_to_string(page).unwrap();
        let (mut section, mut of_table, mut count) = ("", None, 0);
        let mut wrong = Vec::new();
        for line in page.lines() {
            if let Some(title) = line.strip_prefix("## From ") {
                section = title;
            }
            if !line.starts_with('|') || section.starts_with("PyTorch") {
                of_table = None;
                continue;
            }
            let cells = cells(line);
            // The head of a table of flags names the commands; other tables do so in each line.
            let Some(commands) = &of_table else {
                of_table = Some(cells[1..].iter().flat_map(|&cell| code(cell)).collect::<Vec<_>>());
                continue;
            };
            let commands: Vec<&str> =
                commands.iter().filter_map(|command| command.strip_prefix("tercet ")).collect();
            let commands = if commands.is_empty() { commands_of(cells[1], section) } else { commands };
            let flags = code(cells[0]).flat_map(|code| code.split(' ')).filter(|word| word.starts_with('-'));
            for (flag, command) in flags.flat_map(|flag| commands.iter().map(move |command| (flag, *command)))
            {
                count += 1;
                let line = arguments(&format!("tercet {command} {flag}"));
                if refusal(command, flag, &line).is_none() && !is_taken(command, flag) {
                    wrong.push(format!("`tercet {command} {flag}`"));
                }
            }
        }
        assert!(wrong.is_empty(), "neither taken nor answered: {wrong:#?}");
        assert!(count > 150, "found {count} flags");
    }

    /// Whether a command has a flag.
    fn is_taken(command: &str, flag: &str) -> bool {
        let flag = crate::ALIASES.iter().find(|(alias, _)| *alias == flag).map_or(flag, |(_, name)| *name);
        let cli = Cli::command();
        let Some(command) = cli.find_subcommand(command) else { return false };
        command.get_arguments().any(|argument| {
            let long = argument.get_long_and_visible_aliases().unwrap_or_default();
            let short = argument.get_short_and_visible_aliases().unwrap_or_default();
            let is_short = |letter: &char| flag.strip_prefix('-') == Some(&letter.to_string());
            long.iter().any(|name| flag.strip_prefix("--") == Some(name)) || short.iter().any(is_short)
        })
    }
}
