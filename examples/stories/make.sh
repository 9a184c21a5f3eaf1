#!/bin/sh
# Makes the model inside the binary, in about two hours on two cores:
#
#     sh examples/stories/make.sh TINYSTORIES_FOLDER BITNET_STORIES_FOLDER
#
# TINYSTORIES_FOLDER holds train_head.txt, train_v2_head.txt and valid_head.txt; BITNET_STORIES_FOLDER
# the 3M model of bitllama2.c (bit_model_3M.bin, tokenizer.model), whose logits and samples are learnt
# from. It can be run again after an interruption and goes on. The result is runs/stories/decay/model.
set -eu
[ $# -eq 2 ] || { sed -n 2,9p "$0"; exit 2; }
cargo build --release -p tercet-cli -p tercet --bins --examples
runs=runs/stories
mkdir -p "$runs"
[ -d "$runs/teacher" ] ||
    python3 tools/import_llama2c.py "$2/bit_model_3M.bin" "$runs/teacher" --tokenizer "$2/tokenizer.model"
if [ ! -f "$runs/samples.txt" ]; then
    ./target/release/examples/sample_texts "$runs/teacher" 36700000 1 > "$runs/samples.part"
    mv "$runs/samples.part" "$runs/samples.txt"
fi
[ -f "$runs/text/train.txt" ] || python3 tools/stories_text.py "$1" "$runs/samples.txt" "$runs/text"
./target/release/tercet train examples/stories/train.toml
./target/release/tercet train examples/stories/decay.toml
./target/release/examples/bits_per_byte "$1/valid_head.txt" 200 "$runs/decay/model"
