//! Long documents come in pieces that change no token.

use super::*;

#[test]
fn a_long_document_is_one_document_and_its_pieces_change_no_token() {
    let text = stories(12_000).concat();
    assert!(text.len() > 3 * read::PIECE_MAX_BYTES);
    let tokenizer = words();
    let want = tokenizer.tokenizer.encode(&text, true).unwrap();
    for (name, bytes) in [("a.txt", text.clone()), ("a.jsonl", lines(std::slice::from_ref(&text)))] {
        let mut run = Run::new(json!({}));
        run.train_on(name, bytes);
        let data = run.prepare(&tokenizer).unwrap();
        let file = &data.train.split.file;
        assert_eq!(file.documents(), 1);
        assert!((0..file.tokens()).map(|token| file.token(token).0).eq(want.iter().copied()), "{name}");
        assert!(data.description().contains("validation on the last"), "{}", data.description());
    }
}

#[test]
fn a_text_without_spaces_is_cut_anywhere() {
    let text = "日".repeat(read::PIECE_MAX_BYTES / 2);
    let mut run = Run::new(json!({}));
    run.train_on("a.txt", &text);
    let tokenizer = words();
    let data = run.prepare(&tokenizer).unwrap();
    let file = &data.train.split.file;
    let all: Vec<u32> = (0..file.tokens()).map(|token| file.token(token).0).collect();
    assert!(tokenizer.tokenizer.decode(&all) == text);
}

#[test]
fn only_words_beyond_all_measure_are_cut() {
    let text = format!("one two, three {} {}\u{e9}", "4".repeat(4096), "a".repeat(10_000));
    let parts = read::without_long_words(&text);
    assert_eq!(parts.concat(), text);
    assert_eq!(parts.iter().map(|part| part.len()).collect::<Vec<_>>(), [4096 + 16 + 4096, 4096, 1810]);
    assert_eq!(read::without_long_words(""), [""]);
}
