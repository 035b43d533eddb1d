"""Checks of C4's own files: that each file of the archive could be read."""

from collections.abc import Sequence
from pathlib import Path

from c4_assets.checks.check import Check, Tables, between


def readable_check(name: str, asset: str, what: str, again: str) -> Check:
    """A check of :func:`archive_table`.

    Args:
        what: whose files they are.
        again: how to make them again.
    """
    return Check(
        name=name,
        asset=asset,
        table="archive",
        severity="warning",
        holds=f"Every file that the archive has of the {what} could be read.",
        remedy="each is kept under the name shown, beside its place. Find out what damaged it (disk, file system, a "
        f"copy), {again}, then move it away.",
        expectations=lambda _: [between("set_aside", most=0)],
        shown=("set_aside", "kept_as"),
    )


def archive_table(set_aside: Sequence[Path]) -> Tables:
    """One row: what could not be read, as :class:`resources.archive.score_archive.ScoreArchive` has set it aside."""
    import pandas as pd

    kept_as = ", ".join(f"{file.parent.name}/{file.name}" for file in set_aside)
    return {"archive": pd.DataFrame([{"set_aside": len(set_aside), "kept_as": kept_as}])}
