//! The tokenizer of a GGUF file's metadata gives the ids of the one it was made from.

mod gguf_file;
mod skipping;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gguf_file::{File, Value, list_value, text_value, texts_value, u32_value};
use serde_json::Value as Json;
use tercet::config::CONFIG_FILE;
use tercet::embedded;
use tercet::gguf::Gguf;
use tercet::gguf::model::{GgufModel, ModelError};
use tercet::source::Source;
use tercet::tokenizer::{TOKENIZER_CONFIG_FILE, TOKENIZER_FILE, Tokenizer};

const TEXTS: [&str; 8] = [
    "Once upon a time, there was a little girl named Lily.",
    "",
    " ",
    "  two  spaces ",
    "A dog🦙 said: “Hello”\nand\tran.",
    "<s>not a text</s>",
    "ÄÖÜ ß 東京 \u{1}",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
];

/// The metadata of a tokenizer.
struct Entries {
    architecture: &'static str,
    model: &'static str,
    pre: Option<&'static str>,
    texts: Vec<String>,
    types: Vec<i32>,
    scores: Option<Vec<f32>>,
    merges: Option<Vec<String>>,
    bos: Option<u32>,
    eos: Option<u32>,
    chat_template: Option<String>,
    /// The names of templates, and those that are there.
    template_names: Vec<String>,
    named_templates: Vec<(&'static str, &'static str)>,
}

fn open(entries: &Entries) -> Result<Source, ModelError> {
    let mut metadata = Vec::new();
    let mut put = |key: &str, value: Value| metadata.push((format!("tokenizer.{key}"), value));
    put("ggml.model", text_value(entries.model));
    if let Some(pre) = entries.pre {
        put("ggml.pre", text_value(pre));
    }
    put("ggml.tokens", texts_value(&entries.texts));
    let types: Vec<u8> = entries.types.iter().flat_map(|token_type| token_type.to_le_bytes()).collect();
    put("ggml.token_type", list_value(5, entries.types.len() as u64, &types));
    if let Some(scores) = &entries.scores {
        let bytes: Vec<u8> = scores.iter().flat_map(|score| score.to_le_bytes()).collect();
        put("ggml.scores", list_value(6, scores.len() as u64, &bytes));
    }
    if let Some(merges) = &entries.merges {
        put("ggml.merges", texts_value(merges));
    }
    for (key, id) in [("bos", entries.bos), ("eos", entries.eos)] {
        id.into_iter().for_each(|id| put(&format!("ggml.{key}_token_id"), u32_value(id)));
    }
    if let Some(template) = &entries.chat_template {
        put("chat_template", text_value(template));
    }
    if !entries.template_names.is_empty() {
        put("chat_templates", texts_value(&entries.template_names));
    }
    for (name, template) in &entries.named_templates {
        put(&format!("chat_template.{name}"), text_value(template));
    }
    let file = File::of_tokenizer(entries.architecture, entries.texts.len(), metadata);
    let gguf = Gguf::in_memory("m.gguf", file.bytes().into()).unwrap();
    Ok(Source::Gguf(GgufModel::new(Arc::new(gguf))?))
}

fn tokenizer(entries: &Entries) -> Tokenizer {
    let source = open(entries).unwrap();
    let bytes = source.read(TOKENIZER_FILE).unwrap();
    Tokenizer::from_bytes(TOKENIZER_FILE, &bytes, entries.texts.len()).unwrap()
}

/// The tokens of a `tokenizer.json` in the order of their ids, and the ids of its special tokens.
fn tokens_of(json: &Json) -> (Vec<String>, Vec<usize>) {
    let mut tokens: Vec<(u64, String)> = json["model"]["vocab"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(text, id)| (id.as_u64().unwrap(), text.clone()))
        .collect();
    tokens.sort();
    let special =
        json["added_tokens"].as_array().unwrap().iter().map(|token| token["id"].as_u64().unwrap() as usize);
    (tokens.into_iter().map(|(_, text)| text).collect(), special.collect())
}

