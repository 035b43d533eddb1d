"""A LIMS of a site's own: views that C4 can only read, the least rights it works with, and ``c4 db check``."""

import re
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text

from c4_assets.checks.listed_files import files_of_newest
from c4_assets.command.run import failure_reason
from resources.findings import Finding, Verdict
from resources.image_store import LocalStore
from resources.imaging_database.contract import PAGES_WRITES, check
from resources.imaging_database.ddl import dialect_of, script
from resources.imaging_database.work import pending_by_day
from testing.postgresql import Server
from tests.conftest import Facility, c4, noon, photograph

ORACLE = Path(__file__).parents[1] / "deploy" / "oracle"

LIMS = """
create table lims.plate (plate_id numeric(19) primary key, barcode varchar(64) not null);
create table lims.imaging_task (
    task_id numeric(19) primary key, plate_id numeric(19) not null, date_imaged timestamp(0), imager_name varchar(64)
);
create index imaging_task_date on lims.imaging_task (date_imaged);
create table lims.drop_image (
    image_id numeric(19) primary key, task_id numeric(19) not null, well_name varchar(8) not null,
    drop_number numeric(3) not null, relative_path varchar(1024) not null
);
create index drop_image_task on lims.drop_image (task_id, image_id);
create table lims.score_option (option_id numeric(19) primary key, option_name varchar(64) not null);
insert into lims.score_option values (1, 'clear drop'), (2, 'needles');
"""

RIGHTS = {
    "plates": "select",
    "inspections": "select",
    "images": "select",
    "score_classes": "select",
    "c4_scorer_versions": "select, insert",
    "c4_models": "select, insert, update",
    "scores": "select, insert, update, delete",
    "c4_superseded_scores": "select, insert",
    "c4_image_failures": "select, insert, update, delete",
    "c4_withheld_inspections": "select, insert, update, delete",
    **dict.fromkeys(sorted(PAGES_WRITES.keys() - {"scores"}), "select"),
}
"""Of the login c4, as in grants.sql."""

PAGES_RIGHTS = {relation: ", ".join(("select", *PAGES_WRITES.get(relation, ()))) for relation in RIGHTS}
"""Of the login of C4's pages, as in grants.sql."""

CLASSES_OF_THE_LIMS_ALONE = """
select o.option_id as id, o.option_name as name, c.category as category
from lims.score_option o left join class_categories c on c.class_name = o.option_name
union all select -1, 'clear', 'clear' union all select -2, 'crystals', 'crystals'
union all select -3, 'other', 'other' union all select -4, 'precipitate', 'precipitate'
"""

VIEWS = ("plates", "inspections", "images", "score_classes")


def statements(script: str) -> Iterator[str]:
    """Of an SQL file, without comments."""
    bare = re.sub(r"^\s*--.*$", "", script, flags=re.MULTILINE)
    return (statement.strip() for statement in bare.split(";") if statement.strip())


class Site:
    """A PostgreSQL database with a LIMS, deploy/oracle's views over it, and a login for C4."""

    def __init__(self, server: Server) -> None:
        self.server, self.name = server, f"site-{uuid.uuid4().hex}"
        self.login = f"c4-{self.name}"
        address = make_url(server.address(self.name))
        self.address = address.set(username=self.login, password="secret").render_as_string(hide_password=False)
        self.run("create schema lims")
        views = (ORACLE / "views.sql").read_text().replace(" FROM dual", "")
        for statement in statements(LIMS + views + "".join(script(dialect_of("postgresql")))):
            self.run(statement)
        self.run(f"create role \"{self.login}\" login password 'secret'")
        for relation, rights in RIGHTS.items():
            self.run(f'grant {rights} on {relation} to "{self.login}"')

    def run(self, statement: str) -> None:
        """Runs a statement as the DBA."""
        self.server.execute(statement, self.name)

    def add_plate(self, store: Path, number: int, files: dict[str, bytes], imaged_at: datetime) -> None:
        self.run(f"insert into lims.plate values ({number}, 'P{number}')")
        at = imaged_at.replace(tzinfo=None)
        self.run(f"insert into lims.imaging_task values ({number}, {number}, '{at}', 'left')")
        for image, (name, data) in enumerate(files.items(), start=number * 100):
            store.mkdir(parents=True, exist_ok=True)
            (store / name).write_bytes(data)
            self.run(f"insert into lims.drop_image values ({image}, {number}, 'A01', 1, '{name}')")


