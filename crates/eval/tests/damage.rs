//! Files of tasks and documents that are damaged, hostile or simply wrong.
//!
//! Each is an error that names the file, the place in it, what was found and what was expected; and
//! whatever the bytes are, nothing panics.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use proptest::prelude::*;
use serde_json::json;
use tempfile::TempDir;
use tercet_eval::Request;
use tercet_eval::tasks::{Example, ExampleSettings, Kind, Source, Task, TaskError, find, task_file};

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    fn source(&self) -> Source {
        Source::Folder(self.0.path().to_path_buf())
    }
}

fn examples(task: &Task, source: &Source, num_fewshot: usize) -> Result<Vec<Example>, TaskError> {
    let documents = task.documents(source, num_fewshot)?;
    task.examples(&documents, &ExampleSettings { num_fewshot, ..ExampleSettings::default() })
}

/// The examples of one's own file.
fn own(name: &str, bytes: impl AsRef<[u8]>) -> Result<Vec<Example>, TaskError> {
    let folder = Folder::new();
    let path = folder.write(name, bytes);
    examples(&task_file(&path)?, &Source::Project, 0)
}

/// The examples of a task of the project with this file in a folder.
fn of_task(task: &str, name: &str, bytes: impl AsRef<[u8]>) -> Result<Vec<Example>, TaskError> {
    let folder = Folder::new();
    folder.write(name, bytes);
    examples(&find(&[task]).unwrap().tasks[0], &folder.source(), 0)
}

#[track_caller]
fn check_refused(result: Result<Vec<Example>, TaskError>, wanted: &[&str]) {
    let message = result.expect_err("is refused").to_string();
    for wanted in wanted {
        assert!(message.contains(wanted), "`{message}` has no `{wanted}`");
    }
    assert!(message.chars().all(|character| character == '\n' || !character.is_control()), "{message:?}");
}

const RIGHT: &str = r#"{"ctx": "a", "choices": ["b", "c", "d"], "gold": 2}"#;

