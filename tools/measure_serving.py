"""Times a running `tercet serve`: tokens a second of parallel requests, and how long a short one waits beside a long one.

    tercet serve --preset 2b4t --port 8080
    python3 tools/measure_serving.py http://127.0.0.1:8080 --parallel 1,4,8,16,32

Prompts are token ids, so no tokenizer is timed. Needs Python's standard library alone.
"""

import argparse
import json
import statistics
import threading
import time
import urllib.request


def post(url, body):
    """The answer to a request, and the seconds that it took."""
    data = json.dumps(body).encode()
    request = urllib.request.Request(url + "/v1/completions", data, {"Content-Type": "application/json"})
    started = time.monotonic()
    with urllib.request.urlopen(request, timeout=600) as response:
        answer = json.load(response)
    return answer, time.monotonic() - started


def first_token_seconds(url, body):
    """Seconds to the first event of a stream, and to its end."""
    data = json.dumps({**body, "stream": True}).encode()
    request = urllib.request.Request(url + "/v1/completions", data, {"Content-Type": "application/json"})
    started = time.monotonic()
    first = None
    with urllib.request.urlopen(request, timeout=600) as response:
        for line in response:
            if line.startswith(b"data: ") and first is None:
                first = time.monotonic() - started
    return first, time.monotonic() - started


def prompt(seed, length):
    return [(i * 7919 + seed * 104729) % 30000 + 3 for i in range(length)]


def throughput(url, parallel, tokens, stream):
    """Tokens a second of so many requests together."""
    body = {"max_tokens": tokens, "ignore_eos": True, "temperature": 0}

    def ask(seed):
        asked = {**body, "prompt": prompt(seed, 1)}
        if stream:
            first_token_seconds(url, asked)
        else:
            post(url, asked)

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(parallel)]
    started = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return parallel * tokens / (time.monotonic() - started)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--parallel", default="1,4,8,16,32")
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--long", type=int, default=2000, help="tokens of the long prompt; 0 leaves that part out")
    arguments = parser.parse_args()
    url = arguments.url.rstrip("/")

    for parallel in map(int, arguments.parallel.split(",")):
        for name, stream in [("whole", False), ("stream", True)]:
            found = [throughput(url, parallel, arguments.tokens, stream) for _ in range(arguments.repeats)]
            print(f"{parallel:3} {name:6} {statistics.median(found):8.2f} t/s  {min(found):.2f} to {max(found):.2f}", flush=True)
    if not arguments.long:
        return

    alone, _ = first_token_seconds(url, {"prompt": prompt(1, 16), "max_tokens": 1})
    print(f"a short prompt alone: {alone:.2f} s")
    long = {"prompt": prompt(2, arguments.long), "max_tokens": 1}
    waits = []
    took = []

    def ask_long():
        took.append(post(url, {**long, "prompt": prompt(3, arguments.long)}))

    thread = threading.Thread(target=ask_long)
    thread.start()
    time.sleep(1)
    while thread.is_alive():
        wait, _ = first_token_seconds(url, {"prompt": prompt(len(waits) + 10, 16), "max_tokens": 1})
        waits.append(wait)
    thread.join()
    print(f"while a prompt of {arguments.long} tokens was read, {len(waits)} short ones waited "
          f"{statistics.median(waits):.2f} s (median), {max(waits):.2f} s (longest); the long one took {took[0][1]:.2f} s")

    for name in ["first", "again"]:
        answer, seconds = post(url, long)
        cached = answer["usage"]["prompt_tokens_details"]["cached_tokens"]
        print(f"the same long prompt, {name}: {seconds:.2f} s, {cached} tokens cached")


if __name__ == "__main__":
    main()