@pytest.fixture
def site(postgresql_server: Server) -> Site:
    return Site(postgresql_server)


@pytest.fixture
def facility(make_facility: Callable[..., Facility], site: Site) -> Facility:
    return make_facility(own_database=False, database={"url": site.address})


def test_with_views_that_it_can_only_read_and_the_least_rights_c4_scores_and_repeats_nothing(
    site: Site, facility: Facility
) -> None:
    site.add_plate(facility.images, 7, {"a.jpg": photograph(1), "b.jpg": photograph(2), "c.jpg": b"no image"}, noon(1))
    assert pending_by_day(facility.database, facility.scorer_version, 3, noon(30)) == {noon(1).date(): 3}
    for _ in range(2):
        facility.score()
    rows = facility.rows("select s.image_id, c.name from scores s join score_classes c on c.id = s.score_class_id")
    assert sorted(row.image_id for row in rows) == [700, 701]
    assert facility.rows("select image_id, attempts from c4_image_failures") == [(702, 2)]


def lacking(findings: list[Finding]) -> list[str]:
    """What C4 cannot work without."""
    return [finding.what for finding in findings if finding.verdict is Verdict.FAILED]


def test_a_site_that_lacks_nothing_is_told_what_c4_cannot_see(facility: Facility) -> None:
    findings = check(facility.database)
    assert lacking(findings) == []
    unseen = {finding.what for finding in findings}
    assert {"lacks a look at the indexes of images, which is no table"} <= unseen


BROKEN = {
    "drop table c4_image_failures": "the relation c4_image_failures (or the right to read it)",
    "drop table scores": "the relation scores (or the right to read it)",
    "alter table scores drop column run_id": "the column scores.run_id",
    "alter table scores drop constraint uq_scores_image_id_scorer_version": (
        "a unique key of scores on image_id, scorer_version"
    ),
    "drop index ix_scores_scorer_version_scored_at": "an index of scores on scorer_version, scored_at",
    'revoke select on images from "{login}"': "the right to read images",
    'revoke insert on scores from "{login}"': "the right to insert rows of scores",
    'revoke delete on c4_image_failures from "{login}"': "the right to delete rows of c4_image_failures",
}


@pytest.mark.parametrize("broken", BROKEN)
def test_the_statement_that_the_check_prints_mends_what_it_names(site: Site, facility: Facility, broken: str) -> None:
    before = check(facility.database)
    site.run(broken.format(login=site.login))
    found = [finding for finding in check(facility.database) if finding not in before]
    assert f"lacks {BROKEN[broken]}" in [finding.what for finding in found]
    for finding in found:
        for statement in statements(finding.fix):
            site.run(statement)
    for relation, rights in RIGHTS.items():  # a table that was made again has lost its grants
        site.run(f'grant {rights} on {relation} to "{site.login}"')
    assert check(facility.database) == before


def test_a_column_of_the_wrong_type_and_a_missing_one_of_a_view_are_named(site: Site, facility: Facility) -> None:
    columns = "task_id as id, plate_id, date_imaged::timestamptz as imaged_at"
    site.run("drop view inspections")
    site.run(f"create view inspections as select {columns} from lims.imaging_task")
    site.run(f'grant select on inspections to "{site.login}"')
    (finding,) = (finding for finding in check(facility.database) if finding.verdict is Verdict.FAILED)
    assert finding.what == "lacks the column inspections.imager"
    assert finding.fix == "add imager (text) to the view inspections"
    site.run("drop view inspections")
    site.run(f"create view inspections as select {columns}, imager_name as imager from lims.imaging_task")
    site.run(f'grant select on inspections to "{site.login}"')
    (finding,) = (finding for finding in check(facility.database) if finding.verdict is Verdict.FAILED)
    assert finding.what == "lacks a time without time zone in inspections.imaged_at"


