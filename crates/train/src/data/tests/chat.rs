//! Conversations: what is learnt of them, and how they are packed.

use super::*;
use crate::data::chat;

const TEMPLATE: &str = "{% for message in messages %}
{% if message['role'] == 'system' and loop.first %}
{{ '<|sys|>' + message['content'].strip() }}
{% elif message['role'] in ['user', 'assistant'] %}
{{ '<|' + message['role'] + '|>' }}{{ message.content }}{{ '<|end|>' }}
{% else %}
{{ raise_exception('role ' + message.role) }}
{% endif %}
{% endfor %}
{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}";

fn conversation(messages: &[(&str, &str)]) -> Value {
    let messages = messages.iter().map(|(role, content)| json!({"role": role, "content": content}));
    json!({ "messages": messages.collect::<Vec<_>>() })
}

fn chat_run(rows: &[Value], template: &str) -> Run {
    let mut run = Run::new(json!({"chat": {}, "sequence_length": 64, "validation_fraction": 0.3}));
    run.write("template.jinja", template);
    run.config.chat.as_mut().unwrap().template = Some(run.path("template.jinja"));
    run.train_on("a.jsonl", rows.iter().map(|row| format!("{row}\n")).collect::<String>());
    run
}

fn prepare_chat(run: &mut Run) -> Result<(TextTokenizer, Dataset), DataError> {
    let mut tokenizer = words();
    let template = chat::read_template(run.config.chat.as_ref().unwrap().template.as_ref().unwrap())?;
    tokenizer.set_chat_template(&template);
    let data = run.prepare(&tokenizer)?;
    Ok((tokenizer, data))
}

#[test]
fn only_the_assistants_tokens_count() {
    let rows: Vec<Value> = (0..20)
        .map(|i| {
            let question = format!("the fox {i}?");
            let turns = [
                ("user", question.as_str()),
                ("assistant", "a river"),
                ("user", "and"),
                ("assistant", "home"),
            ];
            conversation(&[&[("system", " saw ")], &turns[..]].concat())
        })
        .collect();
    let mut run = chat_run(&rows, TEMPLATE);
    run.config.sequence_length = 128;
    let (tokenizer, data) = prepare_chat(&mut run).unwrap();
    let index = 3;
    let file = order::Split::all(&data.train.split.file);
    let tokens = documents(&file).swap_remove(index);
    let all: Vec<u32> = tokens.iter().map(|(id, _)| *id).collect();
    let counted: Vec<u32> = tokens.iter().filter(|(_, counts)| *counts).map(|(id, _)| *id).collect();
    let decode = |ids: &[u32]| tokenizer.tokenizer.decode(ids);
    assert_eq!(all[0], tokenizer.bos.unwrap());
    let want = "<|sys|>saw
<|user|>the fox 3?<|end|>
<|assistant|>a river<|end|>
<|user|>and<|end|>
<|assistant|>home<|end|>
";
    assert_eq!(decode(&all), want);
    let answers = "a river<|end|>\nhome<|end|>\n";
    assert_eq!(decode(&counted), answers);

    // In batches, conversations are whole, and the targets that count are those tokens.
    for index in 0..data.sequences_per_epoch() {
        let batch = data.batch(1, index);
        assert_eq!(batch.tokens.len(), 128);
        let mut row = 0;
        for segment in batch.segments {
            let targets = batch.targets[row..row + segment].iter().zip(&batch.counts[row..row + segment]);
            let counted: Vec<u32> = targets.filter(|(_, counts)| **counts).map(|(id, _)| *id).collect();
            assert!(decode(&counted) == answers || counted.is_empty() && row + segment == 128);
            row += segment;
        }
    }
    assert!(tokenizer.files[TOKENIZER_CONFIG_FILE].windows(12).any(|text| text == b"'<|sys|>' + "));
}

