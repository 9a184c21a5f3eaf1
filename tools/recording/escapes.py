"""Cuts the bytes of a terminal into text, controls and escape sequences. It knows the syntax (ECMA-48), no meaning."""

import codecs
import re
from typing import NamedTuple


class Text(NamedTuple):
    text: str


class Control(NamedTuple):
    """A byte below 0x20."""

    character: str


class Escape(NamedTuple):
    """`ESC` and what follows, such as `7` or `(B`."""

    name: str


class Sequence(NamedTuple):
    """`CSI`: the name is a leading `?`, `>`, `=` or `<`, intermediates and the final byte; parameters as they stand."""

    name: str
    parameters: str


# Text ends before any control; what is between U+007F and U+009F is left out, since it is seen nowhere.
_TOKEN = re.compile(
    r"(?P<text>[^\x00-\x1f\x7f-\x9f]+)"
    r"|\x1b\[(?P<private>[<-?]?)(?P<parameters>[0-;]*)(?P<final>[ -/]*[@-~])"
    r"|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)"  # titles, links and other strings: nothing of them is drawn
    r"|\x1b(?P<escape>[ -/]*[0-OQ-WYZ`-~])"
    r"|(?P<control>[\x00-\x1a\x1c-\x1f])"
    r"|\x1b(?:\[[<-?]?[0-;]*[ -/]*|[\]PX^_][^\x07\x1b]*)?"  # what is broken is left out, as far as it was understood
    r"|[\x7f-\x9f]"
)
_BEGUN = re.compile(r"\x1b(?:\[[<-?]?[0-;]*[ -/]*|[\]PX^_][^\x07\x1b]*\x1b?|[ -/]*)\Z")


class Cutter:
    """Takes bytes as they come; what is cut off in the middle waits for the rest."""

    def __init__(self):
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""

    def cut(self, data):
        text = self._rest + self._decoder.decode(data)
        begun = _BEGUN.search(text)
        end = begun.start() if begun else len(text)
        self._rest = text[end:]
        for token in _TOKEN.finditer(text, 0, end):
            if token["text"] is not None:
                yield Text(token["text"])
            elif token["control"] is not None:
                yield Control(token["control"])
            elif token["escape"] is not None:
                yield Escape(token["escape"])
            elif token["final"] is not None:
                yield Sequence(token["private"] + token["final"], token["parameters"])
