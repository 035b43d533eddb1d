"""Writes Great Expectations' Data Docs: a page for every table of a partition in which a row offends."""

from collections.abc import Iterable
from datetime import date
from pathlib import Path

from c4_assets.checks.expectations import Judgement
from resources.atomic_write import atomic_write


def write_pages(
    docs: Path, asset: str, partition: date, tables: Iterable[str], judged: Judgement, model: str = ""
) -> dict[str, Path]:
    """Writes the pages of a judgement and removes those of an earlier one whose faults are mended.

    Args:
        model: the model whose work was judged, where several do the same.

    Returns:
        The page of every table that has one.
    """
    pages = {table: docs / asset / model / f"{partition} {table}.html" for table in tables}
    for table, page in pages.items():
        if table in judged.pages:
            with atomic_write(page) as temporary:
                temporary.write_text(judged.pages[table], encoding="utf-8")
        elif page.exists():
            page.unlink(missing_ok=True)
    return {table: pages[table] for table in judged.pages}
