"""The backlog's pictures for Dagster's UI: a heat map of years and months, and the scores of each hour."""

import calendar
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from c4_assets.backlog.coverage import Coverage

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFont import FreeTypeFont, ImageFont

PENDING_COLOUR, DONE_COLOUR, NO_IMAGES_COLOUR, FAILED_COLOUR, TEXT_COLOUR = (
    (246, 224, 181),
    (0, 114, 178),
    (241, 241, 241),
    (179, 38, 30),
    (60, 60, 60),
)
"""From sand to blue: colour-blind people can tell them apart, and they read on a light and on a dark page."""

CELL_WIDTH, CELL_HEIGHT, CELL_GAP, LEFT_MARGIN, TOP_MARGIN = 42, 22, 2, 44, 22
"""Layout of the heat map in pixels. Twenty years make 20 kB at most, which every materialisation carries."""

BAR_WIDTH, PLOT_HEIGHT = 22, 120
"""Width of the bar of an hour and height of the plot, in pixels."""


def heat_map(months: Sequence[Coverage]) -> bytes:
    """A PNG with one row per year, the newest on top, and one column per month.

    The colour shows how much is done; a red line, that images have failed; grey, that nothing was imaged.
    """
    from PIL import Image, ImageDraw

    found = {(month.year, month.month): month for month in months}
    newest, oldest = (months[-1].year, months[0].year) if months else (0, 0)
    years = range(newest, oldest - 1, -1)
    picture = Image.new("RGB", (LEFT_MARGIN + 12 * CELL_WIDTH, TOP_MARGIN + len(years) * CELL_HEIGHT), "white")
    draw, font = ImageDraw.Draw(picture), _font()
    for number in range(1, 13):
        draw.text((LEFT_MARGIN + (number - 1) * CELL_WIDTH + 8, 4), calendar.month_abbr[number], TEXT_COLOUR, font)
    for row, year in enumerate(years):
        top = TOP_MARGIN + row * CELL_HEIGHT
        draw.text((6, top + 4), str(year) if year else "", TEXT_COLOUR, font)
        for number in range(1, 13):
            left = LEFT_MARGIN + (number - 1) * CELL_WIDTH
            month = found.get((year, number))
            box = (left, top, left + CELL_WIDTH - CELL_GAP, top + CELL_HEIGHT - CELL_GAP)
            draw.rectangle(box, _colour(month.done) if month else NO_IMAGES_COLOUR)
            if month and month.failed:
                draw.rectangle((left, box[3] - 2, box[2], box[3]), FAILED_COLOUR)
    return _png(picture)


def rate_plot(hours: Sequence[int]) -> bytes:
    """A PNG with a bar for the scores of each hour, the newest on the right."""
    from PIL import Image, ImageDraw

    picture = Image.new("RGB", (LEFT_MARGIN + len(hours) * BAR_WIDTH, TOP_MARGIN + PLOT_HEIGHT + TOP_MARGIN), "white")
    draw, font = ImageDraw.Draw(picture), _font()
    most, bottom = max(hours, default=0) or 1, TOP_MARGIN + PLOT_HEIGHT
    draw.text((6, 4), f"{max(hours, default=0):,} scores in the best hour", TEXT_COLOUR, font)
    for number, scores in enumerate(hours):
        left = LEFT_MARGIN + number * BAR_WIDTH
        draw.rectangle(
            (left, bottom - round(PLOT_HEIGHT * scores / most), left + BAR_WIDTH - CELL_GAP, bottom), DONE_COLOUR
        )
    draw.text((LEFT_MARGIN, bottom + 4), f"{len(hours)} hours ago", TEXT_COLOUR, font)
    draw.text((LEFT_MARGIN + len(hours) * BAR_WIDTH - 28, bottom + 4), "now", TEXT_COLOUR, font)
    return _png(picture)


def _colour(done: float) -> tuple[int, int, int]:
    red, green, blue = (round(a + (b - a) * done) for a, b in zip(PENDING_COLOUR, DONE_COLOUR, strict=True))
    return red, green, blue


def _font() -> "FreeTypeFont | ImageFont":
    from PIL import ImageFont

    return ImageFont.load_default(size=12)


def _png(picture: "Image") -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
