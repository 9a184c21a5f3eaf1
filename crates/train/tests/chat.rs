//! Fine-tuning on conversations that the test makes: what the assistant says is learnt, and nothing else.

mod tiny_run;

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tercet::tokenizer::TOOL_USE_TEMPLATE_FILE;
use tercet_train::config::{TokenizerConfig, TrainConfig};
use tercet_train::data::Batch;
use tercet_train::trainer::prepare;

use tiny_run::{Watcher, assert_same, config, results, run};

const TEMPLATE: &str = "{% for message in messages %}
{{ message.role }}: {{ message.content }}
{% endfor %}
{% if add_generation_prompt %}assistant: {% endif %}";

/// Of the differences that another order of sums makes in a norm, relative.
const TOLERANCE: f32 = 1e-5;

/// Letters without any order; as many for every number.
fn noise(number: usize) -> String {
    let mut state = (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let letter = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'a' + ((state >> 33) % 26) as u8)
    };
    (0..12).map(letter).collect()
}

/// Conversations of a question, an answer and a remark.
fn conversations(says: impl Fn(usize) -> [String; 3]) -> Vec<Value> {
    let roles = ["user", "assistant", "user"];
    let conversation = |i| {
        let said = says(i).into_iter().zip(roles);
        let messages = said.map(|(content, role)| json!({"role": role, "content": content}));
        json!({ "messages": messages.collect::<Vec<_>>() })
    };
    (0..120).map(conversation).collect()
}

/// A run on conversations; its tokens are bytes, so that texts of one length have as many of them.
fn chat_config(folder: &Path, rows: &[Value], changes: &[&str]) -> TrainConfig {
    let (data, template) = (folder.join("chat.jsonl"), folder.join("template.jinja"));
    fs::write(&data, rows.iter().map(|row| format!("{row}\n")).collect::<String>()).unwrap();
    fs::write(&template, TEMPLATE).unwrap();
    let (data, template) = (format!("data.train=[{data:?}]"), format!("data.chat.template={template:?}"));
    let all = [&[&data, &template, "data.sequence_length=64", "tokenizer.vocab_size=257"], changes].concat();
    config(folder, &all)
}

/// The masters, the packed model and the record after training on some conversations.
fn trained(says: impl Fn(usize) -> [String; 3]) -> Vec<(String, Vec<u8>)> {
    let folder = tempfile::tempdir().unwrap();
    let config = chat_config(folder.path(), &conversations(says), &[]);
    run(&config, 2, &mut Watcher::default()).unwrap();
    results(folder.path())
}

#[test]
fn answers_are_learnt_among_noise() {
    let folder = tempfile::tempdir().unwrap();
    let rows = conversations(|i| [noise(i), "yes.".to_owned(), noise(i + 1000)]);
    let config = chat_config(
        folder.path(),
        &rows,
        &["train.steps=60", "schedule.kind=constant", "watch.validate_every=0"],
    );
    let mut watcher = Watcher::default();
    run(&config, 2, &mut watcher).unwrap();
    // Were the noise to count, no model could come below its share of the tokens times ln 26.
    let [first, last] = [watcher.losses[0], watcher.losses[59]];
    let validated = watcher.validations.last().unwrap().loss;
    assert!(first > 4.0 && last < 0.5 && validated < 0.5, "from {first} to {last}, validated {validated}");
}

#[test]
fn what_follows_the_last_answer_changes_no_bit() {
    let answers = ["so it is", "not once", "as ever."];
    let says = |question: usize, answer: usize, remark: usize| {
        move |i: usize| [noise(question + i), answers[(answer + i) % 3].to_owned(), noise(remark + i)]
    };
    let want = trained(says(0, 0, 1000));
    assert_same(&want, &trained(says(0, 0, 2000)));
    // The masters hear of every other word: of questions through attention, of answers by the loss.
    for other in [trained(says(3000, 0, 1000)), trained(says(0, 1, 1000))] {
        for (name, bytes) in other.iter().filter(|(name, _)| name.ends_with(".safetensors")) {
            let (_, same) = want.iter().find(|(wanted, _)| wanted == name).unwrap();
            assert!(bytes != same, "{name} is the same");
        }
    }
}

