"""`c4 doctor --fix` mends what is safe to mend, and what is sent is sent once."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from c4_assets.command.doctor import look_around
from c4_assets.operations.doctor.examine import mend
from resources.findings import Verdict
from testing.http_receiver import http_receiver
from testing.postgresql import Server
from tests.doctor.faults import (
    dead_run,
    lacking_yaml,
    leaked_slot,
    missing_folder,
    no_slurm,
    not_upgraded,
    readable_secret,
    yaml_of_other_settings,
)
from tests.doctor.place import PATIENCE_S, Place, c4_doctor, findings

PASSED, WARNED, FAILED, NOT_SEEN = Verdict


def test_what_is_safe_is_mended_and_said_and_a_second_time_there_is_nothing_to_do(place: Place) -> None:
    for broken in (readable_secret, missing_folder, not_upgraded, dead_run, leaked_slot, yaml_of_other_settings):
        broken(place)
    before = findings(look_around(patience=PATIENCE_S))
    assert {each.id for each in before if each.safe} == {
        "configuration.permissions",
        "folders.scratch",
        "database.migrations",
        "dagster.runs",
        "dagster.pools",
        "dagster.yaml",
    }
    done = c4_doctor(place, "--fix", "--json", "--patience", "30")
    report = json.loads(done.stdout)
    said = "\n".join(report["mended"])
    for words in ("chmod g-w,o-rwx", "made the folder", "up to date", "ended a dead run", "freed the slots", "renewed"):
        assert words in said, said
    assert done.returncode == 0, done.stdout
    assert report["ok"] is True
    assert (place.home / "secrets" / "ui_password").stat().st_mode & 0o777 == 0o640
    assert mend(look_around(patience=PATIENCE_S)) == []


def test_a_new_deployment_is_prepared_by_mending_it(place: Place, tmp_path: Path) -> None:
    done = c4_doctor(
        place, "--fix", "--patience", "30", C4_HOME=str(tmp_path / "new"), C4_STORE_URL=f"{place.home}/images"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Mended: made the folder" in done.stdout
    assert "! the imaging database lists no image" in done.stdout


def test_a_database_of_others_is_not_upgraded(place: Place, server: Server) -> None:
    place.server = server
    place.postgresql()
    not_upgraded(place)
    found = {each.id: each for each in findings(look_around(patience=PATIENCE_S))}
    assert found["database.migrations"].verdict is FAILED
    assert not found["database.migrations"].safe
    assert "Make a backup" in found["database.migrations"].fix


def test_a_site_s_own_dagster_yaml_is_never_renewed(place: Place) -> None:
    lacking_yaml(place)
    file = place.home / "dagster" / "dagster.yaml"
    before = file.read_text()
    mend(look_around(patience=PATIENCE_S))
    assert file.read_text() == before


@pytest.mark.parametrize("broken", [missing_folder, None], ids=["something to mend", "nothing to mend"])
def test_what_is_sent_is_sent_once_when_all_is_mended(place: Place, broken: Callable[[Place], None] | None) -> None:
    no_slurm(place)
    asked = place.home / "asked"
    (place.home / "slurm-commands" / "sinfo").write_text(f"#!/bin/sh\necho >> {asked}\nexit 1\n")
    look_around(nodes=True, patience=PATIENCE_S)
    at_once = asked.read_text().count("\n")  # from here, and for the jobs
    asked.unlink()
    look_around(patience=PATIENCE_S)
    from_here = asked.read_text().count("\n")
    asked.unlink()
    if broken:
        broken(place)
    with http_receiver() as web:
        place.set(C4_ALERTS_WEBHOOK=f"{web.url}/hook")
        told = c4_doctor(place, "--fix", "--send-test", "--nodes", "--json", "--patience", str(PATIENCE_S)).stdout
        assert len(web.received) == 1
    assert "channels.webhook" in {each["id"] for each in json.loads(told)["checks"]}
    assert asked.read_text().count("\n") == from_here + at_once
