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

from lst_cli.text import printable

FONT = "DejaVu Sans"  # ships with matplotlib, so plots are the same everywhere

_MOST_FONTS = 1000  # that are looked at; TeX brings some thousands
_USELESS = ("lastresort", "adobeblank")  # have a box, or nothing, for every letter
_JOINERS = "\u200c\u200d\ufe0e\ufe0f"  # say how their neighbours look; are never seen themselves


def short_name(name: str, longest: int, category_id: int | None = None) -> str:
    r"""A name as it is drawn: one line, not too long, and without boxes for missing letters.

    Args:
        name: The name, of a class as a rule.
        longest: How many letters it may have; of a longer one the end is cut off.
        category_id: Its class, drawn instead of a name that no font has all letters of.

    Returns:
        The name; `#12` for class 12; without a class, the name with question marks.

    Example:
        >>> short_name("a  very\nlong name", 10)
        'a very lo…'
        >>> short_name("\U0010ffff", 10, 12), short_name("a\U0010ffff", 10)
        ('#12', 'a?')
    """
    plain = " ".join(printable(unicodedata.normalize("NFC", name)).split())
    short = plain if len(plain) <= longest else plain[: longest - 1].rstrip(_JOINERS) + "…"
    if short and all(_can_draw(letter) for letter in short):
        return short
    if category_id is not None:
        return f"#{category_id}"
    return "".join(letter if _can_draw(letter) else "?" for letter in short)


def pieces_of(text: str) -> list[tuple[str, Path]]:
    """Cut a text into pieces that one font each can draw; most texts are one piece.

    Args:
        text: Of `short_name`.
    """
    whole = _font_with(text)
    if whole is not None:
        return [(text, whole)]
    pieces: list[tuple[str, Path]] = []
    for letter in text:
        last = pieces[-1] if pieces else ("", plot_font())
        if letter in _JOINERS or _has(last[1], letter):
            font = last[1]
        else:
            font = _font_with(letter) or plot_font()
        if pieces and font == last[1]:
            pieces[-1] = (last[0] + letter, font)
        else:
            pieces.append((letter, font))
    return pieces


def families(text: str) -> list[str]:
    """The fonts that matplotlib draws a text with: its own first, then others for what it lacks."""
    from matplotlib import font_manager

    names = [FONT]
    for _, path in pieces_of(text):
        if path == plot_font():
            continue
        known = {entry.fname: entry.name for entry in font_manager.fontManager.ttflist}
        if str(path) not in known:
            font_manager.fontManager.addfont(str(path))
            known[str(path)] = font_manager.fontManager.ttflist[-1].name
        names.append(known[str(path)])
    return list(dict.fromkeys(names))


def choose_fonts(figure: Any) -> None:
    """Give every text of a figure fonts that have its letters."""
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        names = [FONT] if text.get_text().isascii() else families(text.get_text())
        if len(names) > 1:
            text.set_fontfamily(names)


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
    useful = [one for one in paths if not one.name.lower().startswith(_USELESS)]
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


def _can_draw(letter: str) -> bool:
    return letter in _JOINERS or _font_with(letter) is not None


def _has(font: Path, letter: str) -> bool:
    letters = _letters(font)
    place = int(np.searchsorted(letters, ord(letter)))
    return place < len(letters) and int(letters[place]) == ord(letter)


@cache
def _letters(font: Path) -> NDArray[np.uint32]:
    """Code points that a font can draw at any size, ascending."""
    from matplotlib.ft2font import FT2Font

    try:
        face = FT2Font(str(font))
        known = face.get_charmap() if face.scalable else {}
    except Exception:  # damaged, or of a kind that is not known
        known = {}
    return np.sort(np.fromiter(known, dtype=np.uint32, count=len(known)))
