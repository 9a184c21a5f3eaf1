//! Which files of a repository a model needs, told by their names.
//!
//! Weights are `model.safetensors`, or the files of its index, or one GGUF file. Pickled weights are never
//! taken: reading them can run code.

use std::path::{Path, PathBuf};

use glob::Pattern;
use tercet::checkpoint::{INDEX_FILE, SINGLE_FILE};
use tercet::folder_files::{EXTRA_FILES, RUN_FILES};
use tercet::source::{has_gguf_extension, has_pickle_extension};
use tercet::tokenizer::named_template;

/// Parts of GGUF files' names that say what tercet runs, the best first.
const GGUF_TYPES: [&[&str]; 3] = [&["i2_s"], &["tq2_0"], &["tq1_0"]];

/// Patterns of names, in place of what a model needs.
#[derive(Debug, Default)]
pub(crate) struct Patterns {
    pub(crate) include: Vec<Pattern>,
    pub(crate) exclude: Vec<Pattern>,
}

impl Patterns {
    /// Whether a model's files are chosen by what it needs alone.
    pub(crate) fn are_none(&self) -> bool {
        self.include.is_empty() && self.exclude.is_empty()
    }

    /// Whether a name matches, and is not left out.
    pub(crate) fn takes(&self, name: &str) -> bool {
        let matches = |patterns: &[Pattern]| patterns.iter().any(|pattern| pattern.matches(name));
        (self.include.is_empty() || matches(&self.include)) && !matches(&self.exclude)
    }
}

/// A pattern of the command line; as elsewhere, `folder/` means all that is in it.
pub(crate) fn pattern(text: &str) -> Result<Pattern, String> {
    let whole = if text.ends_with('/') { format!("{text}*") } else { text.to_owned() };
    Pattern::new(&whole).map_err(|error| error.to_string())
}

/// What is the model, once its files are there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Main {
    /// The folder of its files.
    Folder,
    /// The GGUF file of this name.
    Gguf(String),
}

impl Main {
    pub(crate) fn path(&self, folder: &Path) -> PathBuf {
        match self {
            Self::Folder => folder.to_path_buf(),
            Self::Gguf(name) => folder.join(name),
        }
    }
}

/// The files of a model.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Needed {
    pub(crate) main: Main,
    /// Without these it does not run as it should. Those of an index are not among them.
    pub(crate) run: Vec<String>,
    /// These are taken along.
    pub(crate) extra: Vec<String>,
}

impl Needed {
    /// Whether the rest of the files is named in an index.
    pub(crate) fn has_index(&self) -> bool {
        self.run.iter().any(|name| name == INDEX_FILE)
    }
}

/// Why no files can be chosen.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unclear {
    /// No weights in any format that is read; whether there are pickled ones.
    NoWeights { has_pickles: bool },
    /// Several GGUF files, and nothing that tells which is meant.
    SeveralGguf(Vec<String>),
    /// No name matches the patterns.
    NoMatch,
}

/// Chooses among the names of a repository's files.
pub(crate) fn choose(names: &[&str], patterns: &Patterns) -> Result<Needed, Unclear> {
    let is_pickle = |name: &str| has_pickle_extension(Path::new(name));
    let taken: Vec<&str> =
        names.iter().copied().filter(|name| !is_pickle(name) && patterns.takes(name)).collect();
    if !patterns.include.is_empty() {
        return included(&taken);
    }
    let of = |list: &[&str]| -> Vec<String> {
        list.iter().filter(|name| taken.contains(name)).map(|name| (*name).to_owned()).collect()
    };
    let weights = [SINGLE_FILE, INDEX_FILE].into_iter().find(|name| names.contains(name));
    let (main, weights) = match weights {
        Some(weights) => (Main::Folder, of(&[weights])),
        None => {
            let gguf: Vec<&str> = taken.iter().copied().filter(|name| is_gguf(name)).collect();
            let has_pickles = names.iter().any(|name| is_pickle(name));
            let name = choose_gguf(&gguf).ok_or_else(|| match gguf.is_empty() {
                true => Unclear::NoWeights { has_pickles },
                false => Unclear::SeveralGguf(gguf.iter().map(|name| (*name).to_owned()).collect()),
            })?;
            (Main::Gguf(name.to_owned()), vec![name.to_owned()])
        }
    };
    let run = match main {
        Main::Folder => [of(&RUN_FILES), weights].concat(),
        Main::Gguf(_) => weights,
    };
    let is_template = |name: &&str| named_template(name).is_some() && !RUN_FILES.contains(name);
    let templates: Vec<&str> = taken.iter().copied().filter(is_template).collect();
    Ok(Needed { main, run, extra: [of(&EXTRA_FILES), of(&templates)].concat() })
}

/// What was named, no more and no less.
fn included(taken: &[&str]) -> Result<Needed, Unclear> {
    let gguf: Vec<&str> = taken.iter().copied().filter(|name| is_gguf(name)).collect();
    let main = match gguf[..] {
        [name] if !taken.contains(&SINGLE_FILE) && !taken.contains(&INDEX_FILE) => {
            Main::Gguf(name.to_owned())
        }
        _ => Main::Folder,
    };
    if taken.is_empty() {
        return Err(Unclear::NoMatch);
    }
    Ok(Needed { main, run: Vec::new(), extra: taken.iter().map(|name| (*name).to_owned()).collect() })
}

