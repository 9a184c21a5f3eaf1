"""Records a command as an animated SVG.

    python3 tools/record.py OUT.svg 'tercet run "Once upon a time"'

Those of docs/recordings are made by these, with `tercet` on the path and nothing in `runs/tiny`:

    python3 tools/record.py docs/recordings/story.svg 'tercet run "Once upon a time" --temp 0 -n 230' \\
        --columns 83 --rows 13 --fps 60 --title tercet
    python3 tools/record.py docs/recordings/training.svg 'tercet train examples/tiny.toml -q train.steps=320' \\
        --columns 86 --rows 22 --fps 10 --title tercet

The command is run in a terminal of its own, and what it writes is shown again with the times at which it came. What is
drawn, and not recorded: the window, the prompt before and after, and the typing of the command, which is exactly the
one that was run. It is run by no shell and gets no input. It must end with success, or nothing is written.

`--max-idle SECONDS` shortens every longer pause to that; the picture then says so. The SVG plays in a loop, has no
script and takes nothing from outside, so it plays inside of an `<img>` too; with `prefers-reduced-motion` it is its
last frame. One of more than `--max-bytes` is refused: `--fps`, a shorter run or a smaller terminal make it smaller.

Needs Python's standard library and a Unix alone. `tools/recording` has the parts.
"""

import argparse
import os
import shlex
import shutil
import sys
from pathlib import Path

from recording import pty_run, timeline
from recording.frames import frames
from recording.svg import render


class Refused(Exception):
    """Why there is no recording."""


def record(command, arguments):
    """The SVG of a run of `command`."""
    words = shlex.split(command)
    if not words or shutil.which(words[0]) is None:
        raise Refused(f"found no program `{words[0] if words else command}` to run")
    run = pty_run.run(words, arguments.columns, arguments.rows, arguments.timeout)
    if run.exit_code != 0:
        said = b"".join(event.data for event in run.events)[-2000:].decode(errors="replace")
        raise Refused(f"`{command}` ended with {run.exit_code}, expected 0:\n{said}")

    events, seconds, caption = run.events, run.seconds, f"real time, {run.seconds:.1f} s"
    if arguments.max_idle is not None:
        events, seconds = timeline.shortened(run, arguments.max_idle)
        if seconds < run.seconds:
            caption += f", pauses cut to {arguments.max_idle:g} s"
    events, end = timeline.complete(command, events, seconds)
    pictures, unknown = frames(events, arguments.columns, arguments.rows, arguments.fps)
    if unknown:
        print(f"note: passed over what the screen does not know: {', '.join(unknown)}", file=sys.stderr)
    title = arguments.title or command
    loop = max(end, pictures[-1].seconds) + arguments.hold
    svg = render(pictures, arguments.columns, arguments.rows, loop, title, caption)
    print(f"{caption}; {len(pictures)} frames, {len(svg.encode())} bytes", file=sys.stderr)
    return svg


def positive(kind):
    def parse(text):
        value = kind(text)
        if not 0 < value < 1e9:
            raise argparse.ArgumentTypeError(f"found {text}, expected more than 0")
        return value

    return parse


def parser():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, metavar="OUT.svg", help="the file that is written")
    parser.add_argument("command", help="the command, with the quotes that a shell would want")
    parser.add_argument("--columns", type=positive(int), default=80)
    parser.add_argument("--rows", type=positive(int), default=20)
    parser.add_argument("--title", help="in the bar of the window [default: the command]")
    parser.add_argument("--fps", type=positive(float), default=25, help="frames a second at most [default: 25]")
    parser.add_argument("--max-idle", type=positive(float), metavar="SECONDS", help="shortens longer pauses to that")
    parser.add_argument("--hold", type=positive(float), default=5, metavar="SECONDS", help="the pause before it is "
                        "played again [default: 5]")
    parser.add_argument("--timeout", type=positive(float), default=300, metavar="SECONDS", help="ends a run of more "
                        "than that [default: 300]")
    parser.add_argument("--max-bytes", type=positive(int), default=200_000, help="refuses more [default: 200000]")
    return parser


def main(words=None):
    arguments = parser().parse_args(words)
    try:
        svg = record(arguments.command, arguments).encode()
        if len(svg) > arguments.max_bytes:
            raise Refused(f"found {len(svg)} bytes, expected at most {arguments.max_bytes}: see --fps")
    except (Refused, pty_run.TimedOut) as error:
        print(f"{arguments.command}: {error}", file=sys.stderr)
        return 1
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    sibling = arguments.out.with_name(f"{arguments.out.name}.{os.getpid()}.new")
    sibling.write_bytes(svg)
    sibling.replace(arguments.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
