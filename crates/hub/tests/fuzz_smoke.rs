//! A second of fuzzing with a fixed seed: right answers, mutated, must never make the reader panic, nor
//! name what lies elsewhere.

#[path = "../../tercet/tests/mutations/mod.rs"]
mod mutations;
mod repository_bytes;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use repository_bytes::{repository, right_answer};

const ROUNDS: usize = 20_000;

#[test]
fn no_answer_of_a_server_makes_the_reader_panic() {
    let right = right_answer();
    assert!(repository(&right));
    let mut rng = ChaCha8Rng::seed_from_u64(6);
    let right = (0..ROUNDS).filter(|_| repository(&mutations::json(&mut rng, &right))).count();
    assert!(right > ROUNDS / 50, "{right} of {ROUNDS} are still answers");
}
