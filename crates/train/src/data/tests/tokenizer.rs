//! Tokenizers, trained and given.

use tercet::tokenizer::TOOL_USE_TEMPLATE_FILE;

use super::*;

const SYLLABLES: [&str; 40] = [
    "ka", "ke", "ki", "ko", "ku", "ra", "re", "ri", "ro", "ru", "sa", "se", "si", "so", "su", "ta", "te",
    "ti", "to", "tu", "na", "ne", "ni", "no", "nu", "ma", "me", "mi", "mo", "mu", "la", "le", "li", "lo",
    "lu", "aaa", "ana", "nan", "é", "日本",
];

#[test]
fn a_tokenizer_trained_twice_or_on_other_chunks_is_the_same() {
    // Words of syllables, so that there is much to merge and many pairs are as frequent as others.
    let word =
        |i: u64| (0..1 + i % 4).map(|j| SYLLABLES[(finalize(i * 7 + j) % 40) as usize]).collect::<String>();
    let text =
        |i: u64| (0..30).map(|j| word(finalize(i * 31 + j) % 2000) + " ").collect::<String>() + "end\n";
    let texts: Vec<String> = (0..3000).map(text).collect();
    let tokenizers = [
        ("a.txt", texts.concat()),
        ("a.txt", texts.concat()),
        ("a.jsonl", lines(&texts)),
        ("a.jsonl", lines(&texts.chunks(100).map(|texts| texts.concat()).collect::<Vec<_>>())),
    ]
    .map(|(name, text)| {
        let mut run = Run::new(json!({}));
        run.train_on(name, text);
        run.tokenizer(&trained(600)).unwrap()
    });
    for other in &tokenizers[1..] {
        assert!(other.files == tokenizers[0].files);
        assert_eq!(other.digest, tokenizers[0].digest);
    }
    let tokenizer = &tokenizers[0];
    assert_eq!((tokenizer.bos, tokenizer.eos.as_slice(), tokenizer.vocab_size), (Some(0), &[0][..], 600));
    assert_eq!(tokenizer.tokenizer.encode(" ka", true).unwrap().len(), 2);
    let config: Value = serde_json::from_slice(&tokenizer.files[TOKENIZER_CONFIG_FILE]).unwrap();
    assert_eq!(config["tokenizer_class"], "PreTrainedTokenizerFast");
    assert_eq!(config["eos_token"], "<|endoftext|>");
    assert_eq!(config["model_max_length"], 16);
}

#[test]
fn a_trained_tokenizer_is_kept_and_trained_again_if_damaged() {
    let mut run = run_on_stories(200, json!({}));
    let first = run.tokenizer(&trained(300)).unwrap();
    assert!(run.did(Stage::TrainTokenizer));
    let second = run.tokenizer(&trained(300)).unwrap();
    assert!(!run.did(Stage::TrainTokenizer));
    assert!(first.files == second.files && first.digest == second.digest);
    let kept = std::fs::read_dir(run.path("cache")).unwrap().map(|entry| entry.unwrap().path());
    let kept = kept.into_iter().find(|path| path.display().to_string().contains("tokenizer-")).unwrap();
    let mut bytes = std::fs::read(&kept).unwrap();
    bytes[1000] ^= 1;
    std::fs::write(&kept, bytes).unwrap();
    let third = run.tokenizer(&trained(300)).unwrap();
    assert!(run.warnings()[0].contains("is damaged"));
    assert_eq!(first.digest, third.digest);
}

#[test]
fn a_vocabulary_that_cannot_be_had_is_told() {
    let mut run = run_on_stories(5, json!({}));
    let error = run.tokenizer(&trained(256)).unwrap_err().to_string();
    assert_eq!(error, "`tokenizer.vocab_size` is 256, expected 257 to 1048576");
    run.tokenizer(&trained(50_000)).unwrap();
    assert!(run.warnings()[0].contains("has no more pairs to merge"));
    assert!(matches!(run.tokenizer(&TokenizerConfig::default()), Err(DataError::NoTokenizer)));
    let nowhere = TokenizerConfig { path: Some("nowhere".into()), vocab_size: None };
    let error = run.tokenizer(&nowhere).unwrap_err().to_string();
    assert_eq!(
        error,
        "`tokenizer.path`: nowhere: found nothing, expected a `tokenizer.json` or a folder with one"
    );
    let both = TokenizerConfig { path: Some("a".into()), ..trained(300) };
    assert!(matches!(run.tokenizer(&both), Err(DataError::TwoTokenizers)));
    let mut run = Run::new(json!({}));
    run.train_on("a.txt", "");
    let error = run.tokenizer(&trained(300)).unwrap_err().to_string();
    assert_eq!(error, "the training files hold no text");
}

