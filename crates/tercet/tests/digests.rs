//! The published digests: three tiny models give the same logits, bit for bit, on every
//! instruction set, with any thread count, in any chunks, alone and in a batch.
//!
//! It runs on the main thread and without the test harness, so that it also runs where threads
//! cannot be started (an emulator): `TERCET_TEST_THREADS` says which pools to try, `1,2` if unset.
//! Its lines are those of the harness.
#![expect(clippy::print_stdout, reason = "a test's report")]

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use tercet::digest::LogitsDigest;
use tercet::embedded;
use tercet::model::{LogitRows, Model, Session, SessionSize};
use tercet::source::Source;
use tercet_kernels::{Isa, KvCache, KvType, Layout, Pool, Sequence};

/// A golden model, and the digests of its logits with a cache in f32, f16 and int8.
///
/// Recorded from the scalar definition on one thread. They change only with the arithmetic, and
/// then on every machine.
const MODELS: [(&str, [&str; 3]); 3] = [
    (
        "bitnet-packed-h100",
        [
            "f36a712da86938bba7669dc4f949651b87b7c2b82d3c2274f61dedfa24bde1a2",
            "8a13ecdbd8690ba64d75e0934700daaaf970ebcbf3f207f515010863f7b5edf8",
            "66e37238c136af8f82c4075ee70b1452c7fcfba4d330a74eaa7dfb256488ace0",
        ],
    ),
    (
        "llama-bitlinear-rmsnorm-h48-headdim",
        [
            "4f57929b92300bc5d22f364bb2ac25b172d7f17a450637c44d4ce088418c3073",
            "2ac412000cdc421b54603ac076253c664b7795b6dd3121edce1cb56f0b982e84",
            "f02f244cded8fbeb60612403efec89399a1975fb14d5516f9e10f0d3af36d76a",
        ],
    ),
    (
        "llama-dense-h100-bf16",
        [
            "bebe3d78cc12e95aee8b6e753a537d7568d315f171303036300ff8574734c5b6",
            "523e22187952cd5579b08fb3dfb448279bb8c7108d1570ffc852632398ae3f67",
            "b603445495de9a11b02cb6e5add9f6805e3d6f0802c94f22f05deb5fb2e3055b",
        ],
    ),
];

/// Positions of the sequence: more than two blocks of the cache, and no whole number of them.
const POSITIONS: usize = 150;
const CHUNKS: [usize; 3] = [1, 7, 512];

