"""Frames as one SVG that plays by itself, without script, font or anything else from outside.

It is painted as a terminal is: a frame draws the cells that have changed over those that were there, and stays until
the loop begins again. So a frame is a group that is hidden until its time, by one CSS animation of its own:

    g1  hidden ─────────┐shown ──────────────────────────────┐
    g2  hidden ─────────┴───────┐shown ──────────────────────┤ begins again
    g3  hidden ─────────────────┴──────┐shown ──── the pause ┘

Without animations, or where the viewer wants less motion, all groups are shown, which is the last frame.

A cell is 1 wide and 2 high, whatever the font: every character has its own place. Lines keep their number while the
screen scrolls; the picture moves up under its window instead, so that scrolling draws nothing anew.
"""

from itertools import groupby
from typing import NamedTuple
from xml.sax.saxutils import escape

from recording.colors import BAR, BORDER, MUTED, TEXT, WINDOW, Drawn, drawn

CELL = 9  # pixels of a column; a row has twice as many
MARGIN = 18
TITLE_BAR = 38
FONT = 'ui-monospace,SFMono-Regular,"SF Mono",Menlo,Consolas,"DejaVu Sans Mono","Liberation Mono",monospace'
FONT_SIZE = 5 / 3  # in cells: fonts whose characters are 0.6 wide fill them exactly
BASELINE = 1.5  # below the top of a row
_NOTHING = Drawn()


class Place(NamedTuple):
    line: int
    column: int
    cell: Drawn


def render(frames, columns, rows, seconds, title, caption):
    """The SVG: `seconds` are those of a loop, with the pause at its end."""
    painter = _Painter()
    groups = []
    for number, frame in enumerate(frames):
        content = painter.paint(frame.shown)
        if frame.seconds <= 0:
            groups.append(f"<g>{content}</g>")
        elif content:
            groups.append(f'<g style="animation-name:f{number}">{content}</g>')
            painter.rules.append(f"@keyframes f{number}{{0%,{_percent(frame.seconds, seconds)}{{visibility:hidden}}}}")
    width, height = columns * CELL + 2 * MARGIN, rows * 2 * CELL + TITLE_BAR + 2 * MARGIN - 6
    scrolls = _scrolls(frames, seconds)
    last = text_of(frames[-1].shown)
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
        ' role="img" aria-labelledby="title desc">',
        f'<title id="title">{escape(title)}</title>',
        f'<desc id="desc">{escape(f"{caption}. At its end the terminal shows:")}\n{escape(last)}</desc>',
        "<style>",
        f"text{{font:{FONT_SIZE:.4f}px {FONT};fill:{TEXT}}}",
        f"path{{fill:none;stroke-width:2;stroke:{WINDOW};shape-rendering:crispEdges}}",
        f".w{{font-size:13px;fill:{MUTED}}}",
        f"#s>g{{animation:{_number(seconds)}s step-start infinite}}",
        *scrolls,
        *painter.rules,
        "@media(prefers-reduced-motion:reduce){#s,#s>g{animation:none!important}}",
        "</style>",
        f'<rect x=".5" y=".5" width="{width - 1}" height="{height - 1}" rx="10" fill="{WINDOW}" stroke="{BORDER}"/>',
        f'<path d="M1 {TITLE_BAR - .5}h{width - 2}" style="stroke:{BORDER};stroke-width:1"/>',
        *(
            f'<circle cx="{MARGIN + 4 + 20 * i}" cy="{TITLE_BAR // 2}" r="5.5" fill="{color}"/>'
            for i, color in enumerate(["#f47d76", "#e3b866", "#7fcf8a"])
        ),
        f'<text class="w" x="{width // 2}" y="24" text-anchor="middle">{escape(title)}</text>',
        f'<text class="w" x="{width - MARGIN}" y="24" text-anchor="end">{escape(caption)}</text>',
        f'<svg x="{MARGIN}" y="{TITLE_BAR + MARGIN - 6}" width="{columns * CELL}" height="{rows * 2 * CELL}"'
        f' viewBox="0 {-BASELINE} {columns} {2 * rows}">',
        f'<g id="s">{"".join(groups)}</g>',
        "</svg>",
        "</svg>",
        "",
    ])


