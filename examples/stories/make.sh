#!/bin/sh
set -eu

usage() {
    cat >&2 << 'END'
Makes the model inside the binary, in about two hours on two cores:

    sh examples/stories/make.sh TINYSTORIES_FOLDER BITNET_STORIES_FOLDER

TINYSTORIES_FOLDER holds train_head.txt, train_v2_head.txt and valid_head.txt; BITNET_STORIES_FOLDER
the 3M model of bitllama2.c (bit_model_3M.bin, tokenizer.model), whose logits and samples are learnt
from. It can be run again after an interruption and goes on. The result is runs/stories/decay/model
in the project's folder.
END
    exit 2
}

[ $# -eq 2 ] || usage
# From here on paths are relative to the project, wherever the command was given.
tinystories=$(CDPATH='' cd -- "$1" && pwd)
bitnet_stories=$(CDPATH='' cd -- "$2" && pwd)
CDPATH='' cd -- "$(dirname -- "$0")/../.."

cargo build --release -p tercet-cli -p tercet --bins --examples
runs=runs/stories
mkdir -p "$runs"
# `config.json` is the last file that the import leaves.
[ -f "$runs/teacher/config.json" ] ||
    python3 tools/import_llama2c.py "$bitnet_stories/bit_model_3M.bin" "$runs/teacher" \
        --tokenizer "$bitnet_stories/tokenizer.model" --force
if [ ! -f "$runs/samples.txt" ]; then
    ./target/release/examples/sample_texts "$runs/teacher" 36700000 1 > "$runs/samples.part"
    mv "$runs/samples.part" "$runs/samples.txt"
fi
# `train.txt` is the last file that the script leaves.
[ -f "$runs/text/train.txt" ] || python3 tools/stories_text.py "$tinystories" "$runs/samples.txt" "$runs/text"
./target/release/tercet train examples/stories/train.toml
./target/release/tercet train examples/stories/decay.toml
./target/release/examples/bits_per_byte "$tinystories/valid_head.txt" 200 "$runs/decay/model"