/// What each merge makes, in order: that of several pairs that make one token is left to each program.
fn merged(json: &Json) -> Vec<String> {
    let merges = json["model"]["merges"].as_array().unwrap();
    merges.iter().map(|pair| pair[0].as_str().unwrap().to_owned() + pair[1].as_str().unwrap()).collect()
}

/// The model inside: SentencePiece's scores are the ids, negative.
#[test]
fn merges_follow_from_scores() {
    let source = embedded::stories();
    let bytes = source.read(TOKENIZER_FILE).unwrap();
    let json: Json = serde_json::from_slice(&bytes).unwrap();
    let (texts, special) = tokens_of(&json);
    let is_byte = |text: &str| text.len() == 6 && text.starts_with("<0x");
    let type_of = |(id, text): (usize, &String)| match id {
        0 => 2,
        _ if special.contains(&id) => 3,
        _ if is_byte(text) => 6,
        _ => 1,
    };
    let entries = Entries {
        model: "llama",
        types: texts.iter().enumerate().map(type_of).collect(),
        scores: Some((0..texts.len()).map(|id| -(id as f32)).collect()),
        texts,
        bos: Some(1),
        ..small()
    };
    let made: Json = serde_json::from_slice(&open(&entries).unwrap().read(TOKENIZER_FILE).unwrap()).unwrap();
    assert_eq!(merged(&made), merged(&json));
    let got = tokenizer(&entries);
    let want = Tokenizer::from_bytes(TOKENIZER_FILE, &bytes, entries.texts.len()).unwrap();
    for text in TEXTS {
        for add_special in [false, true] {
            let ids = want.encode(text, add_special).unwrap();
            assert_eq!(got.encode(text, add_special).unwrap(), ids, "{text:?}");
            assert_eq!(got.decode(&ids), want.decode(&ids), "{text:?}");
        }
    }
}

#[test]
fn public_tokenizers_give_the_ids_of_llama_cpp() {
    const NAME: &str = "public_tokenizers_give_the_ids_of_llama_cpp";
    let Some(shared) = std::env::var_os("TERCET_SHARED").map(PathBuf::from) else {
        return skipping::skip(NAME, "TERCET_SHARED is not set");
    };
    let folder = shared.join("data/tokenizers");
    check_vectors(&gpt2(&folder), &folder, "gpt-2");
    for pre in [Some("llama-bpe"), None] {
        check_vectors(&Entries { pre, ..llama3(&folder) }, &folder, "llama-bpe");
    }
}

#[track_caller]
fn check_vectors(entries: &Entries, folder: &Path, name: &str) {
    let tokenizer = tokenizer(entries);
    let read = |end: &str| std::fs::read_to_string(folder.join(format!("vectors/{name}.{end}"))).unwrap();
    let (texts, ids) = (read("inp"), read("out"));
    let texts: Vec<&str> = texts.split("\n__ggml_vocab_test__\n").collect();
    let ids: Vec<&str> = ids.lines().collect();
    assert!(ids.len() >= 40 && texts.len() >= ids.len());
    for (text, want) in texts.iter().zip(ids) {
        let want: Vec<u32> = want.split_whitespace().map(|id| id.parse().unwrap()).collect();
        let got = tokenizer.encode(text, false).unwrap();
        assert_eq!(got, want, "{name}: {text:?}");
    }
}

fn gpt2(folder: &Path) -> Entries {
    let read = |file: &str| std::fs::read_to_string(folder.join("gpt2").join(file)).unwrap();
    let vocabulary: HashMap<String, usize> = serde_json::from_str(&read("vocab.json")).unwrap();
    let mut texts = vec![String::new(); vocabulary.len()];
    vocabulary.into_iter().for_each(|(text, id)| texts[id] = text);
    let types = texts.iter().map(|text| if text == "<|endoftext|>" { 3 } else { 1 }).collect();
    let merges = read("merges.txt").lines().skip(1).map(str::to_owned).collect();
    Entries { pre: Some("gpt-2"), texts, types, merges: Some(merges), bos: None, ..small() }
}

