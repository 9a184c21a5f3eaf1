"""How a character looks, and the sequence that changes it (SGR, `CSI … m`)."""

from typing import NamedTuple


class Style(NamedTuple):
    """Colours: None for the terminal's own, 0 to 255 for those of the palette, or (red, green, blue)."""

    foreground: int | tuple | None = None
    background: int | tuple | None = None
    is_bold: bool = False
    is_dim: bool = False
    is_italic: bool = False
    is_underlined: bool = False
    is_inverse: bool = False
    is_hidden: bool = False
    is_struck: bool = False


PLAIN = Style()

_FLAGS = {
    1: {"is_bold": True},
    2: {"is_dim": True},
    3: {"is_italic": True},
    4: {"is_underlined": True},
    7: {"is_inverse": True},
    8: {"is_hidden": True},
    9: {"is_struck": True},
    21: {"is_underlined": True},
    22: {"is_bold": False, "is_dim": False},
    23: {"is_italic": False},
    24: {"is_underlined": False},
    27: {"is_inverse": False},
    28: {"is_hidden": False},
    29: {"is_struck": False},
    39: {"foreground": None},
    49: {"background": None},
}


def restyled(style, parameters):
    """`style` after `CSI parameters m`. What is not known changes nothing."""
    groups = [[int(value) if value else 0 for value in group.split(":")] for group in parameters.split(";")]
    while groups:
        code, *detail = groups.pop(0)
        if code == 0:
            style = PLAIN
        elif code == 4 and detail:
            style = style._replace(is_underlined=detail[0] > 0)  # 4:3 is a wavy line
        elif code in _FLAGS:
            style = style._replace(**_FLAGS[code])
        elif code in (38, 48):
            color = _extended(detail) if detail else _extended([group[0] for group in groups[:4]])
            if not detail:
                del groups[:4 if groups and groups[0][0] == 2 else 2]
            if color is not None:
                style = style._replace(**{"foreground" if code == 38 else "background": color})
        elif 30 <= code <= 37 or 90 <= code <= 97:
            style = style._replace(foreground=code - 30 if code < 90 else code - 90 + 8)
        elif 40 <= code <= 47 or 100 <= code <= 107:
            style = style._replace(background=code - 40 if code < 100 else code - 100 + 8)
    return style


def _extended(values):
    """The colour of `5, n` or `2, red, green, blue`; with colons a colour space may stand before red."""
    if len(values) >= 2 and values[0] == 5:
        return min(values[1], 255)
    if len(values) >= 4 and values[0] == 2:
        return tuple(min(value, 255) for value in (values[2:5] if len(values) > 4 else values[1:4]))
    return None
