"""What the viewer sees, from prompt to prompt, as events. The command's own keep their times."""

import random
from typing import NamedTuple

PROMPT = b"\x1b[1;32m$\x1b[0m "
BEFORE_TYPING_S = 0.7
KEY_S = (0.035, 0.095)  # between two keys
WORD_S = (0.06, 0.14)  # more, before a word
BEFORE_ENTER_S = 0.45


class Event(NamedTuple):
    """Bytes, and the seconds since the start at which the last of them came."""

    seconds: float
    data: bytes


class Run(NamedTuple):
    events: list[Event]
    seconds: float  # from start to exit
    exit_code: int  # negative: the signal that ended it


def typed(command):
    """The events of typing `command` after a prompt, and the second at which it is entered."""
    # The same command is always typed in the same rhythm, so that a recording can be made again.
    rhythm = random.Random(command)
    events = [Event(0.0, PROMPT)]
    seconds = BEFORE_TYPING_S
    for character in command:
        seconds += rhythm.uniform(*KEY_S)
        if character == " ":
            seconds += rhythm.uniform(*WORD_S)
        events.append(Event(seconds, character.encode()))
    seconds += BEFORE_ENTER_S
    events.append(Event(seconds, b"\r\n"))
    return events, seconds


def shortened(run, max_idle_s):
    """The events and the duration of a run without what is above `max_idle_s` of every pause."""
    events, cut, last = [], 0.0, 0.0
    for event in [*run.events, Event(run.seconds, b"")]:
        cut += max(0.0, event.seconds - last - max_idle_s)
        last = event.seconds
        events.append(Event(event.seconds - cut, event.data))
    return events[:-1], events[-1].seconds


def complete(command, events, seconds):
    """Typing, the events of a run that took `seconds`, and the next prompt; and when that comes."""
    before, entered = typed(command)
    end = entered + seconds
    return before + [Event(entered + at, data) for at, data in events] + [Event(end, PROMPT)], end
