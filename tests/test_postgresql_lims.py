"""The example of a LIMS on PostgreSQL, deploy/postgresql, started: what a data engineer adapts works as it stands."""

import re
import uuid
from collections.abc import Callable, Generator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import psycopg2
import pytest
from sqlalchemy import event, make_url, text

from resources.accounts.people import add_alias, create_person
from resources.accounts.rights import Role
from resources.findings import Verdict
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.audit import Actor
from resources.imaging_database.contract import PAGES_WRITES, check
from resources.imaging_database.human_scores import newest_human_scores
from resources.imaging_database.labels import human_labels
from resources.imaging_database.person_scores import score_images, undo
from resources.imaging_database.work import pending_by_day
from testing.postgresql import Server
from tests.conftest import Facility, noon, photograph

FILES = Path(__file__).parents[1] / "deploy" / "postgresql"

LIMS = """
create table lims.plate (plate_id bigint primary key, barcode text);
create table lims.imaging_profile (profile_id int primary key, profile_name text, light text);
create table lims.imaging (
    imaging_id bigint primary key, plate_id bigint references lims.plate, imager text, started_at timestamptz
);
create table lims.picture (
    picture_id bigint primary key, imaging_id bigint references lims.imaging, profile_id int, well_row smallint,
    well_column smallint, sub_well smallint, file text
);
create table lims.drop_class (class_id int primary key, class_name text);
create table lims.person (person_id int primary key, login text);
create table lims.drop_score (
    score_id bigint primary key, picture_id bigint, class_id int, person_id int, given_at timestamptz
);
insert into lims.imaging_profile values (1, 'overview', 'visible'), (2, 'UV', 'uv'), (3, 'SHG', 'shg');
insert into lims.drop_class values (1, 'clear drop'), (2, 'needles'), (3, 'never seen before');
insert into lims.person values (1, 'ana'), (2, 'ben');
"""


class Lims:
    """A LIMS in a database of its own, with C4's example beside it under names that no other test uses."""

    def __init__(self, server: Server) -> None:
        self.server, self.name = server, f"lims-{uuid.uuid4().hex}"
        unique = self.name.replace("-", "_")
        self.login, self.owner, self.application = f"c4_{unique}", f"owner_{unique}", f"app_{unique}"
        self.pages_login = f"web_{unique}"
        address = make_url(server.address(self.name)).set(password="secret")
        self.address = address.set(username=self.login).render_as_string(hide_password=False)
        self.pages_address = address.set(username=self.pages_login).render_as_string(hide_password=False)
        self.run(f"create role {self.application}; create schema lims; {LIMS}")
        for file in ("users.sql", "indexes.sql", "tables.sql", "views.sql", "grants.sql"):
            as_owner = (
                f"set role {self.owner}; set search_path = imaging;" if file in ("tables.sql", "views.sql") else ""
            )
            self.run(as_owner + self.with_own_names((FILES / file).read_text()))

    def with_own_names(self, script: str) -> str:
        """Roles belong to the whole server, which other tests use as well."""
        script = re.sub(r"\bimaging_owner\b", self.owner, script)
        script = re.sub(r"(ROLE|TO) c4_web\b", rf"\1 {self.pages_login}", script)
        script = re.sub(r"(ROLE|TO) c4\b", rf"\1 {self.login}", script)
        script = re.sub(r"TO lims;", f"TO {self.application};", script)
        return script.replace("another password of your own", "secret").replace("a password of your own", "secret")

    def run(self, script: str) -> None:
        """Runs a script in one session, as a DBA."""
        connection = psycopg2.connect(self.server.conninfo(self.name))
        connection.autocommit = True
        try:
            with connection.cursor() as cursor:
                cursor.execute(script)
        finally:
            connection.close()

    def add_plate(self, number: int, at: datetime) -> None:
        """A plate with two drops in visible light, one of them in ultraviolet as well."""
        self.run(
            f"insert into lims.plate values ({number}, 'P{number}');"
            f"insert into lims.imaging values ({number}, {number}, 'left', '{at.isoformat()}');"
            f"insert into lims.picture values ({number}01, {number}, 1, 1, 2, 1, 'Well\\{number}\\1.jpg'),"
            f"({number}02, {number}, 1, 8, 12, 3, 'Well\\{number}\\2.jpg'),"
            f"({number}03, {number}, 2, 8, 12, 3, 'Well\\{number}\\uv.jpg');"
        )


