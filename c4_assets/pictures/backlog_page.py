"""The backlog as an HTML page without other files: a heat map of years and months, the rate, and the backfills."""

import calendar
import math
from pathlib import Path

from c4_assets.backlog.coverage import Coverage, by_year
from c4_assets.backlog.report import COUNTS, BackfillCoverage, Report
from c4_assets.pictures.html_page import write_html

MONTHS = tuple(calendar.month_abbr)[1:]


def write_page(report: Report, page: Path) -> None:
    """Writes the page.

    Raises:
        OSError: the page cannot be written.
    """
    found = {(month.year, month.month): month for month in report.months}
    years = [(year, [found.get((year.year, number)) for number in range(1, 13)]) for year in by_year(report.months)]
    write_html(
        page,
        "backlog_page.html",
        report=report,
        names=MONTHS,
        years=years[::-1],
        total=report.total,
        counts=COUNTS,
        busiest=max(report.throughput.hours, default=0) or 1,
        share=share,
        describe_backfill=describe_backfill,
    )


def share(coverage: Coverage) -> str:
    """The share that is done, in per cent: 100 only if nothing is pending."""
    percent = 100 * coverage.done
    return "100 %" if not coverage.pending else f"{min(math.floor(percent * 10) / 10, 99.9):.1f} %"


def describe_backfill(covered: BackfillCoverage) -> str:
    """A backfill in one line."""
    each = covered.backfill
    done = "" if covered.done is None else f", {covered.done:,} done, {covered.images:,} images pending"
    failed = f"; {each.runs_failed} runs have failed" if each.runs_failed else ""
    goes_on = f", which goes on with {each.resumes}" if each.resumes else ""
    return f"Backfill {each.backfill_id}{goes_on}: {each.state}, {len(each.days):,} days ({each.span}){done}{failed}."
