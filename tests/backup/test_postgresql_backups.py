"""PostgreSQL is saved and put back by its own programs, which are told all that the address says."""

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from c4_assets.command.backup import places_of
from c4_assets.operations.backup.databases import rows_of_dump
from c4_assets.operations.backup.restoring import restore
from c4_assets.operations.backup.saving import Part, save, verify
from c4_assets.operations.backup.snapshot import MANIFEST
from resources.errors import ConfigurationError
from resources.settings import Settings
from testing.postgresql import PASSWORD, Server
from tests.backup.deployment import NOW, MakeFacility, files, put_back, saved, scores
from tests.conftest import photograph

pytestmark = pytest.mark.usefixtures("judged_without_great_expectations")


def test_postgresql_is_saved_by_its_own_program_and_every_score_is_found_in_dump_and_restored_database(
    make_facility: MakeFacility,
    postgresql_server: Server,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = postgresql_server.address("backed_up")
    facility = make_facility(database={"url": url})
    facility.add_plate("P1", {**files(0), "a\tb\u00e4.jpg": photograph(7)})
    facility.score()
    names = {"HOST": "127.0.0.1", "PORT": str(postgresql_server.port), "USER": "c4", "PASSWORD": PASSWORD}
    for name, value in {**names, "DB": "dagsters"}.items():
        monkeypatch.setenv(f"DAGSTER_POSTGRES_{name}", value)
    postgresql_server.address("dagsters")
    postgresql_server.execute("create table runs (id serial primary key, run_id text)", "dagsters")
    postgresql_server.execute("insert into runs (run_id) values ('one')", "dagsters")
    places = replace(places_of(facility.settings), dagster_database=access_of_dagster())
    backup = save(folder, places, "0.2.0", NOW).folder
    found = verify(backup).scores
    assert found is not None
    assert (found.written, found.found, found.well) == (4, 4, True)
    assert PASSWORD not in (backup / MANIFEST).read_text()
    assert [row["run_id"] for row in rows_of_dump(backup / "dagster-database" / "dagster.dump", "runs")] == ["one"]
    before = scores(facility)

    with pytest.raises(ConfigurationError, match="has rows"):
        restore(backup, places, facility.settings.home, NOW, {Part.DATABASE, Part.DAGSTER}, force=False)
    facility.add_plate("P2", files(10))
    facility.score()
    facility.database.engine.dispose()
    moved = restore(backup, places, facility.settings.home, NOW, {Part.DATABASE, Part.DAGSTER}, force=True)
    assert len(moved.moved) == 2
    assert scores(facility) == before
    aside = "select count(*) from before_restore_20260331t040000z.scores"
    assert postgresql_server.execute(aside, "backed_up")[0][0] == 7
    facility.add_plate("P2", files(10))
    facility.score()
    assert len(scores(facility)) == 7, "numbers are given again after a restore"


def access_of_dagster() -> Any:
    settings = Settings(runs={"dagster_storage": "postgres"})  # type: ignore[arg-type]
    return places_of(settings).dagster_database


def test_what_the_address_says_holds_for_the_programs_whatever_the_environment_says(
    make_facility: MakeFacility,
    postgresql_server: Server,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    postgresql_server.address("in_a_schema")
    postgresql_server.execute("create schema facility", "in_a_schema")
    postgresql_server.execute("create table public.scores (another_programs text)", "in_a_schema")
    place = f"host=127.0.0.1:{postgresql_server.port}&options=-csearch_path%3Dfacility"
    facility = make_facility(database={"url": f"postgresql+psycopg2://c4:{PASSWORD}@/in_a_schema?{place}"})
    facility.add_plate("P1", files(0))
    facility.score()
    before = scores(facility)
    assert len(before) == 3
    elsewhere = {"HOST": "192.0.2.1", "DATABASE": "postgres", "USER": "nobody", "PORT": "9"}
    for name, value in {**elsewhere, "OPTIONS": "-csearch_path=public", "PASSWORD": "wrong"}.items():
        monkeypatch.setenv(f"PG{name}", value)
    called = with_noted_arguments(tmp_path, monkeypatch)
    backup = saved(facility, folder).folder
    found = verify(backup).scores
    assert found is not None
    assert (found.written, found.found, found.well) == (3, 3, True)
    assert len(put_back(facility, backup, frozenset({Part.DATABASE}), force=True).moved) == 1
    assert scores(facility) == before
    assert postgresql_server.execute("select count(*) from facility.scores", "in_a_schema") == [(3,)]
    assert postgresql_server.execute("select count(*) from public.scores", "in_a_schema") == [(0,)]
    assert {"pg_dump", "pg_restore", "psql"} <= {line.split()[0] for line in called.read_text().splitlines()}
    assert PASSWORD not in called.read_text()


def test_a_database_that_the_address_names_by_a_service_of_the_sites_own_is_saved(
    make_facility: MakeFacility,
    postgresql_server: Server,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    postgresql_server.address("by_service")
    services = tmp_path / "pg_service.conf"
    services.write_text(f"[lims]\nhost=127.0.0.1\nport={postgresql_server.port}\ndbname=by_service\nuser=c4\n")
    monkeypatch.setenv("PGSERVICEFILE", str(services))
    facility = make_facility(
        database={"url": "postgresql+psycopg2:///?service=lims&application_name=a%20'b", "password": PASSWORD}
    )
    facility.add_plate("P1", files(0))
    facility.score()
    called = with_noted_arguments(tmp_path, monkeypatch)
    backup = saved(facility, folder).folder
    found = verify(backup).scores
    assert found is not None
    assert (found.written, found.found, found.well) == (3, 3, True)
    assert PASSWORD not in called.read_text()


def with_noted_arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Has PostgreSQL's programs note how they are called: the file."""
    noted, programs = tmp_path / "called", tmp_path / "programs"
    programs.mkdir()
    for name in ("pg_dump", "pg_restore", "psql"):
        (programs / name).write_text(f'#!/bin/sh\necho {name} "$@" >> {noted}\nexec {shutil.which(name)} "$@"\n')
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    return noted


def test_of_a_lims_that_has_none_of_c4s_tables_nothing_is_saved_and_that_is_told(
    make_facility: MakeFacility, postgresql_server: Server, folder: Path
) -> None:
    facility = make_facility(own_database=False, database={"url": postgresql_server.address("a_lims")})
    postgresql_server.execute("create table samples (name text)", "a_lims")
    made = saved(facility, folder)
    assert "has none of C4's tables" in made.unsaved[0]
    assert not list(made.folder.rglob("*.dump"))
    assert verify(made.folder).well