/// The tokens of tiktoken's form; a token's merge is of the two parts that merges of lower rank leave of it.
fn llama3(folder: &Path) -> Entries {
    let text = std::fs::read_to_string(folder.join("llama3/tokenizer.model")).unwrap();
    let tokens: Vec<Vec<u8>> =
        text.lines().map(|line| bytes_of_base64(line.split_once(' ').unwrap().0)).collect();
    let ranks: HashMap<&[u8], usize> =
        tokens.iter().enumerate().map(|(rank, token)| (&token[..], rank)).collect();
    let mut merges = Vec::new();
    for (rank, token) in tokens.iter().enumerate().filter(|(_, token)| token.len() > 1) {
        let mut parts: Vec<&[u8]> = token.chunks(1).collect();
        let mut ends: Vec<usize> = (1..=token.len()).collect();
        while parts.len() > 2 {
            let joint = |i: usize| {
                let start = ends[i] - parts[i].len();
                ranks.get(&token[start..ends[i + 1]]).copied().filter(|joint| *joint < rank)
            };
            let Some((_, i)) = (0..parts.len() - 1).filter_map(|i| Some((joint(i)?, i))).min() else { break };
            let start = ends[i] - parts[i].len();
            parts[i] = &token[start..ends[i + 1]];
            parts.remove(i + 1);
            ends.remove(i);
        }
        if let [left, right] = parts[..] {
            merges.push(format!("{} {}", byte_level(left), byte_level(right)));
        }
    }
    let mut texts: Vec<String> = tokens.iter().map(|token| byte_level(token)).collect();
    let mut types = vec![1; texts.len()];
    for i in 0..256 {
        texts.push(if i == 0 { "<|begin_of_text|>".to_owned() } else { format!("<|special_{i}|>") });
        types.push(3);
    }
    Entries { pre: None, texts, types, merges: Some(merges), bos: Some(128_000), ..small() }
}

fn bytes_of_base64(text: &str) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0u32, 0);
    for digit in text.bytes().filter(|digit| *digit != b'=') {
        bits = bits << 6 | DIGITS.iter().position(|own| *own == digit).unwrap() as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
}

