//! Scores are those of each request by itself, however requests are ordered, grouped and batched.

use std::ops::ControlFlow;
use std::sync::Arc;

use proptest::prelude::*;
use tercet::checkpoint::Checkpoint;
use tercet::config::Config;
use tercet::embedded;
use tercet::model::{HeadType, LogitRows, Model, Session, SessionSize, WeightTypes};
use tercet::tokenizer::{TextEnds, Tokenizer};
use tercet_eval::score::{Encoder, Listener, Score, ScoredTokens, score};
use tercet_kernels::{Isa, KvType, Layout, Pool, Sequence};

struct Stories {
    model: Model,
    tokenizer: Tokenizer,
}

fn stories(threads: usize) -> Stories {
    let source = embedded::stories();
    let checkpoint = Checkpoint::open(&source).unwrap();
    let config = Config::read(&source, &checkpoint).unwrap();
    let tokenizer = Tokenizer::read(&source, &config).unwrap();
    let pool = Arc::new(Pool::new(Isa::best(), threads));
    let weights = WeightTypes { layout: Layout::TwoBit, head: HeadType::Checkpoint };
    Stories { model: Model::from_checkpoint(&checkpoint, config, pool, weights).unwrap(), tokenizer }
}

#[derive(Default)]
struct Gathered {
    scores: Vec<Option<Score>>,
    rows: usize,
    total_rows: usize,
}

impl Listener for Gathered {
    fn scored(&mut self, index: usize, score: Score) {
        assert!(self.scores[index].replace(score).is_none(), "{index} comes once");
    }

    fn progress(&mut self, rows: usize, total_rows: usize) -> ControlFlow<()> {
        (self.rows, self.total_rows) = (rows, total_rows);
        ControlFlow::Continue(())
    }
}

fn scores(model: &Model, items: &[ScoredTokens], lanes: usize, max_rows: usize) -> Vec<Score> {
    let context = items.iter().map(|item| item.input.len()).max().unwrap_or(1);
    let mut session = Session::new(model, SessionSize { context, max_rows, max_logit_rows: max_rows });
    let mut gathered = Gathered { scores: vec![None; items.len()], ..Gathered::default() };
    assert!(score(&mut session, KvType::F32, lanes, items, &mut gathered).unwrap().is_continue());
    assert!(gathered.rows <= gathered.total_rows);
    gathered.scores.into_iter().map(Option::unwrap).collect()
}

/// Each by itself, in f64, as the definition has it.
fn plain(model: &Model, item: &ScoredTokens) -> (f64, bool) {
    let rows = item.input.len();
    let mut session =
        Session::new(model, SessionSize { context: rows, max_rows: rows, max_logit_rows: rows });
    let mut cache = session.new_cache(KvType::F32);
    let mut sequences = [Sequence { tokens: &item.input, cache: &mut cache }];
    let logits = session.forward(&mut sequences, LogitRows::All).unwrap();
    let vocab_size = model.config().vocab_size;
    let (mut sum, mut is_greedy) = (0.0, true);
    for (row, target) in logits.chunks(vocab_size).skip(item.first_row()).zip(&item.targets) {
        let exponentials: f64 = row.iter().map(|logit| f64::from(*logit).exp()).sum();
        sum += f64::from(row[*target as usize]) - exponentials.ln();
        is_greedy &= row.iter().all(|logit| *logit <= row[*target as usize]);
    }
    (sum, is_greedy)
}