#[test]
fn a_ready_line_that_is_wrong_names_its_line_and_field() {
    let check = |line: &str, wanted: &[&str]| {
        let wanted = [&["mine.jsonl: line 2"], wanted].concat();
        check_refused(own("mine.jsonl", format!("{RIGHT}\n{line}\n")), &wanted);
    };
    let gold = |gold: &str| format!(r#"{{"ctx": "a", "choices": ["b", "c", "d"], "gold": {gold}}}"#);
    let choices = |choices: &str| format!(r#"{{"ctx": "a", "choices": {choices}, "gold": 0}}"#);
    check(&gold("3"), &["`gold` is 3", "from 0 to 2"]);
    check(&gold("-1"), &["`gold` is -1"]);
    check(&gold("1.5"), &["`gold` is 1.5"]);
    check(&gold("99999999999999999999999"), &["`gold` is "]);
    check(&gold(r#""e""#), &["`gold` is `e`", "one of the choices"]);
    check(&gold("null"), &["`gold` is null"]);
    check(r#"{"ctx": "a", "choices": ["b"]}"#, &["`gold` is null"]);
    check(&choices("[]"), &["`choices` is an empty list"]);
    check(&choices("[1]"), &["`choices` is a list with an integer"]);
    check(&choices("{}"), &["`choices` is an object"]);
    check(&choices(&format!("[{}]", vec![r#""x""#; 1001].join(","))), &["`choices` is a list of 1001"]);
    check(r#"{"ctx": ["a"], "choices": ["b"], "gold": 0}"#, &["`ctx` is a list"]);
    check("[1]", &["`document` is a list"]);
    check("{", &["is not JSON"]);
    check(&"[".repeat(100_000), &["is not JSON"]);
    check(&format!(r#"{{"\u0007\n{}": "#, "x".repeat(10_000)), &["is not JSON"]);
}

#[test]
fn a_text_without_a_byte_has_no_perplexity() {
    let wanted = ["line 2", "`text` is an empty string", "at least one byte"];
    check_refused(own("mine.jsonl", "{\"text\": \"a\"}\n{\"text\": \"\"}\n"), &wanted);
    let page = json!({"page": ""}).to_string();
    check_refused(of_task("wikitext", "wikitext_test.jsonl", page), &["line 1", "is an empty string"]);
}

#[test]
fn ready_documents_of_each_kind_are_known_by_their_fields() {
    let check = |line: &str, kind: Kind, requests: usize| {
        let folder = Folder::new();
        let path = folder.write("mine.jsonl", format!("\u{feff}\n{line}\n\n"));
        let task = task_file(&path).unwrap();
        assert_eq!((task.name.as_str(), task.kind), ("mine", kind));
        assert_eq!(examples(&task, &Source::Project, 0).unwrap()[0].requests.len(), requests);
    };
    check(RIGHT, Kind::MultipleChoice, 3);
    check(r#"{"ctxs": ["a", "b"], "continuation": "c", "gold": 1}"#, Kind::MultipleContext, 2);
    check(r#"{"context": "a", "continuation": "b"}"#, Kind::Continuation, 1);
    check(r#"{"context": "a", "target": "b"}"#, Kind::Generate, 1);
    check(r#"{"text": "a"}"#, Kind::Rolling, 1);
    check_refused(
        own("mine.jsonl", r#"{"question": "a"}"#),
        &["line 1 has the fields `question`", "`ctx`", "`text`"],
    );
}

#[test]
fn a_document_of_a_data_set_that_is_wrong_names_its_line_and_field() {
    let check = |task: &str, file: &str, document: serde_json::Value, wanted: &[&str]| {
        check_refused(of_task(task, file, document.to_string()), &[&[file, "line 1"], wanted].concat());
    };
    let arc = |choices: serde_json::Value, key: &str| json!({"question": "q", "choices": choices, "answerKey": key});
    let two = json!({"text": ["a", "b"], "label": ["A", "B"]});
    check("arc_easy", "arc_easy_test.jsonl", arc(two.clone(), "C"), &["`gold`", "'C' is not in the list"]);
    check(
        "arc_easy",
        "arc_easy_test.jsonl",
        arc(json!({"text": ["a"], "label": []}), "A"),
        &["`choices` is"],
    );
    check(
        "arc_easy",
        "arc_easy_test.jsonl",
        arc(json!({"text": [], "label": []}), "A"),
        &["is an empty list"],
    );
    check("arc_easy", "arc_easy_test.jsonl", arc(json!(["a"]), "A"), &["`choices` is a list"]);
    check(
        "arc_easy",
        "arc_easy_test.jsonl",
        json!({"question": "q"}),
        &["has the fields `question`", "`ctx`"],
    );
    check("commonsense_qa", "commonsense_qa_dev.jsonl", arc(two, "A"), &["`context`"]);
    let winogrande = json!({"sentence": "no blank", "option1": "a", "option2": "b", "answer": "1"});
    check("winogrande", "winogrande_val.jsonl", winogrande, &["a sentence has no `_`"]);
    let winogrande = json!({"sentence": "a _", "option1": "a", "option2": "b", "answer": ""});
    check("winogrande", "winogrande_val.jsonl", winogrande, &["`answer` is ``", "a string that is one"]);
    let hellaswag = |label: &str| json!({"activity_label": "a", "ctx_a": "b", "ctx_b": "", "endings": ["c"], "label": label});
    check("hellaswag", "hellaswag.jsonl", hellaswag("1"), &["`gold` is 1", "from 0 to 0"]);
    check("hellaswag", "hellaswag.jsonl", hellaswag("x"), &["`label` is `x`"]);
    let copa = json!({"premise": "p.", "choice1": "a", "choice2": "b", "question": "why", "label": 0});
    check("copa", "copa_val.jsonl", copa, &["`context`"]);
    let wsc = json!({"text": "It fit.", "pronoun": "It", "pronoun_loc": i64::MAX, "options": ["a", "b"], "label": 0});
    check("wsc273", "wsc273.jsonl", wsc, &["lies outside of the text"]);
    let wsc = json!({"text": "It fit.", "pronoun": "It", "pronoun_loc": 0, "options": ["a"], "label": 0});
    check("wsc273", "wsc273.jsonl", wsc, &["`process`"]);
    check(
        "mmlu_virology",
        "mmlu_virology_test.jsonl",
        json!({"question": "q", "choices": "ab", "answer": 1}),
        &["`choices` is a string"],
    );
    check("wikitext", "wikitext_test.jsonl", json!({"page": 3}), &["`page` is an integer", "a string"]);
}

#[test]
fn all_lines_have_the_shape_of_the_first() {
    let piqa = r#"{"goal": "g", "sol1": "a", "sol2": "b", "label": 1}"#;
    let result = of_task("piqa", "piqa_val.jsonl", format!("{piqa}\n{RIGHT}\n"));
    check_refused(result, &["line 2", "`goal` is missing", "a string"]);
}

#[test]
fn files_that_cannot_be_read_are_named() {
    check_refused(own("mine.jsonl", ""), &["mine.jsonl: found no document"]);
    check_refused(own("mine.jsonl", "\n \n"), &["mine.jsonl: found no document"]);
    check_refused(own("mine.json", "[]"), &["mine.json: found no document"]);
    check_refused(own("mine.json", format!("[{RIGHT},")), &["mine.json: line 1, column "]);
    check_refused(own("mine.json", format!("[{RIGHT}, 3]")), &["mine.json: item 2", "an integer"]);
    check_refused(
        own("mine.jsonl", [RIGHT.as_bytes(), b"\n\xff\n"].concat()),
        &["mine.jsonl: line 2 is not UTF-8"],
    );
    check_refused(own("mine.json", b"[\n\n\"\xff\"]"), &["mine.json: line 3 is not UTF-8"]);
    check_refused(own("mine.parquet", "PAR1 and no more"), &["mine.parquet: the parquet file"]);
    check_refused(own("mine.jsonl.gz", "not gzip"), &["mine.jsonl.gz: cannot be read"]);
    check_refused(own("mine.csv", "a,b"), &["mine.csv", "`.csv`", "`.jsonl`"]);
    check_refused(own("mine.toml", "task = 1"), &["mine.toml: the description is wrong"]);
    let folder = Folder::new();
    fs::create_dir(folder.0.path().join("arc_easy_test.jsonl")).unwrap();
    let task = &find(&["arc_easy"]).unwrap().tasks[0];
    check_refused(
        examples(task, &folder.source(), 0),
        &["arc_easy_test.jsonl: cannot be opened", "not a file"],
    );
    let missing = Source::Folder(folder.0.path().join("none"));
    check_refused(examples(task, &missing, 0), &["none: cannot be read as a folder"]);
}

#[test]
fn a_line_without_end_is_refused_before_it_is_held() {
    let folder = Folder::new();
    let path = folder.write("mine.jsonl", "");
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(1 << 33).unwrap();
    let result = task_file(&path).map(|_| Vec::new());
    check_refused(result, &["mine.jsonl: line 1 has more than 67108864 bytes"]);
}

#[test]
fn few_shot_examples_that_are_missing_are_named() {
    let folder = Folder::new();
    let line =
        |i: usize| json!({"goal": i.to_string(), "sol1": "a", "sol2": "b", "label": 1}).to_string() + "\n";
    folder.write("piqa_val.jsonl", line(0));
    let task = &find(&["piqa"]).unwrap().tasks[0];
    check_refused(examples(task, &folder.source(), 2), &["split `train`", "`piqa_train.jsonl`"]);
    folder.write("piqa_train.jsonl", line(1) + &line(2));
    check_refused(examples(task, &folder.source(), 2), &["found 2 documents for 2 few-shot", "at least 3"]);
    folder.write("piqa_train.jsonl", line(0) + &line(0) + &line(1) + &line(2));
    assert_eq!(examples(task, &folder.source(), 2).unwrap().len(), 1);
    folder.write("piqa_train.jsonl", line(0) + &line(0) + &line(0) + &line(2));
    check_refused(examples(task, &folder.source(), 2), &["found 1 document for 2 few-shot", "at least 2"]);
    let documents = task.documents(&folder.source(), 0).unwrap();
    let settings = ExampleSettings { num_fewshot: 1, ..ExampleSettings::default() };
    check_refused(task.examples(&documents, &settings), &["were read without"]);
}

#[test]
fn a_description_of_ones_own_reads_the_files_beside_it() {
    let folder = Folder::new();
    let description = |gold: &str, extra: &str| {
        format!(
            "task = 'mine'\nmetrics = ['acc']\n[documents]\nfile = 'docs.jsonl'\nfewshot_file = 'shots.jsonl'\n\
             [fields]\nq = 'string'\nright = 'integer'\n[multiple_choice]\ncontext = 'Q: {{{{q}}}}\\nA:'\n\
             choices = \"['no', 'yes']\"\ngold = '{gold}'\n{extra}"
        )
    };
    folder.write("docs.jsonl", r#"{"q": "one?", "right": 1}"#);
    folder.write("shots.jsonl", r#"{"q": "two?", "right": 0}"#);
    let path = folder.write("mine.toml", description("right", ""));
    let task = task_file(&path).unwrap();
    let made = examples(&task, &Source::Project, 1).unwrap();
    let wanted = Request::LogLikelihood {
        context: "Q: two?\\nA: no\n\nQ: one?\\nA:".to_owned(),
        continuation: " no".to_owned(),
    };
    assert_eq!(made[0].requests[0], wanted);

    let refused = |text: String, wanted: &[&str]| {
        let path = folder.write("mine.toml", text);
        check_refused(task_file(&path).map(|_| Vec::new()), wanted);
    };
    refused(description("right +", ""), &["mine.toml: `multiple_choice.gold` cannot be read"]);
    refused(description("right", "goal = 1"), &["mine.toml", "goal"]);
    refused(description("right", "[old]\nversion = '0'"), &["mine.toml", "`old`"]);
    let endless = description("right", "").replace(
        "{{q}}",
        "{% for a in range(99999) %}{% for b in range(99999) %}{{q}}{% endfor %}{% endfor %}",
    );
    let task = task_file(&folder.write("mine.toml", endless)).unwrap();
    check_refused(examples(&task, &Source::Project, 0), &["docs.jsonl: line 1", "`context`"]);
    let huge = "generate]\ncontext = ''\ntarget = ''\nuntil = []\n[[generate.filters]]\nname = 'a'\nmatch = 'first'\nregex = '(\\w{999}){999}'\n[";
    let text = description("right", "").replace("acc", "exact_match");
    let text = text.split("multiple_choice]").next().unwrap().to_owned() + huge.trim_end_matches('[');
    refused(text, &["mine.toml: `generate.filters.a` cannot be read"]);
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Documents of ARC as a parquet file of the Hub has them.
fn parquet_of(documents: &[(&str, Vec<&str>, Vec<&str>, &str)]) -> Vec<u8> {
    let schema = "message schema { optional binary question (UTF8); optional group choices {
        optional group text (LIST) { repeated group list { optional binary element (UTF8); } }
        optional group label (LIST) { repeated group list { optional binary element (UTF8); } } }
        optional binary answerKey (UTF8); optional int64 year; }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let mut bytes = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut bytes, schema, Default::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let mut texts = |values: Vec<&str>, definition: i16, repetition: Option<Vec<i16>>| {
        let values: Vec<ByteArray> = values.into_iter().map(ByteArray::from).collect();
        let definition = vec![definition; values.len()];
        let mut column = group.next_column().unwrap().unwrap();
        let typed = column.typed::<ByteArrayType>();
        typed.write_batch(&values, Some(&definition), repetition.as_deref()).unwrap();
        column.close().unwrap();
    };
    let list = |lists: Vec<&Vec<&'static str>>| {
        let levels =
            lists.iter().flat_map(|list| (0..list.len()).map(|place| i16::from(place > 0))).collect();
        (lists.into_iter().flatten().copied().collect::<Vec<_>>(), levels)
    };
    let leak = |list: &Vec<&str>| -> Vec<&'static str> {
        list.iter().map(|text| &*Box::leak((*text).to_owned().into_boxed_str())).collect()
    };
    let (choices, labels): (Vec<_>, Vec<_>) =
        documents.iter().map(|(_, text, label, _)| (leak(text), leak(label))).unzip();
    texts(documents.iter().map(|document| document.0).collect(), 1, None);
    let (values, levels) = list(choices.iter().collect());
    texts(values, 4, Some(levels));
    let (values, levels) = list(labels.iter().collect());
    texts(values, 4, Some(levels));
    texts(documents.iter().map(|document| document.3).collect(), 1, None);
    let mut column = group.next_column().unwrap().unwrap();
    column
        .typed::<Int64Type>()
        .write_batch(&vec![2026; documents.len()], Some(&vec![1; documents.len()]), None)
        .unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();
    bytes
}

#[test]
fn every_form_of_a_file_gives_the_same_documents() {
    let documents = [
        ("one?", vec!["a", "b"], vec!["A", "B"], "B"),
        ("zwei, \"ü\"?", vec!["c", "d", "e"], vec!["1", "2", "3"], "1"),
    ];
    let json: Vec<serde_json::Value> = documents
        .iter()
        .map(|(question, text, label, key)| {
            json!({"question": question, "choices": {"text": text, "label": label}, "answerKey": key, "year": 2026})
        })
        .collect();
    let lines: String = json.iter().map(|json| format!("{json}\n")).collect();
    let list = format!("\n {}", serde_json::to_string_pretty(&json).unwrap());
    let files: [(&str, Vec<u8>); 5] = [
        ("arc_easy_test.jsonl", lines.clone().into_bytes()),
        ("arc_easy_test.json", list.clone().into_bytes()),
        ("arc_easy_test.jsonl.gz", [gzip(&lines.as_bytes()[..9]), gzip(&lines.as_bytes()[9..])].concat()),
        ("arc_easy_test.json.gz", gzip(list.as_bytes())),
        ("arc_easy_test-00000-of-00001.parquet", parquet_of(&documents)),
    ];
    for (name, bytes) in files {
        let found = of_task("arc_easy", name, bytes).unwrap();
        let contexts: Vec<String> = found.iter().map(|example| format!("{:?}", example.requests)).collect();
        assert_eq!(
            contexts,
            [
                r#"[LogLikelihood { context: "Question: one?\nAnswer:", continuation: " a" }, LogLikelihood { context: "Question: one?\nAnswer:", continuation: " b" }]"#,
                r#"[LogLikelihood { context: "Question: zwei, \"ü\"?\nAnswer:", continuation: " c" }, LogLikelihood { context: "Question: zwei, \"ü\"?\nAnswer:", continuation: " d" }, LogLikelihood { context: "Question: zwei, \"ü\"?\nAnswer:", continuation: " e" }]"#,
            ],
            "{name}"
        );
        assert_eq!((&found[0].target, &found[1].target), (&from(json!(1)), &from(json!(0))), "{name}");
    }
}

fn from(value: serde_json::Value) -> tercet_eval::tasks::Json {
    serde_json::from_value(value).unwrap()
}

/// A right file for each reader, to be damaged.
fn right_files() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let project = |name: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("documents/{name}.jsonl"));
        fs::read(path).unwrap()
    };
    let arc = parquet_of(&[("one?", vec!["a", "b"], vec!["A", "B"], "B")]);
    vec![
        ("arc_easy", "arc_easy_test.jsonl", project("arc_easy_test")),
        ("arc_easy", "arc_easy_test.parquet", arc),
        ("wsc273", "wsc273_test.jsonl", project("wsc273_test")),
        ("hellaswag", "hellaswag_val.jsonl.gz", gzip(&project("hellaswag_validation"))),
        ("winogrande", "winogrande_val.jsonl", project("winogrande_validation")),
        ("wikitext", "wiki.test.raw", b" = One = \n\n text \n = Two = \n text \n".to_vec()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_bytes_panic(ending in prop::sample::select(vec!["jsonl", "json", "parquet", "jsonl.gz", "toml"]),
                      bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = own(&format!("mine.{ending}"), bytes);
    }

    #[test]
    fn no_damage_panics(which in 0usize..6, place in any::<prop::sample::Index>(), byte in any::<u8>(),
                        length in any::<prop::sample::Index>(), cuts in any::<bool>()) {
        let (task, name, mut bytes) = right_files().swap_remove(which);
        let place = place.index(bytes.len());
        bytes[place] = byte;
        if cuts {
            bytes.truncate(length.index(bytes.len()));
        }
        let _ = of_task(task, name, bytes);
    }

    #[test]
    fn ready_documents_come_back_as_requests(
        documents in prop::collection::vec((".*", prop::collection::vec(".*", 1..5), any::<prop::sample::Index>()), 1..5)
    ) {
        let line = |(context, choices, gold): &(String, Vec<String>, prop::sample::Index)| {
            json!({"ctx": context, "choices": choices, "gold": gold.index(choices.len())}).to_string() + "\n"
        };
        let made = own("mine.jsonl", documents.iter().map(line).collect::<String>()).unwrap();
        prop_assert_eq!(made.len(), documents.len());
        for (example, (context, choices, _)) in made.iter().zip(&documents) {
            let wanted: Vec<Request> = choices.iter().map(|choice| Request::LogLikelihood {
                context: context.clone(),
                continuation: format!(" {choice}"),
            }).collect();
            prop_assert_eq!(&example.requests, &wanted);
        }
    }
}