/// The only GGUF file, or the only one of the best type.
pub(crate) fn choose_gguf<'a>(names: &[&'a str]) -> Option<&'a str> {
    if let [name] = names {
        return Some(name);
    }
    let of_type = |parts: &[&str]| -> Vec<&'a str> {
        let is_of = |name: &&&str| parts.iter().any(|part| name.to_ascii_lowercase().contains(part));
        names.iter().filter(is_of).copied().collect()
    };
    let best = GGUF_TYPES.iter().map(|parts| of_type(parts)).find(|found| !found.is_empty())?;
    match best[..] {
        [name] => Some(name),
        _ => None,
    }
}

pub(crate) fn is_gguf(name: &str) -> bool {
    has_gguf_extension(Path::new(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(include: &[&str], exclude: &[&str]) -> Patterns {
        let all = |texts: &[&str]| texts.iter().map(|text| pattern(text).unwrap()).collect();
        Patterns { include: all(include), exclude: all(exclude) }
    }

    #[test]
    fn a_folder_is_taken_without_what_nobody_reads() {
        let names = [
            "config.json",
            "tokenizer.json",
            "tokenizer_config.json",
            "additional_chat_templates/tool_use.jinja",
            "additional_chat_templates/rag.jinja",
            "model.safetensors",
            "README.md",
            "NOTICE",
            "added_tokens.json",
            "model.safetensors.index.json",
            "pytorch_model.bin",
            "training_args.pt",
            "onnx/model.onnx",
            "x.gguf",
        ];
        let found = choose(&names, &Patterns::default()).unwrap();
        assert_eq!(found.main, Main::Folder);
        assert_eq!(
            found.run,
            [
                "config.json",
                "tokenizer.json",
                "tokenizer_config.json",
                "additional_chat_templates/tool_use.jinja",
                "model.safetensors",
            ]
        );
        let template = "additional_chat_templates/rag.jinja";
        assert_eq!(found.extra, ["added_tokens.json", "README.md", "NOTICE", template]);
        assert!(!found.has_index(), "one file and an index beside it are no model");
        let found = choose(&["config.json", INDEX_FILE], &Patterns::default()).unwrap();
        assert!(found.has_index());
        let found = choose(&names, &patterns(&[], &["README*", "tokenizer_*", "additional_*"])).unwrap();
        assert_eq!(found.run, ["config.json", "tokenizer.json", "model.safetensors"]);
        assert_eq!(found.extra, ["added_tokens.json", "NOTICE"]);
    }

    #[test]
    fn the_best_gguf_file_is_taken_if_that_is_clear() {
        let check = |names: &[&str], want: Option<&str>| {
            let found = choose(names, &Patterns::default()).ok().map(|needed| needed.main);
            assert_eq!(found, want.map(|want| Main::Gguf(want.to_owned())), "{names:?}");
        };
        check(&["only-q4_k_m.gguf"], Some("only-q4_k_m.gguf"));
        check(&["a-f16.gguf", "ggml-model-i2_s.gguf", "a-tq2_0.gguf"], Some("ggml-model-i2_s.gguf"));
        check(&["a-TQ1_0.gguf", "a-TQ2_0.gguf", "a-f16.gguf"], Some("a-TQ2_0.gguf"));
        check(&["a-I2_S.GGUF", "a-f16.Gguf"], Some("a-I2_S.GGUF"));
        check(&["a-i2_s.gguf", "b-i2_s.gguf"], None);
        check(&["a-f16.gguf", "a-q8_0.gguf"], None);
        let several = choose(&["a-f16.gguf", "a-q8_0.gguf"], &patterns(&[], &["*q8*"])).unwrap();
        assert_eq!(several.main, Main::Gguf("a-f16.gguf".to_owned()));
    }

    #[test]
    fn pickles_are_never_taken() {
        let names = ["config.json", "pytorch_model.bin", "a.PT"];
        let want = Err(Unclear::NoWeights { has_pickles: true });
        assert_eq!(choose(&names, &Patterns::default()), want);
        assert_eq!(choose(&names, &patterns(&["*.bin", "*.PT"], &[])), Err(Unclear::NoMatch));
        let want = Err(Unclear::NoWeights { has_pickles: false });
        assert_eq!(choose(&["config.json"], &Patterns::default()), want);
    }

    #[test]
    fn what_is_included_is_all_that_is_taken() {
        let names = ["config.json", "a/b.json", "x-tq2_0.gguf", "y.gguf", "README.md"];
        let found = choose(&names, &patterns(&["*.json"], &["config*"])).unwrap();
        assert_eq!((found.main, found.extra), (Main::Folder, vec!["a/b.json".to_owned()]));
        let found = choose(&names, &patterns(&["*tq2*"], &[])).unwrap();
        assert_eq!(found.main, Main::Gguf("x-tq2_0.gguf".to_owned()));
        assert_eq!(choose(&names, &patterns(&["*.gguf"], &[])).unwrap().main, Main::Folder);
        assert_eq!(choose(&names, &patterns(&["a/"], &[])).unwrap().extra, ["a/b.json"]);
        assert!(pattern("a[").is_err());
    }
}