def text_of(shown):
    """The lines of a screen, without blanks at their ends and blank lines at its end."""
    lines = ("".join(cell.text for cell in row).rstrip() for row in shown.rows)
    return "\n".join(lines).rstrip("\n")


def _scrolls(frames, seconds):
    """The rules that move the picture up as the screen scrolls."""
    steps = [next(group) for _, group in groupby(frames, key=lambda frame: frame.shown.scrolled)]
    if len(steps) == 1:
        return []
    stops = "".join(
        f"{_percent(frame.seconds, seconds)}{{transform:translateY({-2 * frame.shown.scrolled}px)}}" for frame in steps
    )
    end = f"transform:translateY({-2 * steps[-1].shown.scrolled}px)"
    return [
        f"#s{{{end};animation:s {_number(seconds)}s step-end infinite}}",
        f"@keyframes s{{{stops}to{{{end}}}}}",
    ]


class _Painter:
    """Knows what is painted, and the names of the styles that were needed."""

    def __init__(self):
        self.rules = []
        self._painted = {}
        self._classes = {}

    def paint(self, shown):
        """The elements that make a picture of the one that is painted."""
        behind, texts = [], []
        for row, cells in enumerate(shown.rows):
            line = shown.scrolled + row
            for column, cell in enumerate(cells):
                new = drawn(cell, (row, column) == shown.cursor)
                old = self._painted.get((line, column), _NOTHING)
                if new == old:
                    continue
                self._painted[line, column] = new
                if old.text or old.background != new.background:
                    behind.append(Place(line, column, new))
                if new.text:
                    texts.append(Place(line, column, new))
        return self._backgrounds(behind) + self._texts(texts)

    def _backgrounds(self, places):
        elements = []
        for color, group in _grouped(places, lambda place: place.cell.background):
            path, end = "", None
            for place in group:
                if (place.line, place.column) == end:
                    path, count = path[:path.rindex("h")], count + 1
                else:
                    path, count = path + f"M{place.column} {2 * place.line - BASELINE + 1:g}", 1
                path += f"h{count}"
                end = (place.line, place.column + 1)
            elements.append(f'<path{self._class(f"stroke:{color}" if color else "")} d="{path}"/>')
        return "".join(elements)

    def _texts(self, places):
        elements = []
        for rule, group in _grouped(places, lambda place: _text_rule(place.cell)):
            name = self._class(rule)
            together = []
            for _, line in groupby(group, key=lambda place: place.line):
                line = list(line)
                # A place of an `x` list counts one UTF-16 unit, so what is longer stands alone.
                alone = [place for place in line if len(place.cell.text.encode("utf-16-le")) > 2]
                elements += [_text(name, [place], one_line=True) for place in alone]
                line = [place for place in line if place not in alone]
                # What is shorter: an element for the line, or a `y` for each of its characters?
                if line and len(_text(name, line, True)) < len(_text("", line, False)) - len(_text("", [], False)):
                    elements.append(_text(name, line, one_line=True))
                else:
                    together += line
            if together:
                elements.append(_text(name, together, one_line=False))
        return "".join(elements)

    def _class(self, rule):
        """The attribute that gives an element the style `rule`."""
        if not rule:
            return ""
        if rule not in self._classes:
            self._classes[rule] = f"c{len(self._classes)}"
            self.rules.append(f".{self._classes[rule]}{{{rule}}}")
        return f' class="{self._classes[rule]}"'


def _text(name, places, one_line):
    x = " ".join(str(place.column) for place in places)
    y = " ".join(str(2 * place.line) for place in (places[:1] if one_line else places))
    return f'<text{name} x="{x}" y="{y}">{escape("".join(place.cell.text for place in places))}</text>'


def _text_rule(cell):
    rules = [
        f"fill:{cell.foreground}" if cell.foreground != TEXT else "",
        "font-weight:700" if cell.is_bold else "",
        "font-style:italic" if cell.is_italic else "",
        f"text-decoration:{cell.lines}" if cell.lines else "",
    ]
    return ";".join(rule for rule in rules if rule)


def _grouped(places, key):
    """Groups by `key`, each in the order of lines and columns."""
    groups = {}
    for place in places:
        groups.setdefault(key(place), []).append(place)
    return groups.items()


def _percent(at, seconds):
    return _number(100 * at / seconds) + "%"


def _number(value):
    return f"{value:.3f}".rstrip("0").rstrip(".")
