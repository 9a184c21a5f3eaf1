//! A few mutations of right schemas in each run of the tests; `fuzz/` has the fuzzer.

#[path = "../../tercet/tests/mutations/mod.rs"]
mod mutations;
mod schema_bytes;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// Mutated schemas.
const CASES: usize = 150;

#[test]
fn mutated_schemas_end_in_a_grammar_or_an_error() {
    let right = schema_bytes::right_schemas();
    right.iter().for_each(|schema| schema_bytes::schema(schema));
    let mut rng = ChaCha8Rng::seed_from_u64(8);
    for case in 0..CASES {
        let mut bytes = right[case % right.len()].clone();
        for _ in 0..1 + mutations::below(&mut rng, 4) {
            bytes = mutations::json(&mut rng, &bytes);
        }
        schema_bytes::schema(&bytes);
    }
}