fn main() -> ExitCode {
    let threads = std::env::var("TERCET_TEST_THREADS").unwrap_or_else(|_| "1,2".to_owned());
    let threads: Vec<usize> =
        threads.split(',').map(|n| n.parse().expect("TERCET_TEST_THREADS: numbers")).collect();
    let mut results = Vec::new();
    for isa in Isa::available() {
        for threads in &threads {
            let pool = Arc::new(Pool::new(isa, *threads));
            for (name, want) in MODELS {
                for layout in [Layout::TwoBit, Layout::BaseThree] {
                    let model = load(name, &pool, layout);
                    let title = format!("{name}_{layout:?}_{isa:?}_{threads}_threads").to_lowercase();
                    let chunks = if layout == Layout::TwoBit { &CHUNKS[..] } else { &CHUNKS[1..2] };
                    results.push(report(&title, check(&model, chunks, want)));
                }
            }
            let digest = embedded::logits_digest(&pool).map_err(|error| error.to_string());
            let title = format!("embedded_{isa:?}_{threads}_threads");
            results.push(report(
                &title,
                digest.and_then(|got| equal("embedded", &got, embedded::STORIES_LOGITS_SHA256)),
            ));
        }
    }
    let failed = results.iter().filter(|is_ok| !**is_ok).count();
    let (word, passed) = (if failed == 0 { "ok" } else { "FAILED" }, results.len() - failed);
    println!(
        "\ntest result: {word}. {passed} passed; {failed} failed; 0 ignored; 0 measured; 0 filtered out\n"
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn report(title: &str, result: Result<(), String>) -> bool {
    match &result {
        Ok(()) => println!("test {title} ... ok"),
        Err(why) => println!("test {title} ... FAILED\n{why}"),
    }
    result.is_ok()
}

fn load(name: &str, pool: &Arc<Pool>, layout: Layout) -> Model {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/golden").join(name);
    Model::load(&Source::folder(folder).unwrap(), Arc::clone(pool), layout).unwrap()
}

fn check(model: &Model, chunks: &[usize], want: [&str; 3]) -> Result<(), String> {
    let size = SessionSize { context: 2 * POSITIONS, max_rows: 2 * POSITIONS, max_logit_rows: 2 * POSITIONS };
    let mut session = Session::new(model, size);
    for (kv_type, want) in [KvType::F32, KvType::F16, KvType::Int8].into_iter().zip(want) {
        for chunk in chunks {
            let mut cache = session.new_cache(kv_type);
            let logits = run(&mut session, &mut cache, &tokens(model, 1), *chunk);
            let mut digest = LogitsDigest::default();
            digest.update(&logits);
            equal(&format!("{kv_type:?}, chunks of {chunk}"), &digest.finish(), want)?;
        }
        check_batch(&mut session, kv_type)?;
    }
    Ok(())
}

fn equal(what: &str, got: &str, want: &str) -> Result<(), String> {
    if got == want { Ok(()) } else { Err(format!("{what}: found {got}, expected {want}")) }
}

/// A sequence among others has the logits that it has alone.
fn check_batch(session: &mut Session<'_>, kv_type: KvType) -> Result<(), String> {
    let model = session.model();
    let vocab_size = model.config().vocab_size;
    let texts: Vec<Vec<u32>> = (1..4).map(|seed| tokens(model, seed)).collect();
    let alone: Vec<Vec<f32>> = texts
        .iter()
        .map(|text| {
            let mut cache = session.new_cache(kv_type);
            run(session, &mut cache, text, POSITIONS)
        })
        .collect();
    let mut caches: Vec<KvCache> = texts.iter().map(|_| session.new_cache(kv_type)).collect();
    // The sequences start at different positions, and then advance by 1, 5 and 9 tokens a pass.
    for (i, cache) in caches.iter_mut().enumerate() {
        run(session, cache, &texts[i][..10 * i + 1], POSITIONS);
    }
    for _ in 0..10 {
        let from: Vec<usize> = caches.iter().map(KvCache::len).collect();
        let mut sequences: Vec<Sequence<'_>> = (caches.iter_mut().enumerate())
            .map(|(i, cache)| Sequence { tokens: &texts[i][from[i]..from[i] + 1 + 4 * i], cache })
            .collect();
        let logits = session.forward(&mut sequences, LogitRows::All).unwrap();
        let mut row = 0;
        for (i, from) in from.iter().enumerate() {
            let rows = 1 + 4 * i;
            let got = &logits[row * vocab_size..(row + rows) * vocab_size];
            let want = &alone[i][from * vocab_size..(from + rows) * vocab_size];
            if got.iter().zip(want).any(|(got, want)| got.to_bits() != want.to_bits()) {
                return Err(format!("{kv_type:?}: sequence {i} at position {from} differs in a batch"));
            }
            row += rows;
        }
    }
    Ok(())
}

/// All logits of `tokens`, in chunks.
fn run(session: &mut Session<'_>, cache: &mut KvCache, tokens: &[u32], chunk: usize) -> Vec<f32> {
    let mut logits = Vec::new();
    for tokens in tokens.chunks(chunk) {
        logits.extend_from_slice(session.forward(&mut [Sequence { tokens, cache }], LogitRows::All).unwrap());
    }
    logits
}

fn tokens(model: &Model, seed: u32) -> Vec<u32> {
    let vocab_size = model.config().vocab_size as u32;
    (0..POSITIONS as u32).map(|i| (i * i * 7 + i * 31 * seed + seed) % vocab_size).collect()
}