@pytest.fixture
def lims(postgresql_server: Server) -> Generator[Lims, None, None]:
    made = Lims(postgresql_server)
    yield made
    # A role cannot be removed while it owns something, and roles outlive the databases of the tests.
    made.run(f"drop owned by {made.owner}, {made.login}, {made.pages_login}, {made.application} cascade")
    made.run(f"drop role {made.owner}, {made.login}, {made.pages_login}, {made.application}")


@pytest.fixture
def facility(make_facility: Callable[..., Facility], lims: Lims) -> Generator[Facility, None, None]:
    made = make_facility(own_database=False, database={"url": lims.address})
    yield made
    made.database.engine.dispose()


def test_visible_images_are_scored_once_by_their_moment_in_utc_and_other_light_is_left_alone(
    lims: Lims, facility: Facility
) -> None:
    in_sydney = noon(1).replace(hour=23, minute=30).astimezone(timezone(timedelta(hours=11)))
    lims.add_plate(7, in_sydney)
    for name in ("1.jpg", "2.jpg", "uv.jpg"):
        (facility.images / "Well" / "7").mkdir(parents=True, exist_ok=True)
        (facility.images / "Well" / "7" / name).write_bytes(photograph(len(name)) + name.encode())
    findings = check(facility.database)
    assert [finding.what for finding in findings if finding.verdict is Verdict.FAILED] == []
    assert not any("newest images" in finding.what for finding in findings)
    assert pending_by_day(facility.database, facility.scorer_version, 3, noon(30)) == {noon(1).date(): 2}
    for _ in range(2):
        facility.score()
    assert [row.image_id for row in facility.rows("select image_id from scores order by 1")] == [701, 702]
    places = [(o.image.well, o.image.drop_number, o.image.path) for o in facility.archive.outcomes(noon(1).date())]
    assert places == [("A02", 1, "Well/7/1.jpg"), ("H12", 3, "Well/7/2.jpg")]


def test_what_people_say_is_read_from_the_limss_own_table(lims: Lims, facility: Facility) -> None:
    lims.add_plate(7, noon(1))
    at, later = noon(0), noon(0) + timedelta(minutes=5)
    lims.run(
        f"insert into lims.drop_score values (1, 701, 1, 1, '{at.isoformat()}'), (2, 701, 2, 2, '{later.isoformat()}'),"
        f"(3, 702, 3, 1, '{at.isoformat()}'), (4, 703, 2, 1, '{at.isoformat()}')"
    )
    labels = human_labels(facility.database, facility.scorer_version, noon(1), noon(-1))
    said = [(label.score_id, label.image_id, label.human, label.human_class, label.category) for label in labels]
    assert said == [
        (1, 701, "ana", "clear drop", "clear"),
        (3, 702, "ana", "never seen before", None),
        (2, 701, "ben", "needles", "crystals"),
    ], "ultraviolet pictures are no images of C4's"
    newest = newest_human_scores(facility.database, facility.scorer_version, noon(1), noon(-1))
    assert [(pair.image_id, pair.human) for pair in newest] == [(702, "ana"), (701, "ben")]
    assert newest[1].human_scored_at == later


