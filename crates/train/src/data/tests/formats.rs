//! Formats and compression: each gives the same tokens, and what is damaged is named.

use super::*;

#[test]
fn every_format_and_compression_gives_the_same_tokens() {
    let texts = stories(40);
    let separated = texts.join("<|sep|>\n");
    let bom = format!("\u{feff}{separated}");
    let files: Vec<(&str, Vec<u8>)> = vec![
        ("a.txt", separated.clone().into_bytes()),
        ("bom.md", bom.clone().into_bytes()),
        ("a.txt.gz", gzip(bom.as_bytes())),
        ("two.txt.gz", [gzip(&separated.as_bytes()[..500]), gzip(&separated.as_bytes()[500..])].concat()),
        ("a.txt.zst", zstd::encode_all(separated.as_bytes(), 1).unwrap()),
        ("a.jsonl", lines(&texts).into_bytes()),
        ("a.ndjson", format!("\n{}  \n", lines(&texts)).into_bytes()),
        ("a.json.gz", gzip(lines(&texts).as_bytes())),
        ("a.jsonl.zstd", zstd::encode_all(lines(&texts).as_bytes(), 1).unwrap()),
        ("a.parquet", parquet_of(&texts, "text", Compression::UNCOMPRESSED)),
        ("snappy", parquet_of(&texts, "text", Compression::SNAPPY)),
        ("zstd.parquet", parquet_of(&texts, "text", Compression::ZSTD(Default::default()))),
    ];
    let tokenizer = words();
    let want: Vec<Vec<u32>> =
        texts.iter().map(|text| tokenizer.tokenizer.encode(text, true).unwrap()).collect();
    for (name, bytes) in files {
        let mut run = Run::new(json!({"document_separator": "<|sep|>"}));
        run.train_on(name, bytes);
        run.write("v.txt", story(100));
        run.config.validation = vec![run.path("v.txt").display().to_string()];
        let data = run.prepare(&tokenizer).unwrap();
        assert_eq!(ids(&data.train.split), want, "{name}");
        assert_eq!(data.train.split.file.text_bytes(), texts.concat().len() as u64, "{name}");
        assert_eq!(run.warnings(), [""; 0]);
    }
}

#[test]
fn a_format_that_is_given_wins_over_the_name() {
    let mut run = Run::new(json!({"format": "jsonl", "text_field": "body"}));
    run.train_on("a.txt", lines(&stories(40)).replace("\"text\"", "\"body\""));
    assert_eq!(run.prepare(&words()).unwrap().train.split.file.documents(), 40);
}

#[test]
fn bad_files_are_named() {
    let texts = lines(&stories(20));
    let packed = gzip(texts.as_bytes());
    let zstd = zstd::encode_all(texts.as_bytes(), 1).unwrap();
    let parquet = parquet_of(&stories(20), "text", Compression::SNAPPY);
    let mut damaged = parquet.clone();
    for byte in &mut damaged[parquet.len() / 3..parquet.len() / 2] {
        *byte ^= 0x5a;
    }
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("a.txt.gz", packed[..packed.len() / 2].to_vec(), "a.txt.gz: the gzip data is damaged or cut off"),
        ("a.jsonl.gz", packed[..packed.len() - 4].to_vec(), "the gzip data is damaged or cut off"),
        ("a.txt.zst", zstd[..zstd.len() / 2].to_vec(), "the zstd data is damaged or cut off"),
        ("a.txt", b"good\n\xffbad".to_vec(), "a.txt: byte 5 of the text is not UTF-8"),
        ("a.txt", b"cut \xe6\x97".to_vec(), "byte 4 of the text is not UTF-8"),
        ("a.txt", b"".to_vec(), "the training files hold no text"),
        ("a.jsonl", b"\n\n".to_vec(), "the training files hold no text"),
        ("a.jsonl", b"{\"text\":\"\"}".to_vec(), "the training files hold no text"),
        (
            "a.jsonl",
            b"{\"text\":\"a\"}\n{\"b\":1}".to_vec(),
            "line 2: field `text` is absent, expected a string",
        ),
        ("a.jsonl", b"{\"text\":3}".to_vec(), "line 1: field `text` is a number, expected a string"),
        ("a.jsonl", b"{\"text\":null}".to_vec(), "field `text` is null"),
        ("a.jsonl", b"{\"text\":\"a\"}\n{\"text\":".to_vec(), "a.jsonl: line 2 is not JSON"),
        ("a.json", b"[{\"text\":\"a\"}]".to_vec(), "line 1 is not JSON"),
        ("a.jsonl", b"{\"text\":\"a\"}\n{\"text\":\"\xff\"}".to_vec(), "byte 22 of the text is not UTF-8"),
        (
            "a.parquet",
            parquet_of(&stories(9), "body", Compression::SNAPPY),
            "found no column `text`, only `id`, `body`",
        ),
        ("a.parquet", parquet[..parquet.len() - 9].to_vec(), "the parquet file cannot be read"),
        ("a.parquet", damaged, "the parquet file cannot be read"),
        ("a.parquet", b"PAR1".to_vec(), "the parquet file cannot be read"),
        ("a.parquet", b"".to_vec(), "not parquet"),
        ("a.txt", b"too small".to_vec(), "expected at least 34: one sequence and a token for training and"),
    ];
    for (name, bytes, want) in cases {
        let mut run = Run::new(json!({}));
        run.train_on(name, bytes);
        run.check_refused(want);
        let left = std::fs::read_dir(run.path("cache")).unwrap();
        let is_temporary = |name: &str| name.ends_with(".tmp");
        assert!(!left.into_iter().any(|entry| is_temporary(entry.unwrap().file_name().to_str().unwrap())));
    }
    let mut run = Run::new(json!({"text_field": "id"}));
    run.train_on("a.parquet", parquet);
    run.check_refused("column `id` holds INT32, expected a string");
    run.config.train = vec![run.path("*.txt").display().to_string()];
    run.check_refused("matches no file");
    run.config.sequence_length = 0;
    run.check_refused("`sequence_length` is 0");
}
