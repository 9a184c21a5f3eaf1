"""The pictures of a recording: what is on the screen at the times at which it has changed."""

import math
from typing import NamedTuple

from recording.screen import Screen, Snapshot


class Frame(NamedTuple):
    seconds: float
    shown: Snapshot


def frames(events, columns, rows, frames_per_second):
    """The frames of `events`, at most so many a second, and the names of the sequences that the screen does not know.

    Time is cut into ticks. A frame shows what there is at the end of a tick: never too early, and late by less than
    one tick.
    """
    screen = Screen(columns, rows)
    result = []
    tick_of_frame = 0

    def take():
        shown = screen.shown()
        if not result or result[-1].shown != shown:
            result.append(Frame(tick_of_frame / frames_per_second, shown))

    for seconds, data in events:
        # What comes exactly at a tick belongs to it, whatever the rounding of the product.
        tick = math.ceil(seconds * frames_per_second - 1e-6)
        if tick > tick_of_frame:
            take()
            tick_of_frame = tick
        screen.feed(data)
    take()
    return result, sorted(screen.unknown)
