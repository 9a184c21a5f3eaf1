//! Flags of other programs, as `docs/migrating.md` lists them, with what takes their place here.
//!
//! llama.cpp has flags of one dash and several letters, which would be read as something else: `-ngl 99` as `-n gl`,
//! and `-hf` as the flag for help. They are refused before the arguments are parsed; all others when a command turns
//! out not to have them.

use std::ffi::OsString;

use crate::failure::{Exit, Failure};

/// Flags, for which commands (none: for all), and what to do.
struct Flags {
    commands: &'static [&'static str],
    names: &'static [&'static str],
    /// `COMMAND` stands for the command, `NAME` for the value of the flag.
    hint: &'static str,
}

const fn flags(
    commands: &'static [&'static str],
    names: &'static [&'static str],
    hint: &'static str,
) -> Flags {
    Flags { commands, names, hint }
}

const ALL: &[&str] = &[];
const TALKING: &[&str] = &["run", "chat"];
const NO_GPU: &str = "there is no GPU here: leave it out";
const ONE_KV: &str = "`--kv f32`, `--kv f16` or `--kv int8` is for keys and values both";
const NAME_ALONE: &str = "it is not needed: `tercet COMMAND NAME`";
const OF_SERVER: &str = "it is a flag of `tercet serve`; nothing listens here";
const OF_REQUEST: &str = "each request says it (`temperature`, `top_k`, `top_p`, `min_p`, `seed`, `stop`, `ignore_eos`, \
                          `repetition_penalty`, …); without it the model's `generation_config.json` does";
const PROMPT_OF_REQUEST: &str = "each request brings its own `prompt` or `messages`";
const OWN_TEMPLATE: &str = "a model's own template is used, always by Jinja: leave it out, or take another by \
                            `--chat-template-file FILE` of `tercet chat` and `tercet serve`";
const NO_DRAFTS: &str = "there are no draft models; `--speculative lookup` of `tercet run` and `tercet chat` drafts from the \
                         text itself";
const NO_SAMPLER: &str = "there is no such way to choose a token: leave it out";
const SCHEMA: &str = "`response_format` of a request to `tercet serve` takes a JSON schema";
const NO_ADAPTERS: &str = "adapters and images are not read: take a model that has them merged into it";
const PROXY: &str = "a proxy before the server does it: see docs/deploy.md";
const ONE_MACHINE: &str = "one processor does all the work: leave it out";
const PLACEMENT: &str = "there is nothing to choose: leave it out";
const LOGS: &str = "`tercet serve` has `--log-level` and `--log-json`; other commands tell little, on stderr";
const TOOLS: &str = "tools are always on, in the form that the model's template tells: leave it out";
const POSITIONS: &str =
    "positions are as the model's `config.json` has them, and a full context ends the text: leave it out";

