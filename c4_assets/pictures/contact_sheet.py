"""Contact sheets: many drops in one picture, ranked, with the category as colour and as text."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

CATEGORY_COLOURS = {"crystals": "#0072b2", "precipitate": "#d55e00", "clear": "#8a8a8a", "other": "#cc79a7"}
"""Border colour by category, of Okabe and Ito's palette, which colour-blind people can tell apart."""

SHEET_COLUMNS, TILE_SIDE, TILE_BORDER, CAPTION_LINE_HEIGHT = 6, 150, 4, 15
"""Layout in pixels. Eighteen tiles make about 60 kB, which every materialisation of a day carries."""

MAX_TILES = 18


@dataclass(frozen=True)
class Tile:
    """One drop of a sheet: a JPEG, the category that gives the border its colour, and lines of text."""

    jpeg: bytes
    category: str
    caption: tuple[str, ...]


def contact_sheet(tiles: Sequence[Tile]) -> bytes:
    """A JPEG of the first :data:`MAX_TILES` tiles in the order given, :data:`SHEET_COLUMNS` per row.

    A tile whose picture cannot be read has its caption alone.

    Raises:
        ValueError: there are no tiles.
    """
    from PIL import Image, ImageDraw, ImageFont

    if not tiles:
        raise ValueError("a contact sheet needs at least one tile")
    tiles = tiles[:MAX_TILES]
    columns = min(SHEET_COLUMNS, len(tiles))
    width = TILE_SIDE + 2 * TILE_BORDER
    height = width + CAPTION_LINE_HEIGHT * max(len(tile.caption) for tile in tiles) + 4
    rows = -(-len(tiles) // columns)
    sheet = Image.new("RGB", (columns * width, rows * height), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=12)
    for number, tile in enumerate(tiles):
        left, top = number % columns * width, number // columns * height
        draw.rectangle(
            (left, top, left + width - 2, top + width - 2), fill=CATEGORY_COLOURS.get(tile.category, "black")
        )
        if square := _central_square(tile.jpeg):
            sheet.paste(square, (left + TILE_BORDER - 1, top + TILE_BORDER - 1))
        for line, text in enumerate(tile.caption):
            draw.text((left + 2, top + width + CAPTION_LINE_HEIGHT * line), text, "#444444" if line else "black", font)
    buffer = io.BytesIO()
    sheet.save(buffer, "JPEG", quality=72)
    return buffer.getvalue()


def _central_square(jpeg: bytes) -> "Picture | None":
    """What MARCO sees of a picture, at a tile's size; None if it cannot be read."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(jpeg)) as picture:
            side = min(picture.size)
            x, y = (picture.width - side) // 2, (picture.height - side) // 2
            return picture.convert("RGB").crop((x, y, x + side, y + side)).resize((TILE_SIDE, TILE_SIDE))
    except Exception:  # a decoder may raise anything, and no score depends on a picture of it
        return None
