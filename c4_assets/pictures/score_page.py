"""A contact sheet of scored files as one HTML page without other files: for a mail, or a plate's folder."""

import base64
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from c4_assets.models.marco.preprocessing import thumbnail
from c4_assets.pictures.contact_sheet import CATEGORY_COLOURS
from c4_assets.pictures.html_page import write_html
from c4_assets.scoring.image_files import readable
from c4_assets.scoring.score_files import FileScore, common_folder
from resources.errors import ConfigurationError, ImageError
from resources.records import CATEGORIES

MAX_DROPS = 1500
"""Most drops on a page, the likeliest crystals first: about 15 MB, which browsers still open quickly."""

PAGE_THUMBNAIL_SIDE = 240


def write_page(rows: Sequence[FileScore], page: Path, title: str, files: Mapping[str, Callable[[], bytes]]) -> None:
    """Writes the page. Rows beyond :data:`MAX_DROPS` are counted on it but not shown.

    Args:
        rows: the result of :func:`c4_assets.scoring.score_files.score_files`.
        files: what reads each file, by the path in its row.

    Raises:
        ConfigurationError: the page cannot be written.
    """
    shown = [row for row in rows if row.error is None][:MAX_DROPS]
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        pictures = list(threads.map(_picture, [files[row.path] for row in shown]))
    counts = Counter(row.category for row in rows)
    values = {
        "title": title,
        "drops": list(zip(shown, pictures, strict=True)),
        "failed": [row for row in rows if row.error is not None],
        "categories": [(category, CATEGORY_COLOURS[category], counts[category]) for category in CATEGORIES],
        "flagged": sum(bool(row.crystal) and row.warning is None for row in rows),
        "warned": sum(row.warning is not None for row in rows),
        "colours": CATEGORY_COLOURS,
        "scorer": rows[0].scorer if rows else "",
        "total": len(rows),
        "prefix": len(common_folder([row.path for row in rows])),
        "not_shown": sum(row.error is None for row in rows) - len(shown),
    }
    try:
        write_html(page, "score_page.html", **values)
    except OSError as error:
        raise ConfigurationError(f"The page {readable(page)} cannot be written: {error.strerror}.") from error


def _picture(read: Callable[[], bytes]) -> str:
    try:
        jpeg = thumbnail(read(), PAGE_THUMBNAIL_SIDE)
    except ImageError:
        return ""  # it was removed after it was scored; the page shows its name and score
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()
