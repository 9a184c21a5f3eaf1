//! `tercet doctor`: this machine computes what every other one does.

mod command;

use command::tercet;
use tercet::embedded::STORIES_LOGITS_SHA256;
use tercet_kernels::Isa;

#[test]
fn every_instruction_set_is_well() {
    let found = tercet(["doctor", "--json", "-t", "2"]).success().json();
    let sets = found["instruction_sets"].as_array().unwrap();
    let names: Vec<_> = sets.iter().map(|set| set["name"].as_str().unwrap()).collect();
    let want: Vec<_> = Isa::available().into_iter().map(Isa::name).collect();
    assert_eq!(names, want);
    for set in sets {
        assert!(set["self_test_error"].is_null(), "{set}");
        assert_eq!(set["logits_sha256"], STORIES_LOGITS_SHA256);
    }
    assert_eq!(sets.iter().filter(|set| set["is_chosen"] == true).count(), 1);
    for ceiling in ["read_bytes_per_s", "int8_ops_per_s", "f32_ops_per_s"] {
        assert!(found["ceilings"][ceiling].as_f64().unwrap() > 1e6, "{ceiling}");
    }
}

#[test]
fn people_get_a_table() {
    let found = tercet(["doctor"]).success();
    for part in
        ["CPU", "memory", "read bandwidth", "of int8", "instruction set", "chosen", STORIES_LOGITS_SHA256]
    {
        assert!(found.stdout.contains(part), "`{part}` is not in\n{}", found.stdout);
    }
    assert_eq!(found.stderr, "");
}