def test_all_rights_that_a_relation_lacks_come_in_one_statement_with_its_schema(site: Site, facility: Facility) -> None:
    site.run(f'revoke all on scores from "{site.login}"')
    (finding,) = (finding for finding in check(facility.database) if finding.verdict is Verdict.FAILED)
    assert finding.fix == f'GRANT SELECT, INSERT, UPDATE, DELETE ON public.scores TO "{site.login}"'
    site.run(finding.fix)
    assert lacking(check(facility.database)) == []


def test_the_login_of_the_pages_writes_what_is_its_own_and_nothing_of_the_runs(site: Site, facility: Facility) -> None:
    assert "lacks the right to insert rows of c4_audit" in lacking(check(facility.database, PAGES_WRITES))
    for relation, rights in PAGES_RIGHTS.items():
        site.run(f'revoke all on {relation} from "{site.login}"')
        site.run(f'grant {rights} on {relation} to "{site.login}"')
    assert lacking(check(facility.database, PAGES_WRITES)) == []
    refused = {finding.what for finding in check(facility.database) if finding.verdict is Verdict.FAILED}
    assert "lacks the right to update and delete rows of scores" in refused
    assert "lacks the right to insert and update rows of c4_models" in refused


def test_relations_in_a_schema_that_c4_does_not_look_into_are_found_and_shown_to_it(
    site: Site, facility: Facility
) -> None:
    site.run("create schema elsewhere")
    for relation in RIGHTS:
        site.run(f"alter {'view' if relation in VIEWS else 'table'} {relation} set schema elsewhere")
        site.run(f'revoke all on elsewhere.{relation} from "{site.login}"')
    site.run("create table lims.plates (plate integer)")
    findings = [finding for finding in check(facility.database) if finding.verdict is Verdict.FAILED]
    assert len(findings) == len(RIGHTS)
    for finding in findings:
        for statement in statements(finding.fix):
            site.run(statement)
    facility.database.engine.dispose()
    assert lacking(check(facility.database)) == []


