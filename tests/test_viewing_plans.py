"""Pages look rows up and read no table of images or scores through: what the databases say of it."""

import re
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from resources.imaging_database import ImagingDatabase
from resources.imaging_database.schema import plate_access, plate_details
from resources.imaging_database.viewing.best import best_over_time
from resources.imaging_database.viewing.cursors import Cursor
from resources.imaging_database.viewing.drops import drop_over_time, image, inspection
from resources.imaging_database.viewing.find_plates import PlateSearch, find_plates
from resources.imaging_database.viewing.inspections import newest_inspections, plate
from resources.imaging_database.viewing.lists import likeliest_crystals, missed_crystals, scores_of_person
from resources.imaging_database.viewing.relations import EVERYTHING, Viewer
from testing.postgresql import Server
from testing.scored_history import fill
from tests.conftest import Facility
from tests.test_query_plans import plans

NOW = datetime.now(UTC)
MEMBER = Viewer(frozenset({"member 1"}))
MONTH = NOW - timedelta(days=30), NOW

PAGES: dict[str, Callable[[ImagingDatabase], object]] = {
    "newest inspections": lambda database: newest_inspections(database, "v", 3, EVERYTHING),
    "more inspections": lambda database: newest_inspections(database, "v", 3, EVERYTHING, Cursor(MONTH[0], 1)),
    "inspections of a member": lambda database: newest_inspections(database, "v", 3, MEMBER),
    "plates by barcode": lambda database: find_plates(database, PlateSearch("P1"), EVERYTHING),
    "plates of a month": lambda database: find_plates(database, PlateSearch("P1", since=MONTH[0]), MEMBER),
    "plate": lambda database: plate(database, "v", 3, "P1", MEMBER),
    "inspection": lambda database: inspection(database, 1, MEMBER),
    "image": lambda database: image(database, 1, MEMBER),
    "drop over time": lambda database: drop_over_time(database, "P1", "A1", 1, MEMBER),
    "best over time": lambda database: best_over_time(database, 1, "v", EVERYTHING),
    "likeliest crystals": lambda database: likeliest_crystals(database, "v", *MONTH, EVERYTHING),
    "unscored crystals": lambda database: likeliest_crystals(database, "v", *MONTH, MEMBER, only_unscored=True),
    "missed crystals": lambda database: missed_crystals(database, "v", *MONTH, EVERYTHING),
    "false alarms": lambda database: missed_crystals(database, "v", *MONTH, MEMBER, "people"),
    "scores of a person": lambda database: scores_of_person(database, ["person 1", "x"], "v", EVERYTHING),
}

page = pytest.mark.parametrize("ask", PAGES.values(), ids=PAGES)

SMALL = re.compile(r"SCAN (page|each|matching|of_\w+|\w+_class|\(subquery-\d+\)|CONSTANT ROW)( |$)")
"""What SQLite reads through for a page: its own rows, and classes."""


@pytest.fixture(scope="module")
def lived(postgresql_server: Server) -> ImagingDatabase:
    """Two years of 250 images a day, scored by the machine and by people; some plates are of members."""
    database = ImagingDatabase(postgresql_server.address(f"lived-{uuid.uuid4().hex}", "upgraded"))
    fill(database, images=180_000, a_day=250, scorer="v", lived=True)
    add_optional_relations(database)
    with database.writing() as connection:
        connection.execute(text("analyze"))
    return database


def add_optional_relations(database: ImagingDatabase) -> None:
    """As a site's, with the indexes that are asked for."""
    with database.writing() as connection:
        for table in (plate_access, plate_details):
            table.create(connection)
        connection.execute(text("insert into plate_access select id, 'member ' || (id % 10) from plates"))
        connection.execute(text("insert into plate_details (plate_id, project) select id, 'project' from plates"))
        connection.execute(text("create index plate_access_member on plate_access (member, plate_id)"))
        connection.execute(text("create index plate_details_plate on plate_details (plate_id)"))


@page
def test_postgresql_reads_no_images_or_scores_through(
    lived: ImagingDatabase, ask: Callable[[ImagingDatabase], object]
) -> None:
    seen = 0
    for plan in plans(lived, ask, "EXPLAIN"):
        lines = "\n".join(str(row[0]) for row in plan)
        assert "Index" in lines
        assert "Seq Scan on scores" not in lines, lines
        assert "Seq Scan on images" not in lines, lines
        seen += 1
    assert seen >= 1


def test_the_likeliest_crystals_of_a_month_are_found_in_an_index_alone(lived: ImagingDatabase) -> None:
    first, *_ = plans(lived, PAGES["likeliest crystals"], "EXPLAIN")
    assert any("Index Only Scan using ix_scores_scorer_version_crystal_scored_at" in row[0] for row in first), first


def test_what_a_person_has_said_is_found_by_the_persons_name(lived: ImagingDatabase) -> None:
    first, *_ = plans(lived, PAGES["scores of a person"], "EXPLAIN")
    assert any("ix_scores_scorer_scored_at" in row[0] for row in first), first


@page
def test_sqlite_reads_no_table_through(facility: Facility, ask: Callable[[ImagingDatabase], object]) -> None:
    database = facility.database  # whatever statistics say, these lookups have an index
    with database.writing() as connection:
        connection.execute(text("insert into plates (id, barcode) values (1, 'P1')"))
        row = {"at": (NOW - timedelta(days=1)).replace(tzinfo=None)}
        connection.execute(text("insert into inspections (id, plate_id, imaged_at) values (1, 1, :at)"), row)
    add_optional_relations(database)
    seen = 0
    for plan in plans(database, ask, "EXPLAIN QUERY PLAN"):
        for *_, step in plan:
            assert not step.startswith("SCAN") or SMALL.match(step), step
        seen += 1
    assert seen >= 1
