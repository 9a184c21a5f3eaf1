#!/usr/bin/env python3
"""Tokens a second of a GGUF file in llama.cpp, by its Python binding.

    python3 -m pip install -r tools/peers/requirements.txt
    python3 tools/peers/llama_cpp_bench.py model.gguf -t 2 -p 512 -n 128 -r 5

Tests are named as llama-bench's: `pp512` reads a prompt of 512 tokens, `tg128` decodes 128, each
after one to warm up; no token is chosen. Prints one JSON object a test, with the names that `tercet
bench` uses.
"""

import argparse
import importlib.metadata
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import llama_cpp


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", type=Path, help="a GGUF file")
    parser.add_argument("-t", "--threads", type=int, default=os.cpu_count(), help="threads")
    parser.add_argument("-p", "--n-prompt", type=int, default=512, help="tokens of the prompt, 0 for none")
    parser.add_argument("-n", "--n-gen", type=int, default=128, help="tokens to decode, 0 for none")
    parser.add_argument("-r", "--repetitions", type=int, default=5, help="repetitions of each test")
    arguments = parser.parse_args()
    started = time.perf_counter()
    model = llama_cpp.Llama(
        model_path=str(arguments.model),
        n_ctx=max(arguments.n_prompt, arguments.n_gen) + 1,
        n_batch=max(arguments.n_prompt, 1),
        n_ubatch=512,
        n_threads=arguments.threads,
        n_threads_batch=arguments.threads,
        use_mmap=True,
        verbose=False,
    )
    load_s = time.perf_counter() - started

    def prompt() -> None:
        model.eval(tokens(model, arguments.n_prompt))

    def decode() -> None:
        for token in tokens(model, arguments.n_gen):
            model.eval([token])

    tests = [("pp", arguments.n_prompt, prompt), ("tg", arguments.n_gen, decode)]
    for name, count, run in tests:
        if count == 0:
            continue
        samples = [count / seconds(model, run) for _ in range(1 + arguments.repetitions)][1:]
        row = {
            "engine": "llama-cpp-python",
            "version": importlib.metadata.version("llama-cpp-python"),
            "model": arguments.model.name,
            "threads": arguments.threads,
            "test": f"{name}{count}",
            "parallel": 1,
            "tokens_per_s": statistics.median(samples),
            "stddev": statistics.stdev(samples) if len(samples) > 1 else None,
            "samples": samples,
            "rss_bytes": resident_bytes(),
            "load_s": load_s,
        }
        print(json.dumps(row), flush=True)


def tokens(model: llama_cpp.Llama, count: int) -> list[int]:
    """Spread over the vocabulary, and always the same."""
    return [(i + 1) * 2_654_435_761 % model.n_vocab() for i in range(count)]


def seconds(model: llama_cpp.Llama, run: Callable[[], None]) -> float:
    model.reset()
    started = time.perf_counter()
    run()
    llama_cpp.llama_synchronize(model.ctx)
    return time.perf_counter() - started


def resident_bytes() -> int | None:
    """Mapped files included; nothing where the system does not say."""
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    lines = (line.split() for line in status.read_text().splitlines())
    return next(int(line[1]) * 1024 for line in lines if line[0] == "VmRSS:")


if __name__ == "__main__":
    main()
