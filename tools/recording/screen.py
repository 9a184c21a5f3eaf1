"""The cells of a terminal, as a program's output makes them: what xterm does, as far as programs that draw need it.

Text with wide and combining characters, cursor, erasing, inserting, scrolling with margins, the alternate screen,
styles in 16, 256 or all colours, and synchronized updates. What has no effect on a picture (titles, bracketed paste,
mouse) is passed over; anything else that is not known is named in `Screen.unknown`.
"""

import unicodedata
from typing import NamedTuple

from recording.escapes import Control, Cutter, Escape, Sequence, Text
from recording.style import PLAIN, restyled

TAB = 8
# Modes and sequences that change nothing in the picture: keys, mouse, paste, titles, blinking, character sets.
_SILENT_MODES = {"?1", "?12", "?1000", "?1002", "?1003", "?1004", "?1006", "?2004", "?2031"}
_SILENT_SEQUENCES = {"n", "?n", "c", ">c", "t", " q", ">q", ">m", "?u", ">u", "<u", "=u", "!p", "i", "$p", "?$p"}
_SILENT_ESCAPES = {"=", ">", "(B", "(0", ")B", ")0", "\\"}


class Cell(NamedTuple):
    text: str  # a character with what combines with it; empty: the right half of a wide one
    style: tuple


class Snapshot(NamedTuple):
    """What is seen at a moment. `scrolled` lines have left the screen at its top."""

    rows: tuple
    scrolled: int
    cursor: tuple | None  # row, column; None where it is hidden


BLANK = Cell(" ", PLAIN)


def width(character):
    """Columns of a character: 0 where it combines with the one before."""
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


