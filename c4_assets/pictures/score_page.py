"""A contact sheet of scored files as one HTML page without other files: for a mail, or a plate's folder."""

import base64
import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from c4_assets.models.marco.preprocessing import thumbnail
from c4_assets.pictures.contact_sheet import CATEGORY_COLOURS
from c4_assets.pictures.html_page import write_html
from c4_assets.scoring.score_files import FileScore
from resources.errors import ImageError
from resources.records import CATEGORIES

MAX_DROPS = 1500
"""Most drops on a page, the likeliest crystals first: about 15 MB, which browsers still open quickly."""

PAGE_THUMBNAIL_SIDE = 240


def write_page(rows: Sequence[FileScore], page: Path, title: str) -> None:
    """Writes the page. Rows beyond :data:`MAX_DROPS` are counted on it but not shown.

    Args:
        rows: the result of :func:`c4_assets.scoring.score_files.score_files`.
    """
    shown = [row for row in rows if row.error is None][:MAX_DROPS]
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        pictures = list(threads.map(_picture, shown))
    counts = Counter(row.category for row in rows)
    write_html(
        page,
        "score_page.html",
        title=title,
        drops=list(zip(shown, pictures, strict=True)),
        failed=[row for row in rows if row.error is not None],
        categories=[(category, CATEGORY_COLOURS[category], counts[category]) for category in CATEGORIES],
        flagged=sum(bool(row.crystal) for row in rows),
        colours=CATEGORY_COLOURS,
        scorer=rows[0].scorer if rows else "",
        total=len(rows),
        prefix=len(_common_folder([row.path for row in rows])),
        not_shown=sum(row.error is None for row in rows) - len(shown),
    )


def _common_folder(paths: Sequence[str]) -> str:
    folders = {os.path.dirname(path) for path in paths}  # noqa: PTH120 - a prefix of the text, not a path
    common = os.path.commonpath(folders) if folders and len({path.startswith("/") for path in paths}) == 1 else ""
    return f"{common.rstrip('/')}/" if common else ""


def _picture(row: FileScore) -> str:
    try:
        jpeg = thumbnail(Path(row.path).read_bytes(), PAGE_THUMBNAIL_SIDE)
    except (OSError, ImageError):
        return ""  # it was removed after it was scored; the page shows its name and score
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()
