//! What a GGUF file's head says takes at most 64 MiB beside the file: counted by the allocator.
#![expect(unsafe_code, reason = "an allocator that counts")]

mod gguf_file;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use gguf_file::{File, Tensor, Value, list_value, text_value, texts_value, u8_value};
use tercet::gguf::Gguf;
use tercet::gguf::model::GgufModel;
use tercet::source::Source;

const ROOM_BYTES: usize = 64 << 20;

struct Counting;

static BYTES: AtomicUsize = AtomicUsize::new(0);
static PEAK_BYTES: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let bytes = BYTES.fetch_add(layout.size(), Ordering::SeqCst) + layout.size();
        PEAK_BYTES.fetch_max(bytes, Ordering::SeqCst);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        BYTES.fetch_sub(layout.size(), Ordering::SeqCst);
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Reads a file and returns what it made of the tokenizer, or the error.
fn check(what: &str, file: &File) -> Result<usize, String> {
    let bytes: Arc<[u8]> = file.bytes().into();
    let before = BYTES.load(Ordering::SeqCst);
    PEAK_BYTES.store(before, Ordering::SeqCst);
    let gguf = Gguf::in_memory("m.gguf", Arc::clone(&bytes)).map_err(|error| error.to_string());
    let model = gguf.and_then(|gguf| GgufModel::new(Arc::new(gguf)).map_err(|error| error.to_string()));
    let peak = PEAK_BYTES.load(Ordering::SeqCst) - before;
    assert!(peak <= ROOM_BYTES, "{what}: {peak} bytes beside a file of {}", bytes.len());
    model.map(|model| Source::Gguf(model).read("tokenizer.json").map_or(0, |json| json.len()))
}

#[track_caller]
fn check_refused(what: &str, file: &File, want: &str) {
    let message = check(what, file).expect_err("the file is refused");
    assert!(message.contains(want), "{what}: found `{message}`, expected `{want}`");
}

fn entry(key: &str, value: Value) -> (String, Value) {
    (format!("tokenizer.ggml.{key}"), value)
}

/// A vocabulary of SentencePiece whose tokens all have the same score.
fn pieces(texts: &[String]) -> File {
    let scores = list_value(6, texts.len() as u64, &vec![0; texts.len() * 4]);
    let entries = vec![
        entry("model", text_value("llama")),
        entry("tokens", texts_value(texts)),
        entry("scores", scores),
    ];
    File::of_tokenizer("llama", texts.len(), entries)
}

fn byte_level(texts: &[String], token_type: i32, merges: &[String]) -> File {
    let types = token_type.to_le_bytes().repeat(texts.len());
    let entries = vec![
        entry("model", text_value("gpt2")),
        entry("pre", text_value("gpt-2")),
        entry("tokens", texts_value(texts)),
        entry("token_type", list_value(5, texts.len() as u64, &types)),
        entry("merges", texts_value(merges)),
    ];
    File::of_tokenizer("llama", texts.len(), entries)
}

fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|i| format!("{i:x}")).collect()
}

/// One test, since the bytes of all threads are counted.
#[test]
fn no_metadata_take_more_than_64_mib_beside_the_file() {
    // Of n equal letters merges follow in n - 1 ways.
    let runs = |letters: std::ops::RangeInclusive<char>| -> Vec<String> {
        letters.flat_map(|letter| (1..=256).map(move |n| letter.to_string().repeat(n))).collect()
    };
    let made = check("merges of a letter", &pieces(&runs('a'..='a'))).unwrap();
    assert!(made > 1 << 20, "{made}");
    let want =
        "key `tokenizer.ggml.tokens` is of merges that make `tokenizer.json` longer than 33554432 bytes";
    check_refused("merges of 26 letters", &pieces(&runs('a'..='z')), want);

    let want = "key `tokenizer.ggml.merges` is of merges that make";
    let merges = vec!["a b".to_owned(); 4_000_000];
    check_refused("many merges", &byte_level(&numbers(300), 1, &merges), want);
    let merges = vec![format!("{} b", "\u{1}".repeat(8 << 20))];
    check_refused("a long merge", &byte_level(&numbers(300), 1, &merges), want);

    check("as many tokens as are read", &byte_level(&numbers(400_000), 1, &[])).unwrap();
    check("as many pieces as are read", &pieces(&numbers(400_000))).unwrap();
    let want = "key `tokenizer.ggml.tokens` is a list of 400001, expected at most 400000";
    check_refused("more tokens", &byte_level(&numbers(400_001), 1, &[]), want);
    let want = "key `tokenizer.ggml.tokens` is of more than 16777216 bytes as JSON";
    check_refused("many control tokens", &byte_level(&numbers(400_000), 3, &[]), want);
    let tokens: Vec<String> = (0..4000).map(|i| format!("{i}{}", "\u{1}".repeat(2000))).collect();
    check_refused("tokens that JSON writes longer", &byte_level(&tokens, 1, &[]), want);

    let mut file = pieces(&runs('a'..='a'));
    file.metadata.extend((0..65_000).map(|i| (i.to_string(), u8_value(0))));
    file.tensors.extend((0..65_000).map(|i| Tensor::new(&format!("{i:063}"), &[1], 0, 1024 + i * 32)));
    file.data.resize(1024 + 65_000 * 32, 0);
    check("many keys and tensors", &file).unwrap();
}
