//! A few seconds of fuzzing with a fixed seed: the examples, mutated, must never make the checks of
//! a run panic.

#[path = "../../tercet/tests/mutations/mod.rs"]
mod mutations;
mod train_config;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// Mutated configurations; together they take a few seconds.
const ROUNDS: usize = 6_000;

#[test]
fn no_training_configuration_makes_the_checks_panic() {
    let right = train_config::right_files();
    assert!(right.iter().all(|file| train_config::train_config(file)), "the examples are right");
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let is_right = |_: &usize| {
        let file = &right[mutations::below(&mut rng, right.len())];
        train_config::train_config(&train_config::mutate(&mut rng, file))
    };
    let right = (0..ROUNDS).filter(is_right).count();
    assert!(right > ROUNDS / 50, "{right} of {ROUNDS} are still configurations");
}