#[test]
fn a_beginning_that_the_template_writes_is_not_doubled() {
    let template = format!("{{{{ bos_token }}}}{TEMPLATE}");
    let row = conversation(&[("user", "the fox"), ("assistant", "ran")]);
    let mut run = chat_run(&[row.clone(), row], &template);
    let (tokenizer, data) = prepare_chat(&mut run).unwrap();
    let file = order::Split::all(&data.train.split.file);
    let bos = tokenizer.bos.unwrap();
    assert_eq!(ids(&file)[0].iter().filter(|id| **id == bos).count(), 1);
}

#[test]
fn conversations_are_packed_whole_and_long_ones_cut() {
    let long = "naïve river ".repeat(60);
    let mut rows: Vec<Value> =
        (0..30).map(|i| conversation(&[("user", "the"), ("assistant", &"fox ".repeat(i % 5 + 1))])).collect();
    rows.push(conversation(&[("user", "the"), ("assistant", &long)]));
    rows.push(conversation(&[("user", &long), ("assistant", "the")]));
    let mut run = chat_run(&rows, TEMPLATE);
    run.config.validation = run.config.train.clone();
    let (_, data) = prepare_chat(&mut run).unwrap();
    assert!(data.description().contains("1 training conversation cut after 64 tokens"));
    assert!(data.description().contains("1 training conversation left out"), "{}", data.description());
    let split = &data.train.split;
    let mut want: Vec<usize> = documents(split).iter().map(|document| (document.len() - 1).min(64)).collect();
    want.pop();
    want.sort_unstable();
    let mut found = Vec::new();
    for index in 0..data.sequences_per_epoch() {
        let batch = data.batch(1, index);
        let mut row = 0;
        for segment in &batch.segments {
            if batch.counts[row..row + segment].contains(&true) {
                found.push(*segment);
            }
            row += segment;
        }
        assert_eq!(row, 64);
    }
    found.sort_unstable();
    assert_eq!(found, want);
}

#[test]
fn messages_come_from_parquet_too() {
    let schema = "message m { required group messages (LIST) { repeated group list {
        required group element { required binary role (UTF8); required binary content (UTF8); } } } }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let mut bytes = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut bytes, schema, Default::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    for values in [["user", "assistant", "user", "assistant"], ["the", "fox", "a", "river"]] {
        let values: Vec<ByteArray> = values.into_iter().map(ByteArray::from).collect();
        let mut column = group.next_column().unwrap().unwrap();
        let typed = column.typed::<ByteArrayType>();
        typed.write_batch(&values, Some(&[1; 4]), Some(&[0, 1, 0, 1])).unwrap();
        column.close().unwrap();
    }
    group.close().unwrap();
    writer.close().unwrap();
    let rows = [[("user", "the"), ("assistant", "fox")], [("user", "a"), ("assistant", "river")]];
    let mut lines = chat_run(&rows.map(|row| conversation(&row)), TEMPLATE);
    let (_, from_lines) = prepare_chat(&mut lines).unwrap();
    let mut run = chat_run(&[], TEMPLATE);
    run.train_on("a.parquet", bytes);
    let (_, from_parquet) = prepare_chat(&mut run).unwrap();
    let all = |data: &Dataset| documents(&order::Split::all(&data.train.split.file));
    assert_eq!(all(&from_parquet), all(&from_lines));
}

