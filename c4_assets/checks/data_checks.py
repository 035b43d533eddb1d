"""A site's checks: its thresholds, judging by them, and the pages about what fails."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from c4_assets.checks.catalogue import checks_of
from c4_assets.checks.check import Tables, Verdict
from c4_assets.checks.data_docs import write_pages
from c4_assets.checks.expectations import judge
from resources.settings import Settings


@dataclass(frozen=True)
class Judged:
    """The verdicts on one partition of an asset, and the page of every table in which a row offends."""

    verdicts: Sequence[Verdict]
    pages: Mapping[str, Path]


class DataChecks:
    """Judges tables at a site's thresholds. Making one reads no file."""

    def __init__(self, settings: Settings) -> None:
        self.thresholds, self.docs = settings.checks, settings.data_docs

    def judge(self, asset: str, partition: date, tables: Tables, model: str = "") -> Judged:
        """Judges an asset's tables by its checks, and keeps Data Docs of those in which something is wrong.

        Args:
            partition: the day, or the Monday of the week.
            model: the model whose work is judged, where several do the same; each has pages of its own.
        """
        judged = judge(checks_of(asset), tables, self.thresholds)
        return Judged(judged.verdicts, write_pages(self.docs, asset, partition, tables, judged, model))
