//! `tercet chat`: talk with a model.
//!
//! | module | holds |
//! |---|---|
//! | `answer` | the next message of a conversation, of which only what is new is computed |
//! | `command` | what a line that starts with `/` asks for |
//! | `input` | messages from a terminal or a pipe, of one line or several |
//! | `settings` | what `/set` changes |
//! | `talk` | the conversation so far, and its file |

mod answer;
mod command;
mod input;
mod settings;
mod talk;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use tercet::generate::{FinishReason, Generated, GenerationParams};
use tercet::source::Source;
use tercet::tokenizer::Tokenizer;
use tercet_chat::Templates;
use tercet_kernels::{Isa, Pool};

use crate::failure::{Exit, Failure};
use crate::interrupt::Interrupt;
use crate::origin::Origin;
use crate::report::{Report, Speed, last_line};
use crate::sampling_flags::Sampling;
use crate::session_flags::{SessionFlags, smaller, tell_about};
use crate::teller::{Stdout, Teller};
use crate::terminal::{note, print_json};
use crate::weight_types::Weights;
use crate::{chat_template, figures, fit};
use answer::{Answer, Answerer};
use command::{Command, HELP};
use input::{Input, Message};
use settings::Settings;
use talk::Talk;

/// Talk with a model
///
/// The model must have a chat template, as instruction models do; `tercet run` continues a text with
/// any other. Answers come to stdout, all else to stderr. Where stdin is no terminal, each line of it
/// is a message. Type `/help` for what else can be done.
#[derive(Args)]
#[command(after_long_help = EXAMPLES, mut_arg("weights", |arg| arg.value_parser(Weights::of_models())))]
pub(crate) struct Chat {
    /// A model's folder, its GGUF file, or its name on the Hub [default: the small model inside, which goes on with
    /// the messages as with a story]
    #[arg(value_name = "MODEL")]
    first: Option<OsString>,
    /// A model's folder, its GGUF file, or its name on the Hub
    #[arg(short, long, value_name = "MODEL", conflicts_with = "first", help_heading = "Model")]
    model: Option<OsString>,
    /// A file with a chat template, in place of the model's
    #[arg(long, value_name = "FILE", help_heading = "Model")]
    chat_template_file: Option<PathBuf>,
    #[command(flatten)]
    session: SessionFlags,

    /// What the model is told first, before the conversation (also `-sys`)
    #[arg(long, value_name = "TEXT", visible_alias = "system-prompt", help_heading = "Chat")]
    system: Option<String>,
    /// Ask one thing, print the answer and end
    #[arg(short, long, value_name = "TEXT", help_heading = "Chat")]
    prompt: Option<String>,
    /// Print one JSON object when all is done, in place of the answer
    #[arg(long, requires = "prompt", help_heading = "Chat")]
    json: bool,
    /// Tokens of an answer at most; -1 for no limit [default: no limit]
    #[arg(short, long, value_name = "N", allow_negative_numbers = true, help_heading = "Chat")]
    #[arg(visible_alias = "predict", visible_alias = "max-tokens")]
    #[arg(value_parser = clap::value_parser!(i32).range(-1..))]
    n_predict: Option<i32>,
    /// Text that ends an answer and is left out; may be given several times
    #[arg(short = 'r', long, value_name = "TEXT", visible_alias = "reverse-prompt", help_heading = "Chat")]
    stop: Vec<String>,
    /// Say after each answer how fast it was
    #[arg(long, help_heading = "Chat")]
    verbose: bool,

    #[command(flatten)]
    sampling: Sampling,
}

const EXAMPLES: &str = "\
Examples:
  tercet chat microsoft/bitnet-b1.58-2B-4T
  tercet chat ./my-model --system \"Answer in one sentence.\"
  tercet chat ./my-model -p \"Why is the sky blue?\" --temp 0
  echo \"Why is the sky blue?\" | tercet chat ./my-model";

/// What a conversation goes on with: the model, and how it is asked.
struct Conversing<'a> {
    interrupt: &'a Interrupt,
    answerer: Answerer<'a>,
    settings: Settings,
    talk: Talk,
    stop: Vec<String>,
    verbose: bool,
    /// Whether somebody types, who can do something about what was said so far.
    is_typed: bool,
}

/// How a conversation becomes shorter for somebody who types.
const SHORTER: &str = "/clear begins anew, /undo takes the last turn back";

impl Chat {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let interrupt = Interrupt::listen();
        let isa = Isa::from_environment()?;
        let named = self.first.as_ref().or(self.model.as_ref());
        let origin = Origin::open(named.map(OsString::as_os_str), self.session.weights, self.session.head)?;
        let (source, _) = origin.files().expect("chat: weights are random for presets alone");
        let tokenizer = Tokenizer::read(source, &origin.config)?;
        let templates = self.templates(source, &tokenizer)?;
        let sampling = self.sampling.params(origin.suggested_sampling()?)?;