const LLAMA_CPP: &[Flags] = &[
    flags(ALL, &["-m", "--model"], "MODEL is the first argument: `tercet COMMAND MODEL`"),
    flags(ALL, &["-hf", "-hfr", "--hf-repo"], NAME_ALONE),
    flags(ALL, &["-hff", "--hf-file"], "`tercet pull org/name --include FILE` prints the path to run"),
    flags(ALL, &["-hft", "--hf-token"], "a token of the Hub is taken from the variable `HF_TOKEN`"),
    flags(ALL, &["--offline"], "the variable `HF_HUB_OFFLINE=1` forbids the network"),
    flags(
        ALL,
        &["-mu", "--model-url", "-dr", "--docker-repo"],
        "a MODEL is a folder, a `.gguf` file or `org/name` on the Hub: fetch a file from elsewhere first",
    ),
    flags(
        ALL,
        &["-cnv", "--conversation"],
        "`tercet chat` always converses, `tercet run` never: leave it out",
    ),
    flags(
        ALL,
        &["-no-cnv", "-nocnv", "--no-conversation"],
        "`tercet run` continues a text and never converses: leave it out",
    ),
    flags(ALL, &["-st", "--single-turn"], "`tercet chat -p TEXT` asks one thing and ends"),
    flags(
        &["run", "serve"],
        &["-i", "--interactive", "-if", "--interactive-first"],
        "`tercet chat` talks in a terminal",
    ),
    flags(
        ALL,
        &["-i", "--interactive", "-if", "--interactive-first"],
        "without `-p` `tercet chat` waits for messages: leave it out",
    ),
    flags(
        ALL,
        &["-e", "--escape", "--no-escape"],
        "a text is taken as it is; a shell's `$'…\\n…'` has line ends",
    ),
    flags(ALL, &["--color", "-co"], "the variable `NO_COLOR` alone says it: leave it out"),
    flags(ALL, &["--warmup", "--no-warmup", "--simple-io", "--perf", "--no-perf", "--special"], PLACEMENT),
    flags(&["serve"], &["-p", "--prompt", "-f", "--file"], PROMPT_OF_REQUEST),
    flags(
        &["chat"],
        &["-f", "--file"],
        "`tercet chat < FILE` answers each line of a file, `-p TEXT` asks one thing, and `/load FILE` goes on with a \
         conversation",
    ),
    flags(&["serve"], &["-n", "--n-predict", "--predict"], "`max_tokens` of a request says it"),
    flags(ALL, &["-tb", "--threads-batch"], "`-t` is for prompts too"),
    flags(ALL, &["-ub", "--ubatch-size"], "`-b` alone says how many tokens are computed together"),
    flags(
        &["serve"],
        &[
            "-s",
            "--seed",
            "--temp",
            "--temperature",
            "--top-k",
            "--top-p",
            "--min-p",
            "--presence-penalty",
            "--frequency-penalty",
            "--repeat-penalty",
            "--ignore-eos",
            "-r",
            "--reverse-prompt",
        ],
        OF_REQUEST,
    ),
    flags(&["chat"], &["--ignore-eos"], "an answer ends where the model ends it; `tercet run` has this flag"),
    flags(ALL, &["--repeat-last-n"], "`--repeat-penalty` is over the whole text: leave it out"),
    flags(
        ALL,
        &[
            "--mirostat",
            "--mirostat-lr",
            "--mirostat-ent",
            "--typical",
            "--typical-p",
            "--xtc-probability",
            "--xtc-threshold",
            "--dry-multiplier",
            "--dry-base",
            "--dry-allowed-length",
            "--dry-penalty-last-n",
            "--dynatemp-range",
            "--dynatemp-exp",
            "--samplers",
            "--sampling-seq",
            "--sampler-seq",
            "--top-n-sigma",
        ],
        NO_SAMPLER,
    ),
    flags(ALL, &["-l", "--logit-bias"], "`logit_bias` of a request to `tercet serve` takes it"),
    flags(ALL, &["-j", "-jf", "--json-schema", "--json-schema-file", "--grammar", "--grammar-file"], SCHEMA),
    flags(&["run"], &["-sys", "--system", "--system-prompt"], "`tercet chat --system TEXT` takes it"),
    flags(&["serve"], &["-sys", "--system", "--system-prompt"], "a message with the role `system` says it"),
    flags(ALL, &["-sysf", "--system-prompt-file"], "`tercet chat --system \"$(cat FILE)\"` takes it"),
    flags(ALL, &["--chat-template", "--jinja", "--no-jinja", "--chat-template-file"], OWN_TEMPLATE),
    flags(ALL, &["-ctk", "-ctv", "-ctkd", "-ctvd", "--cache-type-k", "--cache-type-v"], ONE_KV),
    flags(TALKING, &["--spec-type"], "`--speculative lookup` takes its place"),
    flags(
        &["pull"],
        &["-md", "--model-dir", "-hr"],
        "`tercet pull org/name` fetches into the Hub's cache, and prints the path",
    ),
    flags(
        ALL,
        &[
            "--spec-type",
            "-md",
            "--model-draft",
            "--spec-draft-model",
            "--draft",
            "--draft-max",
            "--draft-min",
        ],
        NO_DRAFTS,
    ),
    flags(
        ALL,
        &[
            "-ngl",
            "--n-gpu-layers",
            "--gpu-layers",
            "-ngld",
            "-mg",
            "--main-gpu",
            "-sm",
            "--split-mode",
            "-ts",
            "--tensor-split",
            "-dev",
            "--device",
            "-ot",
            "--override-tensor",
            "-cmoe",
            "--cpu-moe",
            "-ncmoe",
            "--n-cpu-moe",
            "-nkvo",
            "--no-kv-offload",
            "--op-offload",
            "--no-op-offload",
        ],
        NO_GPU,
    ),
    flags(ALL, &["--rpc"], ONE_MACHINE),
    flags(ALL, &["-fa", "--flash-attn"], "there is one way of attention here: leave it out"),
    flags(
        ALL,
        &[
            "-lm",
            "--load-mode",
            "-mmp",
            "--mmap",
            "--no-mmap",
            "--mlock",
            "--direct-io",
            "--numa",
            "-C",
            "--cpu-mask",
            "-Cr",
            "--cpu-range",
            "--cpu-strict",
            "--prio",
            "--poll",
            "--repack",
            "--no-repack",
        ],
        PLACEMENT,
    ),
    flags(ALL, &["--lora", "--lora-scaled", "--control-vector", "--mmproj", "--mmproj-url"], NO_ADAPTERS),
    flags(
        ALL,
        &[
            "--rope-scaling",
            "--rope-scale",
            "--rope-freq-base",
            "--rope-freq-scale",
            "--yarn-orig-ctx",
            "--context-shift",
            "--no-context-shift",
            "--keep",
        ],
        POSITIONS,
    ),
    flags(
        ALL,
        &["-cb", "-nocb", "--cont-batching", "--no-cont-batching"],
        "`tercet serve` always computes requests together: leave it out",
    ),
    flags(
        TALKING,
        &[
            "-np",
            "--parallel",
            "--host",
            "--port",
            "--api-key",
            "--api-key-file",
            "-a",
            "--alias",
            "--cors-origins",
        ],
        OF_SERVER,
    ),
    flags(
        ALL,
        &["--cache-prompt", "--no-cache-prompt"],
        "`tercet serve` keeps beginnings of prompts unless `--no-prefix-cache` is given",
    ),
    flags(ALL, &["--cache-ram", "-cram"], "`--cache-memory 4G` of `tercet serve` bounds keys and values"),
    flags(
        ALL,
        &["--metrics", "--embeddings", "--embedding", "--props"],
        "`tercet serve` always answers at this route: leave it out",
    ),
    flags(ALL, &["--slots", "--no-slots"], "`/metrics` of `tercet serve` has what is at work: leave it out"),
    flags(
        ALL,
        &["--slot-save-path", "--rerank", "--reranking", "--tools", "--models-dir"],
        "there is none here; the routes that there are stand in docs/serve.md",
    ),
    flags(ALL, &["--ssl-key-file", "--ssl-cert-file", "--api-prefix"], PROXY),
    flags(
        ALL,
        &["--timeout", "-to"],
        "`tercet serve` has one for each thing that can be late: `--header-timeout`, `--body-timeout`, \
         `--write-timeout`",
    ),
    flags(
        ALL,
        &["-lv", "-v", "--verbosity", "--log-verbosity", "--log-jsonl", "--log-file", "--log-disable"],
        LOGS,
    ),
    flags(&["bench"], &["-pg"], "`-p` and `-n` are measured apart"),
    flags(&["bench"], &["-npp"], "`-p` takes its place"),
    flags(&["bench"], &["-ntg"], "`-n` takes its place"),
    flags(&["bench"], &["-npl"], "`--parallel` takes its place"),
    flags(&["eval"], &["--ppl-stride"], "`--method strided --stride N` takes its place"),
    flags(
        &["eval"],
        &["--winogrande", "--hellaswag"],
        "`--tasks winogrande,hellaswag --data hub` takes its place",
    ),
    flags(&["convert"], &["--outtype"], "`--to FORM` says it, as `--to gguf-f16`"),
    flags(
        &["convert"],
        &["--outfile"],
        "the second argument is the file: `tercet convert SRC DST --to FORM`",
    ),
    flags(&["convert"], &["--token-embedding-type"], "`--head q6_k` takes its place"),
];