def test_a_limss_views_are_neither_upgraded_nor_filled(
    site: Site, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("C4_DATABASE_URL", site.address)
    refused = c4(tmp_path / "home", "db", "seed-classes", models=models, check=False)
    assert refused.returncode == 1
    assert "score_classes is a view over the LIMS's own classes" in refused.stderr
    site.run("drop table c4_models")
    site.run("drop table c4_scorer_versions")
    refused = c4(tmp_path / "home", "db", "upgrade", models=models, check=False)
    assert refused.returncode == 1
    assert "`c4 db ddl --for postgresql` prints" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_sample_of_files_that_are_not_in_the_store_is_seen_before_it_costs_attempts(
    site: Site, facility: Facility
) -> None:
    store = LocalStore.at(facility.settings.store.url)
    assert files_of_newest(facility.database, store) == []
    for number in range(1, 5):
        site.add_plate(facility.images, number, {f"{number}.jpg": photograph(number)}, noon(number))
    assert files_of_newest(facility.database, store) == []
    site.run("update lims.drop_image set relative_path = 'WellImages\\' || relative_path where image_id < 400")
    (found,) = files_of_newest(facility.database, store)
    assert found.what == "lacks the files of 3 of 4 images, one each of the newest inspections"
    assert "is not one below the image store's root" in found.fix
    backslashes = "a path with forward slashes below the image store's root of 3 of the 4 newest images (image 100"
    assert backslashes in "\n".join(each.what for each in check(facility.database))
    (away,) = files_of_newest(facility.database, LocalStore.at(str(facility.images / "away")))
    assert away.what == "the image store could not be looked into"


def test_classes_without_the_categories_or_with_others_are_named(site: Site, facility: Facility) -> None:
    site.run("update class_categories set category = 'fancy' where class_name = 'needles'")
    found = [finding.what for finding in check(facility.database)]
    assert "lacks a category for the class needles: 'fancy' is none of clear, crystals, other, precipitate" in found


def test_views_without_a_class_for_taking_scores_back_keep_the_contract_with_a_warning(
    site: Site, facility: Facility
) -> None:
    assert not [finding for finding in check(facility.database) if "withdrawn" in finding.what]
    site.run(f"create or replace view score_classes as {CLASSES_OF_THE_LIMS_ALONE}")
    (finding,) = (finding for finding in check(facility.database) if "withdrawn" in finding.what)
    assert finding.verdict is Verdict.WARNED


def test_a_right_that_is_missing_in_the_middle_of_a_run_says_how_to_find_out_which(
    site: Site, facility: Facility
) -> None:
    site.add_plate(facility.images, 7, {"a.jpg": photograph(1)}, noon(1))
    site.run(f'revoke insert on scores from "{site.login}"')
    result = facility.score(raise_on_error=False)
    assert "does not allow what C4 needs" in failure_reason(result)
    assert "c4 db check" in failure_reason(result)


def test_the_command_prints_what_is_missing_and_says_so_with_its_status(
    site: Site, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("C4_DATABASE_URL", site.address)
    good = c4(tmp_path / "home", "db", "check", models=models)
    assert "keeps the contract" in good.stdout
    site.run("drop table scores")
    bad = c4(tmp_path / "home", "db", "check", models=models, check=False)
    assert bad.returncode == 1
    assert "CREATE TABLE scores" in bad.stdout
    assert "secret" not in bad.stdout + bad.stderr


@pytest.mark.parametrize("kind", ["oracle", "postgresql"])
def test_deploy_has_the_tables_and_the_grants_that_the_code_uses(kind: str) -> None:
    folder = ORACLE.with_name(kind)
    written = list(statements((folder / "tables.sql").read_text()))
    assert written == list(statements("\n".join(script(dialect_of(kind)))))
    optional = {"human_scores": "select"}
    for login, needed in (("c4", RIGHTS), ("c4_web", PAGES_RIGHTS)):
        granted = re.findall(rf"GRANT (.*) ON \w+\.(\w+) TO {login};", (folder / "grants.sql").read_text())
        assert {relation: rights.lower() for rights, relation in granted} in (needed, {**needed, **optional})


@pytest.mark.parametrize("kind", ["oracle-protocol"])
def test_deploy_oracles_tables_and_views_are_all_that_c4_needs(
    mirrored_server: Server, make_facility: Callable[..., Facility], kind: str
) -> None:
    from testing.oracle import mirror

    name = f"site-{uuid.uuid4().hex}"
    mirrored_server.address(name)
    for statement in statements("create schema lims;" + LIMS):
        mirrored_server.execute(statement, name)
    with mirror(mirrored_server.conninfo(name)) as address:
        engine = create_engine(address, max_identifier_length=128)
        with engine.begin() as connection:
            for file in ("tables.sql", "views.sql"):
                for statement in statements((ORACLE / file).read_text()):
                    connection.execute(text(statement))
        engine.dispose()
        facility = make_facility(own_database=False, database={"url": address})
        imaged_at = noon(1).replace(tzinfo=None)
        for statement in (
            "insert into lims.plate values (7, 'P7')",
            f"insert into lims.imaging_task values (7, 7, '{imaged_at}', 'left')",
            "insert into lims.drop_image values (700, 7, 'A01', 1, 'a.jpg')",
        ):
            mirrored_server.execute(statement, name)
        facility.images.joinpath("a.jpg").write_bytes(photograph(1))
        assert lacking(check(facility.database)) == []
        facility.score()
        assert facility.rows("select image_id from scores") == [(700,)]