/// Stretches with shared beginnings, equal ones, ones within others, of few tokens.
fn stretches() -> impl Strategy<Value = Vec<ScoredTokens>> {
    let one = (0usize..6, 0usize..30, prop::collection::vec(3u32..9, 1..6), 1usize..40);
    prop::collection::vec(one, 1..24).prop_map(|parts| {
        let parts = parts.into_iter().map(|(trunk, cut, own, targets)| {
            let mut whole: Vec<u32> =
                (0..40).map(|i| 3 + (i * (trunk as u32 + 7)) % 300).take(cut + 2).collect();
            whole.extend(own);
            let targets = targets.min(whole.len() - 1);
            let input = whole[..whole.len() - 1].to_vec();
            ScoredTokens { targets: whole[whole.len() - targets..].to_vec(), input }
        });
        parts.collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn scores_are_those_of_each_alone(items in stretches(), lanes in 1usize..6, max_rows in 3usize..70) {
        let stories = stories(2);
        let got = scores(&stories.model, &items, lanes, max_rows);
        prop_assert_eq!(&got, &scores(&stories.model, &items, 1, 128), "the same bits");
        for (got, item) in got.iter().zip(&items) {
            let (want, is_greedy) = plain(&stories.model, item);
            prop_assert!((got.log_likelihood - want).abs() < 1e-4, "{} {}", got.log_likelihood, want);
            prop_assert_eq!(got.is_greedy, is_greedy);
        }
    }
}

#[test]
fn a_pair_is_split_where_the_context_ends() {
    let Stories { model, tokenizer } = stories(1);
    let encoder = Encoder::new(&tokenizer, TextEnds::default(), model.config(), 16);
    let whole = tokenizer.encode("Once upon a time there was", true).unwrap();
    let pair = encoder.pair("Once upon a ", "time there was").unwrap();
    let context = tokenizer.encode("Once upon a", true).unwrap();
    let is_end = |token: &u32| model.config().eos_token_ids.contains(token);
    let context = context.len() - usize::from(context.last().is_some_and(is_end));
    let end = whole.len() - usize::from(whole.last().is_some_and(is_end));
    assert_eq!(pair.targets, whole[context..end], "the space belongs to the continuation");
    assert_eq!(pair.input, whole[..end - 1]);

    // `▁do` is a token, but the context ends within it.
    let cut_word = encoder.pair("It is a d", "og").unwrap();
    assert_eq!(cut_word.input, tokenizer.encode("It is a d", true).unwrap());
    assert_eq!(cut_word.targets, tokenizer.encode("It is a dog", true).unwrap()[cut_word.input.len()..]);

    let from_nothing = encoder.pair("", "time").unwrap();
    assert_eq!(from_nothing.input[0], model.config().bos_token_id.unwrap());
    assert_eq!(from_nothing.input.len(), from_nothing.targets.len());
    assert!(encoder.pair("Once", "").is_err());
    let too_long = encoder.pair("Once", &" upon".repeat(40)).unwrap_err().to_string();
    assert!(too_long.contains("expected at most 16"), "{too_long}");
    let cut = encoder.pair(&"Once upon a time ".repeat(20), "there").unwrap();
    assert_eq!(cut.input.len(), 16, "cut from the left");
}

#[test]
fn a_context_of_no_tokens_is_an_error() {
    let Stories { model, tokenizer } = stories(1);
    let file = embedded::stories().read("tokenizer.json").unwrap().into_owned();
    let mut file: serde_json::Value = serde_json::from_slice(&file).unwrap();
    file["post_processor"] = serde_json::Value::Null;
    let file = file.to_string();
    let plain = Tokenizer::from_bytes("plain.json", file.as_bytes(), model.config().vocab_size).unwrap();
    let pair = |tokenizer: &Tokenizer| {
        Encoder::new(tokenizer, TextEnds::default(), model.config(), 16).pair(" \n", "time")
    };
    assert!(pair(&tokenizer).is_ok(), "the token that begins a text is a context");
    let error = pair(&plain).unwrap_err().to_string();
    assert!(error.starts_with("the context \" \\n\" is no token of this model"), "{error}");
}

#[test]
fn windows_score_every_token_once() {
    let Stories { model, tokenizer } = stories(1);
    let text = "Once upon a time there was a dog. ".repeat(9);
    for max_length in [4, 7, 1000] {
        let encoder = Encoder::new(&tokenizer, TextEnds::default(), model.config(), max_length);
        let windows = encoder.rolling(&text).unwrap();
        let targets: Vec<u32> = windows.iter().flat_map(|window| window.targets.clone()).collect();
        assert_eq!(targets, encoder.text(&text).unwrap());
        assert!(windows.iter().all(|window| window.input.len() <= max_length));
        let last = windows.last().unwrap();
        assert!(max_length == 1000 || last.input.len() == max_length, "the last window begins earlier");
    }
    assert!(Encoder::new(&tokenizer, TextEnds::default(), model.config(), 9).rolling("").unwrap().len() <= 1);
}