const BITNET_CPP: &[Flags] = &[
    flags(
        ALL,
        &["--quant-embd"],
        "`--head q6` takes its place when a model is loaded, `--head q6_k` in a file",
    ),
    flags(ALL, &["--use-pretuned"], "there is nothing to tune: leave it out"),
    flags(ALL, &["--model-size"], "`--preset` names a size"),
    flags(
        TALKING,
        &["-q", "--quant-type"],
        "a file is run as it is; `tercet convert SRC DST --to gguf-i2_s` makes one of another type",
    ),
];

const OLLAMA: &[Flags] = &[
    flags(ALL, &["--format"], SCHEMA),
    flags(ALL, &["-f"], "there are no Modelfiles: docs/migrating.md has what takes the place of their lines"),
    flags(
        ALL,
        &["--keepalive", "--nowordwrap", "--think", "--hidethinking", "--insecure"],
        "there is none here: leave it out",
    ),
];

const VLLM: &[Flags] = &[
    flags(ALL, &["--revision"], "it is part of the name: `tercet COMMAND org/name@NAME`"),
    flags(
        ALL,
        &["--gpu-memory-utilization", "--kv-cache-memory-bytes"],
        "`--cache-memory 4G` of `tercet serve` bounds keys and values, in the machine's own memory",
    ),
    flags(ALL, &["--kv-cache-dtype"], "`--kv int8` takes its place, also `f16` and `f32`"),
    flags(
        ALL,
        &["--enable-prefix-caching", "--no-enable-prefix-caching"],
        "`tercet serve` keeps beginnings of prompts unless `--no-prefix-cache` is given",
    ),
    flags(ALL, &["--enable-auto-tool-choice", "--tool-call-parser"], TOOLS),
    flags(ALL, &["--allowed-origins"], "`--cors-origins` of `tercet serve` takes its place"),
    flags(ALL, &["--download-dir"], "the variable `HF_HUB_CACHE` names the folder"),
    flags(
        ALL,
        &["-tp", "--tensor-parallel-size", "-pp", "--pipeline-parallel-size", "-dp", "--data-parallel-size"],
        ONE_MACHINE,
    ),
    flags(
        ALL,
        &["--dtype", "--quantization"],
        "a model's files say what its numbers are: leave it out; `--kv` and `--head` have fewer bits",
    ),
    flags(ALL, &["--enable-lora"], NO_ADAPTERS),
    flags(ALL, &["--speculative-config"], NO_DRAFTS),
    flags(ALL, &["--trust-remote-code"], "no code of a model is run: leave it out"),
    flags(ALL, &["--ssl-keyfile", "--ssl-certfile"], PROXY),
];

const PROGRAMS: &[(&str, &[Flags])] =
    &[("llama.cpp", LLAMA_CPP), ("bitnet.cpp", BITNET_CPP), ("vLLM", VLLM), ("Ollama", OLLAMA)];

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
