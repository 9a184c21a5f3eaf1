"""Cells as they are drawn: a colour for what is behind and one for the character, as `#rrggbb`."""

from functools import lru_cache
from typing import NamedTuple

WINDOW = "#12161d"
BAR = "#1b212b"
BORDER = "#2f3743"
TEXT = "#d5dae3"
MUTED = "#8590a2"
CURSOR = "#a9b4c6"

_SIXTEEN = [
    "#1d2330", "#f47d76", "#7fcf8a", "#e3b866", "#6aa8f7", "#c594f2", "#5cc8d0", "#c6ccd8",
    "#667186", "#ff9a93", "#9be3a4", "#ffd866", "#8fc0ff", "#d9b3ff", "#7fe0e6", "#f2f5fa",
]  # fmt: skip
_CUBE = [0, 95, 135, 175, 215, 255]
# Shades and blocks are drawn as terminals draw them: as rectangles, and not by a font that may lack them.
_SHADES = {"░": 0.25, "▒": 0.5, "▓": 0.75, "█": 1.0}
_DIMMED = 0.6


class Drawn(NamedTuple):
    """A cell. `text` is empty where there is only the background, and that is None where it is the window's."""

    text: str = ""
    foreground: str = ""
    background: str | None = None
    is_bold: bool = False
    is_italic: bool = False
    lines: str = ""  # the value of `text-decoration`


@lru_cache(maxsize=None)
def drawn(cell, is_cursor):
    """How a cell of the screen is drawn."""
    text, style = cell
    foreground = TEXT if style.foreground is None else _hex(style.foreground)
    background = WINDOW if style.background is None else _hex(style.background)
    if style.is_inverse:
        foreground, background = background, foreground
    if style.is_dim:
        foreground = _mixed(background, foreground, _DIMMED)
    if is_cursor:
        foreground, background = WINDOW, CURSOR
    if style.is_hidden:
        text = ""
    if text in _SHADES:
        text, background = "", _mixed(background, foreground, _SHADES[text])
    background = None if background == WINDOW else background
    lines = " ".join(
        name for name, is_on in [("underline", style.is_underlined), ("line-through", style.is_struck)] if is_on
    )
    if not text.strip() and not (text and lines):
        return Drawn(background=background)
    return Drawn(text, foreground, background, style.is_bold, style.is_italic, lines)


def _hex(color):
    """A colour of xterm's palette of 256, or one of three parts."""
    if isinstance(color, tuple):
        parts = color
    elif color < 16:
        return _SIXTEEN[color]
    elif color < 232:
        index = color - 16
        parts = [_CUBE[index // 36], _CUBE[index // 6 % 6], _CUBE[index % 6]]
    else:
        parts = [8 + 10 * (color - 232)] * 3
    return "#" + "".join(f"{part:02x}" for part in parts)


def _mixed(low, high, share):
    """The colour at `share` of the way from one to the other."""
    pairs = [(int(low[i:i + 2], 16), int(high[i:i + 2], 16)) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in pairs)