        let kv_type = self.session.kv.kv_type();
        let size = self.session.session_size(&origin.config, usize::MAX, usize::MAX, false);
        let need = origin.memory_need(&size, kv_type);
        fit::check(&need, &origin.name(), &smaller(&origin, &size, 1, kv_type))?;
        tell_about(&origin, size.context, isa);
        let pool = Arc::new(Pool::new(isa, self.session.threads(need.weight_bytes)));
        let model = origin.load(&pool, need.weight_bytes)?;

        let max_tokens = self.n_predict.and_then(|count| usize::try_from(count).ok());
        let mut conversing = Conversing {
            interrupt: &interrupt,
            answerer: Answerer::new(&model, size, kv_type, &tokenizer, &templates),
            settings: Settings::new(sampling, max_tokens, self.session.speculative.into()),
            talk: Talk::new(self.system.clone()),
            stop: self.stop.clone(),
            verbose: self.verbose,
            is_typed: false,
        };
        match &self.prompt {
            Some(prompt) => self.ask_once(&mut conversing, prompt, &origin, &pool),
            None => conversing.go_on(&pool),
        }
    }

    /// The templates of the file that was named, or else of the model.
    fn templates(&self, source: &Source, tokenizer: &Tokenizer) -> Result<Templates, Failure> {
        let found = chat_template::templates(source, tokenizer, self.chat_template_file.as_deref())?;
        found.ok_or_else(|| {
            let name = source.name();
            let message =
                format!("{name}: found no chat template, so it continues text and does not converse");
            let named = self.first.as_ref().or(self.model.as_ref());
            let run = named.map_or_else(String::new, |model| format!(" -m {}", model.display()));
            let hint = format!(
                "`tercet run{run} -p TEXT` continues a text; `--chat-template-file FILE` gives it a template"
            );
            Failure::message(Exit::Usage, message).with_hint(hint)
        })
    }

    fn ask_once(
        &self,
        conversing: &mut Conversing<'_>,
        prompt: &str,
        origin: &Origin,
        pool: &Pool,
    ) -> Result<ExitCode, Failure> {
        conversing.talk.ask(prompt);
        conversing.interrupt.expect();
        let answer = conversing.answer((!self.json).then(Stdout::new))?;
        let Answer { rendered, generated, told, .. } = &answer;
        let may_measure = generated.finish_reason != FinishReason::Cancelled;
        let speed = Speed::of(generated, pool, may_measure);
        let sampling = conversing.settings.last_sampling();
        if self.json {
            print_json(&Report::new(
                origin,
                pool,
                self.session.kv,
                rendered,
                &sampling,
                generated,
                told,
                &speed,
            ))?;
        }
        if !self.json {
            conversing.tell_of_end(generated);
        }
        if self.verbose {
            note(&last_line(generated, &speed, &sampling));
        }
        Ok(ExitCode::from(conversing.interrupt.exit_code().unwrap_or(0)))
    }
}