def test_what_people_say_on_c4s_pages_stands_beside_what_the_lims_has_and_is_taken_back_in_both(
    lims: Lims, facility: Facility
) -> None:
    lims.add_plate(7, noon(1))
    lims.run(f"insert into lims.drop_score values (1, 701, 1, 1, '{noon(0).isoformat()}')")
    pages = ImagingDatabase(lims.pages_address)
    assert [finding.what for finding in check(pages, PAGES_WRITES) if finding.verdict is Verdict.FAILED] == []
    by = Actor(None, "10.0.0.7")
    create_person(pages, by, noon(2), "okafor", "A. Okafor", Role.SCORER)
    add_alias(pages, by, noon(2), "okafor", "ana")
    okafor, ben = Actor("okafor", "10.0.0.7"), Actor("ben", "10.0.0.8")
    later = noon(0) + timedelta(minutes=5)
    first = score_images(pages, ben, {701: 2}, later, str(uuid.uuid4()), {701: 1})
    assert first.changed == (), "the LIMS's score was shown"
    asked = str(uuid.uuid4())
    second = score_images(pages, okafor, {701: 2, 702: 2}, later, asked, {701: 1, 702: None})
    assert [(each.image_id, each.now and each.now.person) for each in second.changed] == [(701, "ben")]

    def said() -> list[tuple[int, str, str]]:
        labels = human_labels(facility.database, facility.scorer_version, noon(1), noon(-1))
        return [(label.image_id, label.human, label.human_class) for label in labels]

    def counting() -> list[tuple[int, str, str]]:
        newest = newest_human_scores(facility.database, facility.scorer_version, noon(1), noon(-1))
        return [(pair.image_id, pair.human, pair.human_class) for pair in newest]

    assert said() == [
        (701, "okafor", "clear drop"),
        (701, "ben", "needles"),
        (701, "okafor", "needles"),
        (702, "okafor", "needles"),
    ]
    assert counting() == [(701, "okafor", "needles"), (702, "okafor", "needles")]
    undo(pages, okafor, asked, [701, 702], later, str(uuid.uuid4()))
    assert counting() == [(701, "okafor", "clear drop")], "as before, in the LIMS"
    score_images(pages, okafor, {701: None}, later, str(uuid.uuid4()), {})
    assert said() == [(701, "ben", "needles")]
    assert counting() == [(701, "ben", "needles")]
    pages.engine.dispose()


def test_the_poll_and_the_labels_use_the_indexes_on_times_in_utc(lims: Lims, facility: Facility) -> None:
    lims.add_plate(7, noon(1))
    asked: list[tuple[str, object]] = []

    def remember(_connection: object, _cursor: object, statement: str, parameters: object, *_: object) -> None:
        asked.append((statement, parameters))

    event.listen(facility.database.engine, "before_cursor_execute", remember)
    pending_by_day(facility.database, "v", 3, noon(30))
    human_labels(facility.database, "v", noon(7), noon(0))
    event.remove(facility.database.engine, "before_cursor_execute", remember)
    plans: list[str] = []
    with facility.database.reading() as connection:
        connection.execute(text("set enable_seqscan = off"))  # a few rows are read faster without an index
        for statement, parameters in asked:
            if "select " in statement.lower() and "set_config" not in statement:
                rows = connection.exec_driver_sql(f"EXPLAIN {statement}", parameters)  # type: ignore[arg-type]
                plans.append("\n".join(str(row[0]) for row in rows))
    of_times = [plan for plan in plans if "imaging_started_at_utc" in plan]
    assert len(of_times) >= 2, plans
    assert any("drop_score_given_at_utc" in plan for plan in plans), plans


def test_the_login_can_change_nothing_of_the_lims(lims: Lims, facility: Facility) -> None:
    lims.add_plate(7, noon(1))
    connection = psycopg2.connect(make_url(lims.address).set(drivername="postgresql").render_as_string(False))
    connection.autocommit = True
    for statement in (
        "select * from lims.plate",
        "delete from images",
        "insert into human_scores values (9, 701, 1, 'c4', now())",
        "update plates set barcode = 'x'",
        "create table imaging.mine (id int)",
    ):
        with connection.cursor() as cursor, pytest.raises(psycopg2.Error):
            cursor.execute(statement)
    connection.close()
