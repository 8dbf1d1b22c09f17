"""Which font a name is drawn with, and what stands for a name that no font can draw.

Plots and pictures have the font that ships with matplotlib. Letters that it lacks, Chinese ones
for instance, are taken from fonts of this machine.
"""

from __future__ import annotations

import unicodedata
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lst_cli.text import printable, printable_lines

FONT = "DejaVu Sans"  # ships with matplotlib, so plots are the same everywhere

_MOST_FONTS = 1000  # that are searched; TeX brings some thousands
_USELESS = ("lastresort", "adobeblank")  # these have a box, or nothing, for every letter
_JOINERS = "\u200c\u200d\ufe0e\ufe0f"  # invisible: they say how their neighbours look


def short_name(name: str, longest: int, category_id: int | None = None) -> str:
    r"""A name as it is drawn: one line, `longest` letters at most, and each in some font.

    A name with a letter that no font has is drawn as the id of its class or with question marks.

    Example:
        >>> short_name("a  very\nlong name", 10)
        'a very lo…'
        >>> short_name("\U0010ffff", 10, 12), short_name("a\U0010ffff", 10)
        ('#12', 'a?')
    """
    plain = " ".join(printable(unicodedata.normalize("NFC", name)).split())
    short = plain if len(plain) <= longest else plain[: longest - 1].rstrip(_JOINERS) + "…"
    drawn = "".join(letter if _font_with(letter) else "?" for letter in short)
    if category_id is None or (short and drawn == short):
        return drawn
    return f"#{category_id}"


def pieces_of(text: str) -> list[tuple[str, Path]]:
    """Cut a text of `short_name` into pieces that one font each can draw; mostly it is one."""
    whole = _font_with(text)
    if whole is not None:
        return [(text, whole)]
    pieces = [("", plot_font())]
    for letter in text:
        before, font = pieces[-1]
        if letter in _JOINERS or _has(font, letter):
            pieces[-1] = (before + letter, font)
        else:
            pieces.append((letter, _font_with(letter) or plot_font()))
    return [one for one in pieces if one[0]]


def families(text: str) -> list[str]:
    """The fonts that matplotlib draws a text with: `FONT`, then others for what it lacks."""
    from matplotlib.font_manager import fontManager

    names = [FONT]
    for path in dict.fromkeys(str(path) for _, path in pieces_of(text) if path != plot_font()):
        known = {entry.fname: entry.name for entry in fontManager.ttflist}
        if path not in known:
            fontManager.addfont(path)
        names.append(known.get(path, fontManager.ttflist[-1].name))
    return names


def finish_texts(figure: Any) -> None:
    """Show every text of a figure as it is: in `FONT` and fonts for what it lacks, no formulas."""
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        text.set_text(printable_lines(text.get_text()))
        text.set_fontfamily(families(text.get_text()))
        text.set_parse_math(False)


@cache
def plot_font() -> Path:
    """The file of `FONT`."""
    import matplotlib

    return Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{FONT.replace(' ', '')}.ttf"


@cache
def installed_fonts() -> tuple[Path, ...]:
    """Files of fonts on this machine, plain ones first."""
    from matplotlib.font_manager import findSystemFonts

    def rank(path: Path) -> tuple[bool, bool, str]:
        name = path.name.lower()
        return "regular" not in name, "sans" not in name, str(path)

    paths = {Path(name) for name in findSystemFonts()}
    useful = (one for one in paths if not one.name.lower().startswith(_USELESS))
    return tuple(sorted(useful, key=rank)[:_MOST_FONTS])


@cache
def _font_with(text: str) -> Path | None:
    """The first font that has every letter of a text."""
    wanted = [letter for letter in text if letter not in _JOINERS]
    if all(_has(plot_font(), letter) for letter in wanted):
        return plot_font()
    for font in installed_fonts():
        if all(_has(font, letter) for letter in wanted):
            return font
    return None


def _has(font: Path, letter: str) -> bool:
    place = np.searchsorted(_letters(font), ord(letter))
    return ord(letter) in _letters(font)[place : place + 1]


@cache
def _letters(font: Path) -> NDArray[np.uint32]:
    """Code points that a font can draw at any size, ascending."""
    from matplotlib.ft2font import FT2Font

    try:
        face = FT2Font(str(font))
        known = face.get_charmap() if face.scalable else {}
    except Exception:  # damaged, or of an unknown kind
        known = {}
    return np.sort(np.array(list(known), dtype=np.uint32))