impl Conversing<'_> {
    /// Answers messages until there are no more.
    fn go_on(&mut self, pool: &Pool) -> Result<ExitCode, Failure> {
        let mut input = Input::open();
        self.is_typed = input.is_terminal();
        if self.is_typed {
            note("type a message; /help says what else, Ctrl-D ends");
        }
        loop {
            // While a message is awaited, a signal ends the program.
            if input.is_terminal() {
                self.interrupt.expect_keys();
            } else {
                self.interrupt.no_longer_expect();
            }
            let text = match input.message()? {
                Message::End => return Ok(ExitCode::SUCCESS),
                Message::Interrupted => {
                    note("Ctrl-D or /bye ends the conversation");
                    continue;
                }
                Message::Dropped => continue,
                Message::Text(text) => text,
            };
            let turns = self.talk.turns.clone();
            let is_command = text.starts_with('/');
            let asks = match Command::parse(&text) {
                None if text.trim().is_empty() => false,
                None => {
                    self.talk.ask(&text);
                    true
                }
                Some(Ok(Command::Bye)) => return Ok(ExitCode::SUCCESS),
                Some(command) => match command.and_then(|command| self.obey(command)) {
                    Ok(asks) => asks,
                    Err(message) if input.is_terminal() => {
                        note(&message);
                        false
                    }
                    Err(message) => return Err(Failure::message(Exit::Failed, message)),
                },
            };
            if !asks {
                continue;
            }
            self.interrupt.expect();
            if input.is_terminal() {
                // What came while the message was typed is not for its answer.
                self.interrupt.take_ctrl_c();
            }
            match self.answer(Some(Stdout::new())) {
                Ok(answer) => self.tell(&answer, pool),
                Err(failure) => {
                    // What could not be answered is not part of the conversation, and an answer that
                    // there was before still is.
                    self.talk.turns = turns;
                    if !input.is_terminal() {
                        return Err(failure);
                    }
                    failure.report();
                    let taken_back =
                        if is_command { "nothing has changed" } else { "the message was taken back" };
                    note(taken_back);
                }
            }
            let was_stopped = input.is_terminal() && self.interrupt.take_ctrl_c();
            if !was_stopped && let Some(code) = self.interrupt.exit_code() {
                return Ok(ExitCode::from(code));
            }
        }
    }

    /// Does what a command asks; whether an answer is wanted now.
    fn obey(&mut self, command: Command) -> Result<bool, String> {
        match command {
            Command::Bye => {}
            Command::Help => note(HELP),
            Command::Show => {
                let Talk { system, turns } = &self.talk;
                let system = system.as_deref().unwrap_or("none");
                let messages = self.talk.messages();
                // A conversation that the template refuses has no tokens.
                let encoded = (!messages.is_empty()).then(|| self.answerer.encode(&messages, false));
                let tokens = encoded.and_then(Result::ok).map_or(0, |(_, tokens)| tokens.len());
                let context = self.answerer.context();
                note(&format!(
                    "{}\nsystem            {system}\nmessages          {}\ntokens            {tokens} of {context}",
                    self.settings,
                    turns.len()
                ));
            }
            Command::Set(key, value) => {
                self.settings.set(&key, &value)?;
                note(&format!("{key} is {value}"));
            }
            Command::System(text) => {
                note(if text.is_some() { "told first from now on" } else { "nothing is told first" });
                self.talk.system = text;
            }
            Command::Clear => {
                self.talk.turns.clear();
                let stays = if self.talk.system.is_some() { "; what is told first stays" } else { "" };
                note(&format!("begun anew{stays}"));
            }
            Command::Undo => {
                if !self.talk.undo() {
                    return Err("there is nothing to undo".to_owned());
                }
                let left = figures::number_of(self.talk.turns.len(), "message");
                note(&format!("the last message and its answer are taken back: {left} left"));
            }
            Command::Regenerate => {
                if !self.talk.forget_answer() {
                    return Err("there is nothing to answer".to_owned());
                }
                return Ok(true);
            }
            Command::Save(file) => {
                self.talk.save(&file)?;
                note(&format!("saved to {}", file.display()));
            }
            Command::Load(file) => {
                self.talk = Talk::load(&file)?;
                let messages = figures::number_of(self.talk.turns.len(), "message");
                note(&format!("{messages} from {}", file.display()));
            }
        }
        Ok(false)
    }

    /// Answers the last message, and takes the answer into the conversation.
    fn answer(&mut self, stdout: Option<Stdout>) -> Result<Answer, Failure> {
        let params = GenerationParams {
            max_tokens: self.settings.max_tokens(),
            sampling: self.settings.next_sampling(),
            stop: self.stop.clone(),
            ignore_eos: false,
            all_logits: false,
            speculative: self.settings.speculative(),
        };
        let teller = Teller {
            interrupt: self.interrupt,
            stdout,
            shows_tokens: false,
            digest: None,
            text: String::new(),
        };
        let shorter = if self.is_typed { SHORTER } else { "shorten the conversation" };
        let answer = self.answerer.answer(&self.talk.messages(), &params, teller, shorter)?;
        self.talk.answer(&answer.told.text);
        Ok(answer)
    }

    /// Says on stderr what somebody should know of an answer.
    fn tell(&self, answer: &Answer, pool: &Pool) {
        self.tell_of_end(&answer.generated);
        if self.verbose {
            let speed = Speed::of(&answer.generated, pool, true);
            let line = last_line(&answer.generated, &speed, &self.settings.last_sampling());
            note(&format!("{line} · {} kept", figures::number_of(answer.kept, "token")));
        }
    }

    /// Says on stderr where an answer is not whole, and why.
    fn tell_of_end(&self, generated: &Generated) {
        match generated.finish_reason {
            FinishReason::Context => {
                let way_out = if self.is_typed { format!("; {SHORTER}") } else { String::new() };
                note(&format!("the context is full and the answer cut off{way_out}"));
            }
            FinishReason::Length => {
                let tokens = figures::number_of(self.settings.max_tokens(), "token");
                let way_out = if self.is_typed { "; `/set n_predict N` changes it" } else { "" };
                note(&format!("the answer is cut off after {tokens}, as `n_predict` says{way_out}"));
            }
            FinishReason::Stop | FinishReason::Cancelled => {}
        }
    }
}
