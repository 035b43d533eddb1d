"""Checks of the imaging database: whether it answers, has this release's tables and what C4 needs, and keeps time."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from math import ceil

from sqlalchemy import DateTime, Text, func, literal_column, select, text

from c4_assets.operations.doctor.examine import Check
from c4_assets.operations.rhythm import WEEK, WEEKS_COMPARED, longest_pauses
from resources.clock_skew import skew
from resources.errors import C4Error
from resources.findings import Finding, Verdict
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.contract import check
from resources.imaging_database.throughput import imaging_times
from resources.settings.freshness import Freshness

SECTION = "Imaging database"

ANSWERS, MIGRATIONS, RHYTHM = "database.answers", "database.migrations", "database.rhythm"

ROOM_FOR_PAUSES = 1.25
"""How much longer than a pause that is usual the windows of freshness are proposed."""

UPGRADE = "`c4 db upgrade`"


def database_checks(database: ImagingDatabase, freshness: Freshness, upgrade: Callable[[], object]) -> list[Check]:
    """The checks of this section.

    Args:
        freshness: what is compared with the rhythm in which the facility images.
        upgrade: brings C4's own tables up to date. Only the embedded database is upgraded by the doctor: any other
            belongs to somebody who makes a backup first.
    """

    def mend() -> Iterator[str]:
        upgrade()
        yield f"brought the tables in {database.address} up to date"

    embedded = database.dialect == "sqlite"
    return [
        Check(
            ANSWERS,
            SECTION,
            "the imaging database",
            lambda: [_answers(database)],
            silence=f"{database.address} takes connections and says nothing, or is not reached: ask its administrator, "
            "and see whether a firewall lies between.",
            mend=mend if embedded else None,
        ),
        Check(
            MIGRATIONS,
            SECTION,
            "migrations",
            lambda: [_migrations(database)],
            after=(ANSWERS,),
            mend=mend if embedded else None,
        ),
        Check("contract", SECTION, "the contract", lambda: contract(database), after=(MIGRATIONS,)),
        Check(
            RHYTHM,
            SECTION,
            "the rhythm of imaging",
            lambda: [imaging_rhythm(database, freshness, datetime.now(UTC))],
            after=("contract",),
        ),
        Check("database.clock", SECTION, "the database's clock", lambda: [_clock(database)], after=(ANSWERS,)),
    ]


def _answers(database: ImagingDatabase) -> Finding:
    try:
        if database.is_new():
            what = f"there is no imaging database {database.address} yet"
            return Finding(
                ANSWERS, what, Verdict.FAILED, "`c4 import FOLDER`, `c4 demo` or `c4 db upgrade` makes it.", True
            )
        with database.reading("doctor") as connection:
            connection.execute(text("select 1 from dual" if database.dialect == "oracle" else "select 1"))
    except C4Error as error:
        return Finding(ANSWERS, f"the imaging database {database.address}", Verdict.FAILED, str(error))
    return Finding(ANSWERS, f"{database.address} answers")


def _migrations(database: ImagingDatabase) -> Finding:
    if not database.is_migrated():
        return Finding(MIGRATIONS, "its tables are made by its administrator: the contract says what they lack")
    if database.is_up_to_date():
        return Finding(MIGRATIONS, "its tables are those of this release")
    what = "its tables are of another release than this one"
    return Finding(MIGRATIONS, what, Verdict.FAILED, f"Make a backup, then {UPGRADE}.", database.dialect == "sqlite")


def contract(database: ImagingDatabase) -> list[Finding]:
    """What the database lacks, or one line that says that it lacks nothing."""
    try:
        found = check(database)
    except C4Error as error:
        return [Finding("contract", "the contract could not be looked at", Verdict.NOT_SEEN, str(error))]
    if any(finding.verdict is Verdict.FAILED for finding in found):
        return found
    return [Finding("contract", f"{database.address} keeps the contract"), *found]


def imaging_rhythm(database: ImagingDatabase, freshness: Freshness, now: datetime) -> Finding:
    """Whether the asset ``inspections`` would be late in ordinary weeks, and which hours the rhythm suggests."""
    pauses = longest_pauses(imaging_times(database, now, (WEEKS_COMPARED + 1) * WEEK))
    if pauses is None:
        return Finding(RHYTHM, "there are less than four weeks of imaging, from which no rhythm can be told")
    hour = timedelta(hours=1)
    warn = ceil(ROOM_FOR_PAUSES * (pauses.usual / hour))
    fail = max(2 * warn, ceil(ROOM_FOR_PAUSES * (pauses.longest / hour)))
    what = (
        f"nothing is imaged for up to {pauses.usual / hour:.0f} h in most weeks, {pauses.longest / hour:.0f} h at "
        f"most; inspections are late after {freshness.inspections_warn_hours} and {freshness.inspections_fail_hours} h"
    )
    if freshness.inspections_warn_hours * hour >= pauses.usual:
        return Finding(RHYTHM, f"{what}, where this rhythm suggests {warn} and {fail} h")
    fix = f"freshness.inspections_warn_hours = {warn} and freshness.inspections_fail_hours = {fail} suit this rhythm."
    return Finding(RHYTHM, what, Verdict.WARNED, fix)


_NOW = {
    "postgresql": select(func.clock_timestamp(type_=DateTime(timezone=True))),
    "oracle": select(
        literal_column("to_char(sys_extract_utc(systimestamp), 'YYYY-MM-DD\"T\"HH24:MI:SS')", Text)
    ).select_from(text("dual")),
}


def _clock(database: ImagingDatabase) -> Finding:
    query = _NOW.get(database.dialect)
    if query is None:
        return Finding("database.clock", "the embedded database has this machine's clock")
    with database.reading("doctor") as connection:
        before = time.time()
        told: datetime | str = connection.execute(query).scalar_one()
        after = time.time()
    at = datetime.fromisoformat(told).replace(tzinfo=UTC) if isinstance(told, str) else told
    return skew("database.clock", "the database", at.timestamp() - (before + after) / 2)
