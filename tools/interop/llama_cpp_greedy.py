#!/usr/bin/env python3
"""What llama.cpp, through llama-cpp-python, goes on a prompt with, always taking the likeliest token.

    python3 -m pip install -r tools/requirements-interop.txt
    python3 tools/interop/llama_cpp_greedy.py FILE.gguf TEXT TOKENS

Standard output is one JSON object: `llama_cpp` (the package's version), `prompt` (the ids of TEXT with its special
tokens), `ids` (the tokens that follow; fewer than TOKENS where one ends the text), and `logits` (those after the prompt).
"""

import argparse
import json
import sys
from pathlib import Path

import llama_cpp
import numpy as np


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("text")
    parser.add_argument("tokens", type=int)
    arguments = parser.parse_args()

    model = llama_cpp.Llama(
        str(arguments.file), n_ctx=0, n_threads=1, n_threads_batch=1, logits_all=False, verbose=False
    )
    prompt = model.tokenize(arguments.text.encode(), add_bos=True, special=False)
    ids: list[int] = []
    first: list[float] = []
    pending = prompt
    while len(ids) < arguments.tokens:
        model.eval(pending)
        logits = np.array(model._ctx.get_logits_ith(-1)[: model.n_vocab()], dtype=np.float32)
        if not first:
            first = logits.tolist()
        pending = [int(logits.argmax())]
        if pending[0] == model.token_eos():
            break
        ids += pending
    print(json.dumps({"llama_cpp": llama_cpp.__version__, "prompt": prompt, "ids": ids, "logits": first}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