#[test]
fn bad_conversations_and_templates_are_named() {
    let good = || conversation(&[("user", "the"), ("assistant", "fox")]);
    let check = |row: Value, template: &str, want: &str| {
        let mut run = chat_run(&[good(), row], template);
        let error = prepare_chat(&mut run).unwrap_err().to_string();
        assert!(error.contains(want), "found `{error}`, expected `{want}`");
    };
    check(json!({"messages": []}), TEMPLATE, "line 2: field `messages` is an empty list");
    check(json!({"messages": "a"}), TEMPLATE, "field `messages` is a string, expected a list of messages");
    check(json!({"messages": [3]}), TEMPLATE, "field `messages[0]` is a number, expected an object");
    check(json!({"messages": [{"content": "a"}]}), TEMPLATE, "field `messages[0].role` is absent");
    check(conversation(&[("user", "a")]), TEMPLATE, "without the role `assistant`");
    let tool = conversation(&[("tool", "a"), ("assistant", "b")]);
    check(tool, TEMPLATE, "line 2: the chat template fails at line 7: role tool");
    check(good(), "a\n{% for %}", "the chat template is wrong at line 2");
    check(good(), "{{ strftime_now('%d') }}", "`strftime_now` is not to be had");
    check(good(), "{% for i in range(9999) %}{% for j in range(9999) %}{% endfor %}{% endfor %}", "fuel");
    let large = "{% for i in range(5000) %}{{ 'x' * 1000 }}{% endfor %}";
    check(good(), large, "more than 4194304 bytes of text");
    check(good(), &"x".repeat((1 << 20) + 1), "1048577 bytes, expected at most 1048576");
    check(good(), "{{ (1)", "the chat template is wrong");
    check(good(), &format!("{{{{ {} }}}}", "(".repeat(100_000)), "the chat template is wrong");
    check(
        good(),
        "a\n\n{{ messages[9].content }}",
        "line 1: the chat template fails at line 3: undefined value",
    );
    let last_differs = "{% for m in messages %}{{ m.content }}{% if loop.last %}!{% endif %}{% endfor %}";
    let long = conversation(&[("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")]);
    check(
        long,
        last_differs,
        r#"message 1 changes how those before it are rendered: after "the" found "fox!", expected "!""#,
    );

    let mut run = chat_run(&[good()], TEMPLATE);
    run.config.chat.as_mut().unwrap().template = None;
    run.check_refused("found no chat template");
    let mut run = chat_run(&[good()], TEMPLATE);
    let error = prepare_chat(&mut run).unwrap_err().to_string();
    assert!(error.contains("1 conversations with an answer"), "{error}");
}

#[test]
fn a_generation_prompt_that_no_message_begins_with_is_shown() {
    let template = |prompt: &str| {
        format!(
            "{{% for m in messages %}}<|{{{{ m.role }}}}|>\n{{{{ m.content }}}}<|end|>\n{{% endfor %}}\
             {{% if add_generation_prompt %}}{prompt}{{% endif %}}"
        )
    };
    let row = || conversation(&[("user", "naïve "), ("assistant", "naïve fox")]);
    let error = |prompt: &str| {
        let error = prepare_chat(&mut chat_run(&[row()], &template(prompt))).unwrap_err();
        assert!(error.hint().is_some_and(|hint| hint.contains("`add_generation_prompt`")), "{error}");
        error.to_string()
    };
    let want = "line 1: message 1 does not begin as the chat template has it with `add_generation_prompt`: ";
    let found = error("<|bot|>");
    assert!(found.contains(want), "{found}");
    assert!(
        found.ends_with(
            r#"after "|user|>\nnaïve <|end|>\n<|" found "assistant|>\nnaïve fox<|e", expected "bot|>""#
        ),
        "{found}"
    );
    let found = error("<|assistant|> ");
    assert!(found.ends_with(r#"<|assistant|>" found "\nnaïve fox<|end|>\n", expected " ""#), "{found}");
    let found = error("<|assistant|>\nnaïve fox<|end|>\n<|user|>");
    assert!(found.ends_with(r#"fox<|end|>\n" found "", expected "<|user|>""#), "{found}");
}

#[test]
fn json_in_templates_is_that_of_python() {
    let mut tokenizer = words();
    tokenizer.set_chat_template("{{ messages[0]|tojson }}{% if messages|length > 1 %}!{% endif %}");
    let chat = chat::Chat::new(&tokenizer, "messages").unwrap();
    let messages = [json!({"role": "user", "a": [1, "<é'&\\u003c>"]}), json!({"role": "assistant"})];
    let parts = chat.parts(&messages).unwrap();
    assert_eq!(parts[0].text, r#"{"role": "user", "a": [1, "<é'&\\u003c>"]}"#);
    assert_eq!(parts[1].text, "!");
}