#[test]
fn a_given_tokenizer_brings_its_files_and_tokens() {
    let made = words();
    let mut run = Run::new(json!({}));
    let given = TokenizerConfig { path: Some(run.folder.path().to_path_buf()), vocab_size: None };
    let missing = run.tokenizer(&given).unwrap_err();
    assert!(missing.to_string().contains("`tokenizer.json` is missing") && missing.hint().is_some());
    run.write("tokenizer.json", &made.files["tokenizer.json"]);

    // No more than the file: no special token, and a configuration that loads.
    let bare = run.tokenizer(&given).unwrap();
    assert_eq!((bare.bos, bare.eos.as_slice()), (None, &[][..]));
    assert!(bare.files.contains_key(TOKENIZER_CONFIG_FILE));

    run.write("config.json", json!({"bos_token_id": 0, "eos_token_id": [300, 301, 99_999_999]}).to_string());
    let of_model = run.tokenizer(&given).unwrap();
    assert_eq!((of_model.bos, of_model.eos.as_slice()), (Some(0), &[300, 301][..]));

    let config = json!({"eos_token": {"content": "<|endoftext|>", "special": true}, "bos_token": null,
        "chat_template": [{"name": "tools", "template": "t"}, {"name": "default", "template": "d"}]});
    run.write(TOKENIZER_CONFIG_FILE, config.to_string());
    let path = TokenizerConfig { path: Some(run.path("tokenizer.json")), vocab_size: None };
    let tokenizer = run.tokenizer(&path).unwrap();
    assert_eq!((tokenizer.bos, tokenizer.eos.as_slice()), (Some(0), &[0, 300, 301][..]));
    assert_eq!(tokenizer.chat_template.as_deref(), Some("d"));
    run.write(CHAT_TEMPLATE_FILE, "j");
    let tokenizer = run.tokenizer(&path).unwrap();
    assert_eq!(tokenizer.chat_template.as_deref(), Some("j"));
    assert_eq!(tokenizer.files[CHAT_TEMPLATE_FILE], b"j");
    std::fs::create_dir(run.path(TOOL_USE_TEMPLATE_FILE).parent().unwrap()).unwrap();
    run.write(TOOL_USE_TEMPLATE_FILE, "u");
    assert_eq!(run.tokenizer(&path).unwrap().files[TOOL_USE_TEMPLATE_FILE], b"u");

    for (config, want) in [
        (json!({"eos_token": "<|nothing|>"}), "`eos_token` is `<|nothing|>`, expected a token of"),
        (json!({"eos_token": 3}), "`eos_token` is a number, expected a token"),
        (json!({"chat_template": 3}), "`chat_template` is a string"),
    ] {
        run.write(TOKENIZER_CONFIG_FILE, config.to_string());
        std::fs::remove_file(run.path(CHAT_TEMPLATE_FILE)).unwrap_or(());
        let error = run.tokenizer(&path).unwrap_err().to_string();
        assert!(error.contains(&want.replace("a string", "a number")), "{error}");
    }
}

#[test]
fn documents_end_as_the_tokenizer_has_it() {
    let check = |bos, eos: &[u32], before: &[u32], after: &[u32]| {
        let mut tokenizer = words();
        (tokenizer.bos, tokenizer.eos) = (bos, eos.to_vec());
        let mut run = run_on_stories(20, json!({}));
        let data = run.prepare(&tokenizer).unwrap();
        let file = order::Split::all(&data.train.split.file);
        let text = tokenizer.tokenizer.encode(&story(0), false).unwrap();
        assert_eq!(ids(&file)[0], [before, &text, after].concat());
    };
    // The tokenizer's own template writes 0 before a text.
    check(Some(0), &[0], &[0], &[]);
    check(Some(0), &[300, 301], &[0], &[300]);
    check(None, &[], &[0], &[]);
    check(Some(301), &[], &[301, 0], &[]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn decoding_what_a_trained_tokenizer_encoded_gives_the_text(text in any::<String>()) {
        use std::sync::LazyLock;
        static TOKENIZER: LazyLock<TextTokenizer> = LazyLock::new(words);
        let tokenizer = &TOKENIZER.tokenizer;
        let ids = tokenizer.encode(&text, true).unwrap();
        let bytes_of = TOKENIZER.bytes_of_tokens();
        let bytes: u32 = ids.iter().map(|id| bytes_of[*id as usize]).sum();
        prop_assert_eq!(bytes as usize, text.len());
        prop_assert_eq!(tokenizer.decode(&ids), text);
    }
}
