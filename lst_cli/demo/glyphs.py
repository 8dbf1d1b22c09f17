"""The classes of the demo set: glyphs of a font that ships with matplotlib."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from lst_cli.errors import LstError

FONT = "DejaVuSans-Bold.ttf"
SOURCE_SIDE = 192  # pixels; larger than any glyph is pasted, so that posing only shrinks
HEAVIEST = 3  # outlines from 0 to this many steps are added to vary the stroke width


@dataclass(frozen=True)
class Glyph:
    """One class of the demo set; `definition` is for the `def` field of LVIS categories."""

    name: str
    character: str
    definition: str


# Chosen so that no two are alike under 25 degrees of rotation, nor when one of them is
# mirrored, since training flips images: no 6 with 9, no N with Z, no 2 with S. Kinds are
# mixed, so that a smaller set (the first few) has letters, digits and symbols too.
GLYPHS: tuple[Glyph, ...] = (
    Glyph("black star", "\N{BLACK STAR}", "a filled star with five points"),
    Glyph("letter A", "A", "the capital letter A"),
    Glyph("digit 4", "4", "the digit four"),
    Glyph("heart", "\N{BLACK HEART SUIT}", "the suit of hearts of playing cards"),
    Glyph("telephone", "\N{BLACK TELEPHONE}", "a telephone with a dial and a handset"),
    Glyph("letter S", "S", "the capital letter S"),
    Glyph("airplane", "\N{AIRPLANE}", "an airplane seen from above"),
    Glyph("digit 8", "8", "the digit eight"),
    Glyph("umbrella", "\N{UMBRELLA}", "an open umbrella with a curved handle"),
    Glyph("letter K", "K", "the capital letter K"),
    Glyph("chess knight", "\N{BLACK CHESS KNIGHT}", "a chess knight, a horse's head"),
    Glyph("gear", "\N{GEAR}", "a toothed wheel"),
    Glyph("letter M", "M", "the capital letter M"),
    Glyph("anchor", "\N{ANCHOR}", "an anchor of a ship"),
    Glyph("flower", "\N{BLACK FLORETTE}", "a blossom with rounded petals"),
    Glyph("letter R", "R", "the capital letter R"),
    Glyph("chess queen", "\N{BLACK CHESS QUEEN}", "a chess queen with her crown"),
    Glyph("peace sign", "\N{PEACE SYMBOL}", "the sign of peace in its circle"),
    Glyph("digit 7", "7", "the digit seven"),
    Glyph("music notes", "\N{BEAMED EIGHTH NOTES}", "two eighth notes joined by a beam"),
    Glyph("snowflake", "\N{SNOWFLAKE}", "a snow crystal with six arms"),
    Glyph("yin yang", "\N{YIN YANG}", "the circle of yin and yang"),
    Glyph("ampersand", "&", "the sign for the word and"),
    Glyph("club", "\N{BLACK CLUB SUIT}", "the suit of clubs of playing cards"),
    Glyph("skull", "\N{SKULL AND CROSSBONES}", "a skull over two crossed bones"),
    Glyph("letter G", "G", "the capital letter G"),
    Glyph("chess rook", "\N{BLACK CHESS ROOK}", "a chess rook, a tower with battlements"),
    Glyph("letter T", "T", "the capital letter T"),
    Glyph("smiling face", "\N{WHITE SMILING FACE}", "a round face that smiles"),
    Glyph("cloud", "\N{CLOUD}", "a single cloud with a flat base"),
    Glyph("letter X", "X", "the capital letter X"),
    Glyph("pointing hand", "\N{BLACK RIGHT POINTING INDEX}", "a hand with one finger out"),
    Glyph("recycling sign", "\N{BLACK UNIVERSAL RECYCLING SYMBOL}", "three arrows in a loop"),
    Glyph("radiation sign", "\N{RADIOACTIVE SIGN}", "a trefoil that warns of radiation"),
    Glyph("euro sign", "\N{EURO SIGN}", "the sign of the euro"),
    Glyph("ship wheel", "\N{WHEEL OF DHARMA}", "a wheel with eight spokes and handles"),
)


@cache
def find_font() -> Path:
    """Locate DejaVu Sans Bold without importing matplotlib where that can be avoided.

    Raises:
        LstError: If matplotlib or its font is missing.
    """
    spec = importlib.util.find_spec("matplotlib")
    if spec is not None and spec.origin is not None:
        path = Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf" / FONT
        if not path.is_file():  # some system packages keep it where only matplotlib knows
            import matplotlib

            path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / FONT
        if path.is_file():
            return path
    raise LstError(
        f"the demo set needs the font {FONT}, which ships with matplotlib and was not found",
        hint="pip install --force-reinstall matplotlib",
    )


@cache
def render_glyph(character: str, weight: int = 0) -> Image.Image:
    """Draw one character white on black, without margins, its longer side `SOURCE_SIDE`.

    `weight` steps of outline are added, from 0 to `HEAVIEST`. The image is shared: do not edit it.
    """
    font = _load_font()
    outline = 2 * weight
    box = font.getbbox(character, stroke_width=outline)
    left, top, right, bottom = (int(edge) for edge in box)
    canvas = Image.new("L", (right - left + 8, bottom - top + 8))
    ImageDraw.Draw(canvas).text(
        (4 - left, 4 - top), character, fill=255, font=font, stroke_width=outline
    )
    glyph = canvas.crop(canvas.getbbox())
    scale = SOURCE_SIDE / max(glyph.size)
    width, height = (max(1, round(side * scale)) for side in glyph.size)
    return glyph.resize((width, height), Image.Resampling.LANCZOS)


@cache
def _load_font() -> ImageFont.FreeTypeFont:
    # The basic layout engine gives the same outlines with and without libraqm.
    return ImageFont.truetype(str(find_font()), 256, layout_engine=ImageFont.Layout.BASIC)
