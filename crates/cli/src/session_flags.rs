//! The flags that say how a model is held in memory and computed, for commands that generate text.

use clap::Args;
use tercet::config::Config;
use tercet::generate::MAX_DRAFT;
use tercet::model::{MemoryNeed, PROMPT_ROWS, SessionSize};
use tercet_kernels::{Isa, KvType};

use crate::drafts::Drafts;
use crate::flag_bounds::{BATCH_MAX, CONTEXT_MAX, THREADS_MAX};
use crate::origin::{self, Origin};
use crate::terminal::note;
use crate::weight_types::{Head, Kv, Weights};

/// How a model is held and computed
#[derive(Args)]
#[command(next_help_heading = "Model")]
pub(crate) struct SessionFlags {
    /// How ternary weights lie in memory; the text is the same
    #[arg(long, value_name = "BITS", default_value = "2bit")]
    pub(crate) weights: Weights,
    /// Numbers of the vocabulary projection: fewer bits are another function, close to the trained
    /// one, and most of the bytes of a token
    #[arg(long, value_name = "TYPE", default_value = "model")]
    pub(crate) head: Head,
    /// Numbers of the cache of keys and values; a close choice of a token may turn with it
    #[arg(long, value_name = "TYPE", default_value = "f16")]
    pub(crate) kv: Kv,
    /// Positions there is room for; 0 for all the model was trained for [default: those, at most
    /// 4096]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(..=CONTEXT_MAX))]
    ctx_size: Option<u32>,
    /// Threads [default: the cores this process may use, fewer for a small model]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=THREADS_MAX))]
    threads: Option<u16>,
    /// Tokens of the prompt that are computed together, with drafts at least 8; the text is the same
    #[arg(short, long, value_name = "N", default_value_t = PROMPT_ROWS as u32)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=BATCH_MAX))]
    batch_size: u32,
    /// Draft several tokens and check them in one pass; the text is the same, sooner where it repeats
    /// itself
    #[arg(long, value_name = "HOW", default_value = "off")]
    pub(crate) speculative: Drafts,
}

impl SessionFlags {
    /// Room for no more than `positions`, and for a prompt of so many tokens in one go.
    pub(crate) fn session_size(
        &self,
        config: &Config,
        prompt: usize,
        positions: usize,
        is_all_logits: bool,
    ) -> SessionSize {
        let context = origin::context(config, self.ctx_size);
        let draft_rows = match self.speculative {
            Drafts::Off => 1,
            Drafts::Lookup => 1 + MAX_DRAFT,
        };
        let max_rows = prompt.min(self.batch_size as usize).max(draft_rows);
        SessionSize {
            context: context.min(positions),
            max_rows,
            max_logit_rows: if is_all_logits { max_rows } else { draft_rows },
        }
    }

    pub(crate) fn threads(&self, weight_bytes: u64) -> usize {
        origin::threads(self.threads, weight_bytes)
    }
}

/// Flags that make what is run smaller, the least change first, and what it takes with each. A context has
/// room for more than `positions`, and for no more than the model was trained for.
pub(crate) fn smaller(
    origin: &Origin,
    size: &SessionSize,
    positions: usize,
    kv_type: KvType,
) -> Vec<(String, MemoryNeed)> {
    let trained = origin.config.max_position_embeddings;
    let contexts = std::iter::successors(Some(size.context), |context| Some((context / 2).min(trained)));
    let contexts: Vec<usize> = contexts.take_while(|context| *context > positions).collect();
    let few_bits = (Weights::BaseThree, Head::Q6);
    let mut others = Vec::new();
    for (flags, (weights, head)) in [("", origin.weight_flags()), ("--weights 1.6bit --head q6", few_bits)] {
        for context in &contexts {
            let size = SessionSize { context: *context, ..*size };
            let context =
                if size.context == contexts[0] { String::new() } else { format!("--ctx-size {context}") };
            let flags = [flags, &context].join(" ").trim().to_owned();
            others.push((flags, origin.memory_need_of(weights, head, &size, kv_type)));
        }
    }
    others
}

/// What to do where `needed` positions are more than the context has: make the text `shorter`, or the context larger,
/// but never without a word beyond what the model was trained for.
pub(crate) fn room_hint(shorter: &str, needed: usize, trained: usize) -> String {
    if needed <= trained {
        format!("{shorter}, or raise `--ctx-size`: the model was trained for {trained} positions")
    } else {
        format!(
            "{shorter}: the model was trained for {trained} positions, and a greater `--ctx-size` goes beyond them"
        )
    }
}

/// Says on stderr what somebody should know who reads the text.
pub(crate) fn tell_about(origin: &Origin, context: usize, isa: Isa) {
    origin.introduce();
    origin.tell_of_positions(context);
    if isa == Isa::scalar() && isa == Isa::best() {
        note("this CPU has no instruction set that is made use of: the portable way is right and slow");
    }
}
