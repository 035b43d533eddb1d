"""Writes Great Expectations' Data Docs: a page for every table of a partition in which a row offends."""

import logging
from collections.abc import Iterable
from datetime import date
from pathlib import Path

from c4_assets.checks.expectations import Judgement
from resources.atomic_write import atomic_write

log = logging.getLogger("c4.checks")


def write_pages(
    docs: Path, asset: str, partition: date, tables: Iterable[str], judged: Judgement, model: str = ""
) -> dict[str, Path]:
    """Writes the pages of a judgement and removes those of an earlier one whose faults are mended.

    A page is an aid: one that cannot be written (a disk that is full, read-only or away) is logged, and nothing stops.

    Args:
        model: the model whose work was judged, where several do the same.

    Returns:
        The page of every table that has one.
    """
    pages = {table: docs / asset / model / f"{partition} {table}.html" for table in tables}
    written: dict[str, Path] = {}
    for table, page in pages.items():
        try:
            if table in judged.pages:
                with atomic_write(page) as temporary:
                    temporary.write_text(judged.pages[table], encoding="utf-8")
                written[table] = page
            else:
                page.unlink(missing_ok=True)
        except OSError as error:
            log.warning("The page %s could not be written, and the scores do not depend on it: %s", page, error)
    return written