/// The characters by which byte-level BPE writes bytes, as GPT-2's encoder has them.
fn byte_level(bytes: &[u8]) -> String {
    let is_printable = |b: u8| matches!(b, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let character = |byte: u8| {
        if is_printable(byte) {
            return char::from(byte);
        }
        char::from_u32(256 + (0..byte).filter(|b| !is_printable(*b)).count() as u32).unwrap()
    };
    bytes.iter().map(|byte| character(*byte)).collect()
}

fn small() -> Entries {
    let texts = ["<s>", "a", "b", "ab"].map(str::to_owned).to_vec();
    Entries {
        architecture: "llama",
        model: "gpt2",
        pre: Some("llama-bpe"),
        texts,
        types: vec![3, 1, 1, 1],
        scores: None,
        merges: Some(vec!["a b".to_owned()]),
        bos: Some(0),
        eos: None,
        chat_template: None,
        template_names: Vec::new(),
        named_templates: Vec::new(),
    }
}

/// Without `pre`, texts are cut as LLaMA 3 cuts them where the model or its vocabulary is known to want that.
#[test]
fn a_tokenizer_that_does_not_say_how_texts_are_cut_is_not_guessed() {
    for architecture in ["bitnet-25", "bitnet-b1.58"] {
        open(&Entries { architecture, pre: None, ..small() }).unwrap();
    }
    let texts = ["<|begin_of_text|>", "a", "b", "ab"].map(str::to_owned).to_vec();
    open(&Entries { texts, pre: None, ..small() }).unwrap();
    for architecture in ["bitnet", "llama"] {
        let error = open(&Entries { architecture, pre: None, ..small() }).unwrap_err();
        assert_eq!(error.to_string(), "m.gguf: key `tokenizer.ggml.pre` is missing");
        assert!(error.hint().unwrap().contains("--pre-tokenizer"), "{error}");
    }
}

/// The template that bitnet.cpp's converter writes into the files of BitNet b1.58 2B4T, in its essentials.
const FAULTY_TEMPLATE: &str = "{% for message in messages %}{% if message['role'] == 'user' %}\
    {{ 'Human: ' + message['content'] + '\\n\\nBITNETAssistant: ' + eos_token }}{% endif %}{% endfor %}";

fn tokenizer_config(entries: &Entries) -> Json {
    serde_json::from_slice(&open(entries).unwrap().read(TOKENIZER_CONFIG_FILE).unwrap()).unwrap()
}

#[test]
fn the_tokens_around_a_text_and_the_chat_template_are_passed_on() {
    let config = tokenizer_config(&small());
    assert_eq!((&config["bos_token"], &config["eos_token"]), (&"<s>".into(), &Json::Null));
    assert_eq!(config["chat_template"], Json::Null);
    let template = "{{ bos_token }}{% for m in messages %}{{ m['content'] }}{% endfor %} ä\n\"";
    let entries = Entries { eos: Some(3), chat_template: Some(template.to_owned()), ..small() };
    let config = tokenizer_config(&entries);
    assert_eq!((&config["bos_token"], &config["eos_token"]), (&"<s>".into(), &"ab".into()));
    assert_eq!(config["chat_template"], template);
}

#[test]
fn templates_with_names_are_passed_on() {
    let entries = Entries {
        template_names: vec!["tool_use".to_owned(), "rag".to_owned()],
        named_templates: vec![("rag", "r"), ("tool_use", "t"), ("of_another_use", "o")],
        ..small()
    };
    let named = |name: &str, template: &str| serde_json::json!({"name": name, "template": template});
    let [rag, tools] = [named("rag", "r"), named("tool_use", "t")];
    assert_eq!(tokenizer_config(&entries)["chat_template"], serde_json::json!([rag, tools]));
    let entries = Entries { chat_template: Some("d".to_owned()), ..entries };
    let want = serde_json::json!([named("default", "d"), rag, tools]);
    assert_eq!(tokenizer_config(&entries)["chat_template"], want);
}

#[test]
fn the_faulty_template_of_2b4t_is_replaced_and_no_other() {
    let of = |architecture, template: &str| {
        let chat_template = Some(template.to_owned());
        let config = tokenizer_config(&Entries { architecture, chat_template, ..small() });
        config["chat_template"].as_str().unwrap().to_owned()
    };
    for architecture in ["bitnet-25", "bitnet-b1.58"] {
        let right = of(architecture, FAULTY_TEMPLATE);
        let messages = [
            [("role", "system"), ("content", "Be brief.")],
            [("role", "user"), ("content", " How are you?\n")],
        ]
        .map(BTreeMap::from);
        let context = minijinja::context! { messages, bos_token => "<s>", add_generation_prompt => true };
        assert_eq!(
            minijinja::Environment::new().render_str(&right, context).unwrap(),
            "<s>System: Be brief.<|eot_id|>User: How are you?<|eot_id|>Assistant: "
        );
        assert_eq!(of(architecture, "{{ 'Assistant: ' }}"), "{{ 'Assistant: ' }}");
    }
    assert_eq!(of("llama", FAULTY_TEMPLATE), FAULTY_TEMPLATE);
}

/// In files of 2B4T the end of a text is told and the end of a turn is not.
#[test]
fn turns_end_by_the_names_of_tokens() {
    let texts = ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>", "ab"].map(str::to_owned).to_vec();
    let entries = Entries {
        architecture: "bitnet-b1.58",
        pre: None,
        texts,
        types: vec![3, 3, 3, 1],
        merges: Some(Vec::new()),
        eos: Some(1),
        ..small()
    };
    let source = open(&entries).unwrap();
    let config: Json = serde_json::from_slice(&source.read(CONFIG_FILE).unwrap()).unwrap();
    assert_eq!(config["eos_token_id"], serde_json::json!([1, 2]));
    // A text of that name is no end of a turn.
    let source = open(&Entries { types: vec![3, 3, 1, 1], ..entries }).unwrap();
    let config: Json = serde_json::from_slice(&source.read(CONFIG_FILE).unwrap()).unwrap();
    assert_eq!(config["eos_token_id"], serde_json::json!([1]));
}

#[test]
fn a_text_begins_with_its_token() {
    let tokenizer = tokenizer(&small());
    assert_eq!(tokenizer.encode("abb", true).unwrap(), [0, 3, 2]);
    assert_eq!(tokenizer.encode("abb", false).unwrap(), [3, 2]);
}

#[test]
fn wrong_tokenizers_are_refused_by_key() {
    let check = |damage: &dyn Fn(&mut Entries), want: &str| {
        let mut entries = small();
        damage(&mut entries);
        let message = open(&entries).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(message.contains(want), "found `{message}`, expected `{want}`");
    };
    check(&|e| e.model = "rwkv", "`tokenizer.ggml.model` is rwkv, expected `gpt2` or `llama`");
    check(&|e| e.pre = Some("chatglm"), "`tokenizer.ggml.pre` is chatglm");
    check(&|e| e.types.truncate(3), "`tokenizer.ggml.token_type` is a list of 3, expected one for each of 4");
    check(&|e| e.texts[1] = "b".to_owned(), "`tokenizer.ggml.tokens` is `b` twice");
    check(&|e| e.types[1] = 6, "`tokenizer.ggml.tokens` is `a` of the type of bytes, expected `<0x00>` to");
    let signed = |e: &mut Entries| (e.texts[1], e.types[1]) = ("<0x+1>".to_owned(), 6);
    check(&signed, "`tokenizer.ggml.tokens` is `<0x+1>` of the type of bytes");
    check(&|e| e.merges = None, "`tokenizer.ggml.merges` is missing");
    check(
        &|e| e.merges = Some(vec!["ab".to_owned()]),
        "`tokenizer.ggml.merges` is `ab`, expected two tokens",
    );
    check(&|e| e.bos = Some(4), "`tokenizer.ggml.bos_token_id` is 4, expected less than 4");
    check(&|e| e.eos = Some(4), "`tokenizer.ggml.eos_token_id` is 4, expected less than 4");
    check(
        &|e| e.chat_template = Some("t".repeat(1_048_577)),
        "`tokenizer.chat_template` is a text of 1048577 bytes, expected at most 1048576",
    );
    let names = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        move |e: &mut Entries| (e.template_names, e.named_templates) = (names.clone(), vec![("a", "bc")])
    };
    check(&names(&["a", "b"]), "`tokenizer.chat_template.b` is missing");
    check(&names(&["a", "a"]), "`tokenizer.chat_templates` is `a` twice, expected each name once");
    check(&names(&["a"; 65]), "`tokenizer.chat_templates` is a list of 65, expected at most 64");
    check(
        &|e| {
            e.chat_template = Some("t".repeat(1_048_575));
            names(&["a"])(e);
        },
        "`tokenizer.chat_template.a` is a text of 2 bytes, expected at most 1048576 for all templates",
    );
    check(
        &|e| e.texts[2] = "b".repeat(4097),
        "`tokenizer.ggml.tokens` is a token of 4097 bytes, expected at most 4096",
    );
    check(&|e| e.types[1] = -1, "`tokenizer.ggml.token_type` is -1");
    check(&|e| e.model = "llama", "`tokenizer.ggml.scores` is missing");
    let scores = |scores: &[f32]| {
        let scores = scores.to_vec();
        move |e: &mut Entries| (e.model, e.scores) = ("llama", Some(scores.clone()))
    };
    let long = |e: &mut Entries| {
        (e.model, e.scores) = ("llama", Some(vec![0.0; 4]));
        e.texts[3] = "b".repeat(257);
    };
    check(&long, "`tokenizer.ggml.tokens` is a token of 257 bytes, expected at most 256");
    check(&scores(&[0.0; 3]), "`tokenizer.ggml.scores` is a list of 3");
    check(&scores(&[0.0, f32::NAN, 0.0, 0.0]), "`tokenizer.ggml.scores` is NaN");
}
