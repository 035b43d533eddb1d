"""Verdicts as Dagster shows them: severity, offending rows as text and pictures, numbers to plot."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from c4_assets.checks.check import Tables, Verdict, format_value
from c4_assets.checks.data_checks import DataChecks, Judged
from c4_assets.checks.pictures import OffendingRows, Pictures
from c4_assets.models.marco.preprocessing import thumbnail
from c4_assets.pictures.contact_sheet import MAX_TILES, Tile
from c4_assets.runs.metadata import markdown_cell, sheet_metadata
from resources.errors import ImageError

if TYPE_CHECKING:
    import pandas as pd

MAX_ROWS_LISTED = 50
"""Most offending rows that a result names; the table of a whole bad day would not fit an event."""

CHECK_THUMBNAIL_SIDE = 150


def evaluate(checks: DataChecks, asset: str, partition: date, tables: Tables, pictures: Pictures) -> "Evaluated":
    """Judges an asset's tables and turns the verdicts into results of Dagster.

    Args:
        partition: the day, or the Monday of the week.
        pictures: gives the pictures of offending images.
    """
    return evaluated(checks.judge(asset, partition, tables), pictures)


def evaluated(judged: Judged, pictures: Pictures) -> "Evaluated":
    """A judgement in Dagster's terms: see :func:`evaluate`."""
    return Evaluated(judged.verdicts, [_result(verdict, judged.pages, pictures) for verdict in judged.verdicts])


@dataclass(frozen=True)
class Evaluated:
    """The verdicts on one partition of an asset, and Dagster's results, one per check."""

    verdicts: Sequence[Verdict]
    check_results: Sequence[dg.AssetCheckResult]

    @property
    def metadata(self) -> dict[str, int]:
        """Numbers for the asset's own materialisation, where Dagster plots them over partitions."""
        failed = [verdict for verdict in self.verdicts if not verdict.passed]
        return {
            "checks failed": len(failed),
            "checks failed, blocking": sum(verdict.check.severity == "blocking" for verdict in failed),
        }


def _result(verdict: Verdict, pages: Mapping[str, Path], pictures: Pictures) -> dg.AssetCheckResult:
    check = verdict.check
    return dg.AssetCheckResult(
        check_name=check.name,
        passed=verdict.passed,
        severity=dg.AssetCheckSeverity.ERROR if check.severity == "blocking" else dg.AssetCheckSeverity.WARN,
        description=verdict.sentence,
        metadata={
            "judged": verdict.judged,
            "offending": len(verdict.rows),
            **_offending(verdict, pictures),
            **({"data docs": dg.PathMetadataValue(page)} if (page := pages.get(check.table)) else {}),
        },
    )


def _offending(verdict: Verdict, pictures: Pictures) -> dict[str, dg.MetadataValue]:
    if verdict.met:
        return {}
    tiles = _tiles(verdict.rows, pictures)
    return {
        "rows": dg.MetadataValue.md(table_of(verdict)),
        **({"pictures": sheet_metadata(tiles)} if tiles else {}),
        "what to do": dg.MetadataValue.text(verdict.check.remedy.replace("`", "")),
    }


def trends(table: "pd.DataFrame", *columns: str) -> dict[str, float]:
    """Medians of columns, for a materialisation: Dagster plots them over partitions. Unknown ones are left out."""
    known = {name: table[name].dropna() for name in columns if name in table}
    return {
        f"median {name}" if len(table) > 1 else name.replace("_", " "): round(float(values.median()), 4)
        for name, values in known.items()
        if len(values)
    }


def table_of(verdict: Verdict) -> str:
    """The offending rows as a Markdown table."""
    shown = verdict.check.shown
    lines = [f"| {' | '.join(name.replace('_', ' ') for name in shown)} |", "| --- |" + " --- |" * (len(shown) - 1)]
    lines += [
        f"| {' | '.join(markdown_cell(format_value(row[name])) for name in shown)} |"
        for row in verdict.rows[:MAX_ROWS_LISTED]
    ]
    if len(verdict.rows) > MAX_ROWS_LISTED:
        lines.append(f"\nand {len(verdict.rows) - MAX_ROWS_LISTED} more")
    return "\n".join(lines)


def _tiles(rows: OffendingRows, pictures: Pictures) -> list[Tile]:
    rows = [row for row in rows if row.get("path")][:MAX_TILES]
    tiles: list[Tile] = []
    for row, data in zip(rows, pictures(rows) if rows else (), strict=True):
        try:
            jpeg = thumbnail(data or b"", CHECK_THUMBNAIL_SIDE)
        except ImageError:
            continue
        place = f"{row['well']}.{row['drop']}" if "well" in row else f"inspection {row['inspection_id']}"
        tiles.append(Tile(jpeg, "", (str(row["plate"])[:22], place)))
    return tiles
