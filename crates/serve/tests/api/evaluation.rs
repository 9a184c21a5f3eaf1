//! What lm-evaluation-harness asks of `/v1/completions`, to the letter.

use serde_json::{Value, json};
use tercet::model::{Session, SessionSize};
use tercet_kernels::{KvType, Sequence};

use crate::served::{CONTEXT, ask, config, model, tokenizer};

const TEXTS: [[&str; 2]; 4] = [
    ["Once upon a time, there was a", " little girl named Lily."],
    ["The cat sat on the", " moon"],
    ["Tom and his dog went to the park. They", " played with a red ball"],
    ["a", " b"],
];

/// The request that `local-completions` makes for log-likelihoods.
fn request(prompts: &[Vec<u32>]) -> Value {
    json!({
        "model": "stories", "prompt": prompts, "temperature": 0, "max_tokens": 1, "logprobs": 1, "seed": 1234,
        "echo": true,
    })
}

/// What it makes of an answer: the sum, and whether each token was the likeliest.
fn parsed(choice: &Value, context_tokens: usize) -> (f64, bool) {
    let of = |list: &str| {
        let list = choice["logprobs"][list].as_array().unwrap();
        list[context_tokens..list.len() - 1].to_vec()
    };
    let logprobs: Vec<f64> = of("token_logprobs").iter().map(|x| x.as_f64().unwrap()).collect();
    let is_greedy = logprobs.iter().zip(of("top_logprobs")).all(|(logprob, top)| {
        let top = top.as_object().unwrap().values().map(|x| x.as_f64().unwrap());
        logprob.to_bits() == top.fold(f64::NEG_INFINITY, f64::max).to_bits()
    });
    (logprobs.iter().sum(), is_greedy)
}

#[tokio::test]
async fn scores_are_those_of_the_library_bit_for_bit() {
    let tokenizer = tokenizer();
    let pairs: Vec<(Vec<u32>, usize)> = TEXTS
        .iter()
        .map(|[context, continuation]| {
            let context = tokenizer.encode(context, false).unwrap();
            let continuation = tokenizer.encode(continuation, false).unwrap();
            let whole = [context.as_slice(), &continuation].concat();
            (whole, context.len())
        })
        .collect();
    let prompts: Vec<Vec<u32>> = pairs.iter().map(|(whole, _)| whole.clone()).collect();
    let answer = ask("/v1/completions", &request(&prompts)).await;
    let choices = answer["choices"].as_array().unwrap();
    assert_eq!(choices.len(), pairs.len());

    let model = model();
    let size = SessionSize { context: CONTEXT, max_rows: 64, max_logit_rows: 64 };
    let mut session = Session::new(&model, size);
    for ((whole, context_tokens), choice) in pairs.iter().zip(choices) {
        for list in ["tokens", "token_logprobs", "top_logprobs", "text_offset"] {
            let found = choice["logprobs"][list].as_array().unwrap().len();
            assert_eq!(found, whole.len() + 1, "{list}: the prompt and one generated token");
        }
        assert!(choice["logprobs"]["token_logprobs"][0].is_null());
        assert!(choice["logprobs"]["top_logprobs"][0].is_null());

        let mut cache = session.new_cache(KvType::F32);
        let rows: Vec<usize> = (0..whole.len() - 1).collect();
        let targets: Vec<(usize, u32)> = rows.iter().map(|row| (*row, whole[row + 1])).collect();
        let mut sequences = [Sequence { tokens: whole, cache: &mut cache }];
        let scores = session.score(&mut sequences, &rows, &targets).unwrap();
        let scores = &scores[context_tokens - 1..];
        let want_sum: f64 = scores.iter().map(|score| score.log_probability).sum();
        let want_greedy = scores.iter().all(|score| score.is_greedy);
        let (sum, is_greedy) = parsed(choice, *context_tokens);
        assert_eq!(sum.to_bits(), want_sum.to_bits(), "{sum} and {want_sum}");
        assert_eq!(is_greedy, want_greedy);
    }
}

#[tokio::test]
async fn a_prompt_scores_the_same_alone_and_with_nothing_generated() {
    let tokenizer = tokenizer();
    let prompts: Vec<Vec<u32>> =
        TEXTS.iter().map(|texts| tokenizer.encode(&texts.concat(), false).unwrap()).collect();
    let together = ask("/v1/completions", &request(&prompts)).await;
    for (i, prompt) in prompts.iter().enumerate() {
        let mut alone = request(std::slice::from_ref(prompt));
        let mut choice = ask("/v1/completions", &alone).await["choices"][0].clone();
        choice["index"] = i.into();
        assert_eq!(choice, together["choices"][i]);

        alone["max_tokens"] = 0.into();
        let scored = ask("/v1/completions", &alone).await["choices"][0].clone();
        for list in ["tokens", "token_logprobs", "top_logprobs", "text_offset"] {
            let want = &choice["logprobs"][list].as_array().unwrap()[..prompt.len()];
            assert_eq!(scored["logprobs"][list].as_array().unwrap(), want, "{list}");
        }
        assert_eq!(scored["finish_reason"], "length");
        assert_eq!(scored["text"], tokenizer.decode(prompt));
    }
}

#[tokio::test]
async fn one_token_is_always_reported_even_the_end_of_the_text() {
    let eos = config().eos_token_ids[0];
    let request = json!({
        "prompt": [[5, 6, 7]], "max_tokens": 1, "logprobs": 1, "echo": true, "logit_bias": {eos.to_string(): 100},
    });
    let answer = ask("/v1/completions", &request).await;
    let choice = &answer["choices"][0];
    assert_eq!(choice["finish_reason"], "stop");
    assert_eq!(choice["logprobs"]["tokens"].as_array().unwrap().len(), 4);
    let name = tokenizer().id_to_token(eos).unwrap();
    assert_eq!(choice["logprobs"]["tokens"][3], json!(name));
    assert_eq!(answer["usage"]["completion_tokens"], 1);
}

#[tokio::test]
async fn the_longest_prompt_leaves_room_for_one_token() {
    let prompt: Vec<u32> = (0..CONTEXT as u32 - 1).map(|i| i % 50 + 5).collect();
    let answer = ask("/v1/completions", &request(std::slice::from_ref(&prompt))).await;
    assert_eq!(answer["choices"][0]["logprobs"]["tokens"].as_array().unwrap().len(), CONTEXT);
}