#[test]
fn a_sum_is_the_mean_times_the_tokens_that_count() {
    let folder = tempfile::tempdir().unwrap();
    let rows = conversations(|i| [noise(i), "so ".repeat(1 + i % 4), noise(i + 1000)]);
    let changed = |reduction: &str, [micro_batch, accumulation]: [usize; 2]| {
        let changes = [
            format!("data.chat.reduction={reduction}"),
            format!("train.micro_batch={micro_batch}"),
            format!("train.accumulation={accumulation}"),
            format!("run.output={:?}", folder.path().join(format!("{reduction}-{micro_batch}"))),
        ];
        let changes: Vec<&str> = changes.iter().map(String::as_str).collect();
        chat_config(
            folder.path(),
            &rows,
            &[&changes[..], &["train.steps=1", "train.gradient_clip=0", "train.gradients=f32"]].concat(),
        )
    };
    let first_step = |reduction: &str, portions: [usize; 2]| {
        let mut watcher = Watcher::default();
        run(&changed(reduction, portions), 2, &mut watcher).unwrap();
        (watcher.losses[0], watcher.gradient_norms[0])
    };

    let prepared = prepare(changed("mean", [4, 1]), 1, &mut Watcher::default()).unwrap();
    let counted = |batch: Batch| batch.counts.iter().filter(|counts| **counts).count();
    let counted = [0, 1, 2, 3].map(|index| counted(prepared.dataset.batch(1, index)));
    assert_ne!(counted.iter().min(), counted.iter().max(), "so that a mean of means is another");

    let (loss, norm) = first_step("mean", [1, 4]);
    let (loss_of_sum, norm_of_sum) = first_step("sum", [1, 4]);
    assert_eq!(loss, loss_of_sum, "what is recorded is the mean");
    let close =
        |found: f32, want: f32| assert!((found / want - 1.0).abs() < TOLERANCE, "{found}, not {want}");
    close(norm_of_sum, norm * counted.iter().sum::<usize>() as f32);
    // Both are over the tokens of the step, however it is cut.
    close(first_step("mean", [4, 1]).1, norm);
    close(first_step("sum", [4, 1]).1, norm_of_sum);
}

#[test]
fn templates_with_names_are_in_what_is_saved() {
    let folder = tempfile::tempdir().unwrap();
    let rows = conversations(|i| [noise(i), "yes.".to_owned(), noise(i + 1000)]);
    let steps = ["train.steps=4", "watch.save_every=2"];
    run(&chat_config(folder.path(), &rows, &steps), 2, &mut Watcher::default()).unwrap();
    let first = folder.path().join("run/model");
    let template = first.join(TOOL_USE_TEMPLATE_FILE);
    fs::create_dir(template.parent().unwrap()).unwrap();
    fs::write(template, "of tools").unwrap();

    let output = format!("run.output={:?}", folder.path().join("again"));
    let mut config = chat_config(folder.path(), &rows, &[&steps[..], &[&output]].concat());
    config.tokenizer = TokenizerConfig { path: Some(first), vocab_size: None };
    let mut watcher = Watcher { stop_after: Some(2), ..Watcher::default() };
    run(&config, 2, &mut watcher).unwrap();
    // A checkpoint's files are compared with its manifest when it is gone on from.
    let outcome = run(&config, 2, &mut Watcher::default()).unwrap();
    assert_eq!(outcome.steps_done, 4);
    let saved = folder.path().join("again/model").join(TOOL_USE_TEMPLATE_FILE);
    assert_eq!(fs::read(saved).unwrap(), b"of tools");
}
