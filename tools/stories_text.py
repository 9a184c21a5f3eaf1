"""Makes the training text of the model inside the binary.

    python3 tools/stories_text.py TINYSTORIES_FOLDER SAMPLES OUT_FOLDER

TINYSTORIES_FOLDER holds `train_head.txt` (a line break parts stories, an empty line paragraphs), `train_v2_head.txt`
(a line `<|endoftext|>` parts stories) and `valid_head.txt`; SAMPLES is what the example `sample_texts` wrote. Needs the
standard library only.

Validation takes each paragraph by itself, so half of what is learnt are paragraphs: of the real text every story and,
more often, every paragraph; of the samples every second is cut into its paragraphs. Samples that share a line of 60
characters with the validation text are left out, and counted. OUT_FOLDER gets `train.txt` and, with the first 200
blocks of `valid_head.txt`, `validation.txt`; in both a line `<|endoftext|>` parts documents. Each appears whole,
`train.txt` last.
"""

import argparse
import os
from pathlib import Path

SEPARATOR = "<|endoftext|>"
# How often each real story and each real paragraph is there.
STORY_COPIES, PARAGRAPH_COPIES = 4, 6
# Blocks of the validation text that count.
VALIDATION_BLOCKS = 200
# A line of so many characters that two texts share is no coincidence.
SHARED_LINE = 60


def documents(text: str, separator: str) -> list[str]:
    """The parts between separators, without the empty ones and without the last, which is cut short."""
    parts = [part.strip() for part in text.split(separator)]
    return [part for part in parts[:-1] if part]


def stories_of_lines(text: str) -> list[str]:
    """Stories parted by single line breaks, whose paragraphs are parted by empty lines."""
    stories: list[list[str]] = []
    follows_empty = False
    for line in text.split("\n"):
        if not line.strip():
            follows_empty = True
            continue
        if stories and follows_empty:
            stories[-1].append(line.strip())
        else:
            stories.append([line.strip()])
        follows_empty = False
    return ["\n\n".join(story) for story in stories[:-1]]


def paragraphs(story: str) -> list[str]:
    return [line.strip() for line in story.split("\n") if line.strip()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tinystories", type=Path)
    parser.add_argument("samples", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    read = lambda name: (arguments.tinystories / name).read_text(encoding="utf-8")

    real = stories_of_lines(read("train_head.txt")) + documents(read("train_v2_head.txt"), SEPARATOR)
    held_out = {line.strip() for line in read("valid_head.txt").split("\n") if len(line.strip()) >= SHARED_LINE}
    is_clean = lambda text: not any(line in held_out for line in paragraphs(text))
    sampled = documents(arguments.samples.read_text(encoding="utf-8"), SEPARATOR)
    clean = [text for text in sampled if is_clean(text)]

    out = real * STORY_COPIES + [part for story in real for part in paragraphs(story)] * PARAGRAPH_COPIES
    for number, text in enumerate(clean):
        out.extend([text] if number % 2 == 0 else paragraphs(text))
    assert all(map(is_clean, real)), "the real text is apart from the validation text"
    arguments.out.mkdir(parents=True, exist_ok=True)
    blocks = [block.strip() for block in read("valid_head.txt").split("\n\n") if block.strip()]
    for name, texts in (("validation.txt", blocks[:VALIDATION_BLOCKS]), ("train.txt", out)):
        partial = arguments.out / f".{name}.part"
        with open(partial, "w", encoding="utf-8") as file:
            file.writelines(f"{text}\n{SEPARATOR}\n" for text in texts)
        os.replace(partial, arguments.out / name)
    left_out = len(sampled) - len(clean)
    print(f"{len(real)} real stories; {len(clean)} samples, {left_out} left out for a line of the validation text")


if __name__ == "__main__":
    main()
