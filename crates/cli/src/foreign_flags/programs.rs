//! The flags of each program.

/// Flags, for which commands (none: for all), and what to do.
pub(super) struct Flags {
    pub(super) commands: &'static [&'static str],
    pub(super) names: &'static [&'static str],
    /// `COMMAND` stands for the command, `NAME` for the value of the flag.
    pub(super) hint: &'static str,
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
pub(super) const NO_GPU: &str = "there is no GPU here: leave it out";
pub(super) const ONE_KV: &str = "`--kv f32`, `--kv f16` or `--kv int8` is for keys and values both";
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
const PREFIXES: &str = "`tercet serve` keeps beginnings of prompts unless `--no-prefix-cache` is given";

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
    flags(ALL, &["--cache-prompt", "--no-cache-prompt"], PREFIXES),
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
    flags(ALL, &["--enable-prefix-caching", "--no-enable-prefix-caching"], PREFIXES),
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

/// Programs, with their flags.
pub(super) const PROGRAMS: &[(&str, &[Flags])] =
    &[("llama.cpp", LLAMA_CPP), ("bitnet.cpp", BITNET_CPP), ("vLLM", VLLM), ("Ollama", OLLAMA)];