class Screen:
    def __init__(self, columns, rows):
        self.columns, self.height = columns, rows
        self.unknown = set()
        self._cutter = Cutter()
        self._reset()

    def _reset(self):
        self.scrolled = 0
        self.style = PLAIN
        self.row = self.column = 0
        self._wraps_next = False  # the last column is written: the next character goes to the next line
        self._wraps = self._has_cursor = True
        self._cells = [self._blank_row() for _ in range(self.height)]
        self._main = None  # the cells of the main screen, and its cursor, while the alternate one is shown
        self._saved = (0, 0, PLAIN)
        self._margins = (0, self.height)
        self._held = None  # what is shown during a synchronized update
        self._last = " "

    def feed(self, data):
        for token in self._cutter.cut(data):
            if isinstance(token, Text):
                for character in token.text:
                    self._put(character)
            elif isinstance(token, Control):
                self._control(token.character)
            elif isinstance(token, Escape):
                self._escape(token.name)
            elif isinstance(token, Sequence):
                self._sequence(token.name, token.parameters)

    def shown(self):
        """What is seen now."""
        if self._held is not None:
            return self._held
        cursor = (self.row, self.column) if self._has_cursor else None
        return Snapshot(tuple(map(tuple, self._cells)), self.scrolled, cursor)

    # Text

    def _put(self, character):
        columns = width(character)
        if columns == 0:
            return self._combine(character)
        if self._wraps_next or self.column + columns > self.columns:
            if self._wraps:
                self.column = 0
                self._line_feed()
            else:
                self.column = self.columns - columns
        row = self._cells[self.row]
        end = self.column + columns
        self._split(row, self.column)
        self._split(row, end)
        row[self.column:end] = [Cell(character, self.style), Cell("", self.style)][:columns]
        self._last = character
        self._wraps_next = end == self.columns
        self.column = min(end, self.columns - 1)

    def _combine(self, character):
        row, column = self._cells[self.row], self.column - (not self._wraps_next)
        if column > 0 and row[column].text == "":
            column -= 1
        if column >= 0:
            row[column] = row[column]._replace(text=row[column].text + character)

    @staticmethod
    def _split(row, column):
        """A wide character with its right half at `column` is cut in two: both halves become blank."""
        if 0 < column < len(row) and row[column].text == "":
            row[column - 1] = Cell(" ", row[column - 1].style)
            row[column] = Cell(" ", row[column].style)

    def _blank_row(self):
        return [self._blank()] * self.columns

    def _blank(self):
        """An erased cell keeps the background colour."""
        return BLANK if self.style.background is None else Cell(" ", PLAIN._replace(background=self.style.background))

    # Controls and escapes

    def _control(self, character):
        if character == "\r":
            self._move(self.row, 0)
        elif character in "\n\v\f":
            self._line_feed()
        elif character == "\b":
            self._move(self.row, self.column - 1)
        elif character == "\t":
            self._move(self.row, (self.column // TAB + 1) * TAB)

    def _line_feed(self):
        self._wraps_next = False
        if self.row == self._margins[1] - 1:
            self._scroll_up(1)
        elif self.row < self.height - 1:
            self.row += 1

    def _scroll_up(self, count):
        top, bottom = self._margins
        count = min(count, bottom - top)
        if self._main is None and (top, bottom) == (0, self.height):
            self.scrolled += count
        self._cells[top:bottom] = self._cells[top + count:bottom] + [self._blank_row() for _ in range(count)]

    def _scroll_down(self, count, top=None):
        top, bottom = self._margins[0] if top is None else top, self._margins[1]
        count = min(count, bottom - top)
        self._cells[top:bottom] = [self._blank_row() for _ in range(count)] + self._cells[top:bottom - count]

    def _move(self, row, column):
        self._wraps_next = False
        self.row = max(0, min(row, self.height - 1))
        self.column = max(0, min(column, self.columns - 1))

    def _escape(self, name):
        if name == "7":
            self._saved = (self.row, self.column, self.style)
        elif name == "8":
            self._restore()
        elif name == "D":
            self._line_feed()
        elif name == "E":
            self._move(self.row, 0)
            self._line_feed()
        elif name == "M":
            if self.row == self._margins[0]:
                self._scroll_down(1)
            else:
                self._move(self.row - 1, self.column)
        elif name == "c":
            self._reset()
        elif name not in _SILENT_ESCAPES:
            self.unknown.add(f"ESC {name}")

    def _restore(self):
        row, column, self.style = self._saved
        self._move(row, column)

    # Sequences

    def _sequence(self, name, parameters):
        if name == "m":
            self.style = restyled(self.style, parameters)
            return
        values = [int(value[:5]) if value.isdigit() else 0 for value in parameters.split(";")]
        if name in ("h", "l", "?h", "?l"):
            for value in values:
                self._mode(f"{name[:-1]}{value}", name[-1] == "h")
        elif name in _SEQUENCES:
            _SEQUENCES[name](self, *values[:2])
        elif name not in _SILENT_SEQUENCES:
            self.unknown.add(f"CSI {name}")

    def _mode(self, mode, is_on):
        if mode == "?25":
            self._has_cursor = is_on
        elif mode == "?7":
            self._wraps = is_on
        elif mode in ("?47", "?1047", "?1049"):
            self._alternate(is_on)
        elif mode == "?1048":
            self._escape("7" if is_on else "8")
        elif mode == "?2026":
            self._held = self.shown() if is_on else None
        elif mode not in _SILENT_MODES:
            self.unknown.add(f"CSI {mode}{'h' if is_on else 'l'}")

    def _alternate(self, is_on):
        if is_on and self._main is None:
            self._main = (self._cells, (self.row, self.column, self.style))
            self._cells = [self._blank_row() for _ in range(self.height)]
        elif not is_on and self._main is not None:
            self._cells, self._saved = self._main
            self._main = None
            self._restore()

    def _up(self, count=0, _=0):
        self._move(max(self.row - max(count, 1), self._margins[0] if self.row >= self._margins[0] else 0), self.column)

    def _down(self, count=0, _=0):
        last = self._margins[1] - 1 if self.row < self._margins[1] else self.height - 1
        self._move(min(self.row + max(count, 1), last), self.column)

    def _right(self, count=0, _=0):
        self._move(self.row, self.column + max(count, 1))

    def _left(self, count=0, _=0):
        self._move(self.row, self.column - max(count, 1))

    def _next_line(self, count=0, _=0):
        self._down(count)
        self._move(self.row, 0)

    def _previous_line(self, count=0, _=0):
        self._up(count)
        self._move(self.row, 0)

    def _to_column(self, column=0, _=0):
        self._move(self.row, max(column, 1) - 1)

    def _to_row(self, row=0, _=0):
        self._move(max(row, 1) - 1, self.column)

    def _to(self, row=0, column=0):
        self._move(max(row, 1) - 1, max(column, 1) - 1)

    def _erase_display(self, what=0, _=0):
        if what == 0:
            self._erase_line(0)
        elif what == 1:
            self._erase_line(1)
        first, end = [(self.row + 1, self.height), (0, self.row), (0, self.height)][min(what, 2)]
        if what != 3:  # 3 is the lines that have left the screen
            self._cells[first:end] = [self._blank_row() for _ in range(first, end)]

    def _erase_line(self, what=0, _=0):
        first, end = [(self.column, self.columns), (0, self.column + 1), (0, self.columns)][min(what, 2)]
        self._erase(first, end)

    def _erase_characters(self, count=0, _=0):
        self._erase(self.column, min(self.column + max(count, 1), self.columns))

    def _erase(self, first, end):
        self._wraps_next = False
        row = self._cells[self.row]
        self._split(row, first)
        self._split(row, end)
        row[first:end] = [self._blank()] * (end - first)

    def _insert_characters(self, count=0, _=0):
        self._shift(lambda blanks, right: blanks + right[:len(right) - len(blanks)], count)

    def _delete_characters(self, count=0, _=0):
        self._shift(lambda blanks, right: right[len(blanks):] + blanks, count)

    def _shift(self, shifted, count):
        """Replaces what is right of the cursor."""
        self._wraps_next = False
        row = self._cells[self.row]
        self._split(row, self.column)
        blanks = [self._blank()] * min(max(count, 1), self.columns - self.column)
        row[self.column:] = shifted(blanks, row[self.column:])
        if row[-1].text and width(row[-1].text[0]) == 2:
            row[-1] = Cell(" ", row[-1].style)  # its right half has left the screen

    def _insert_lines(self, count=0, _=0):
        if self._margins[0] <= self.row < self._margins[1]:
            self._scroll_down(max(count, 1), self.row)
            self._move(self.row, 0)

    def _delete_lines(self, count=0, _=0):
        bottom = self._margins[1]
        if self._margins[0] <= self.row < bottom:
            count = min(max(count, 1), bottom - self.row)
            kept = self._cells[self.row + count:bottom]
            self._cells[self.row:bottom] = kept + [self._blank_row() for _ in range(count)]
            self._move(self.row, 0)

    def _set_margins(self, top=0, bottom=0):
        top, bottom = max(top, 1) - 1, min(bottom or self.height, self.height)
        if bottom - top >= 2:
            self._margins = (top, bottom)
            self._move(0, 0)

    def _repeat(self, count=0, _=0):
        for _ in range(min(max(count, 1), self.columns * self.height)):
            self._put(self._last)


_SEQUENCES = {
    "@": Screen._insert_characters,
    "A": Screen._up,
    "B": Screen._down,
    "C": Screen._right,
    "D": Screen._left,
    "E": Screen._next_line,
    "F": Screen._previous_line,
    "G": Screen._to_column,
    "H": Screen._to,
    "J": Screen._erase_display,
    "K": Screen._erase_line,
    "L": Screen._insert_lines,
    "M": Screen._delete_lines,
    "P": Screen._delete_characters,
    "S": lambda screen, count=0, _=0: screen._scroll_up(max(count, 1)),
    "T": lambda screen, count=0, _=0: screen._scroll_down(max(count, 1)),
    "X": Screen._erase_characters,
    "`": Screen._to_column,
    "a": Screen._right,
    "b": Screen._repeat,
    "d": Screen._to_row,
    "e": Screen._down,
    "f": Screen._to,
    "r": Screen._set_margins,
    "s": lambda screen, *_: screen._escape("7"),
    "u": lambda screen, *_: screen._escape("8"),
}
