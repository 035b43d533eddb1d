"""`c4 doctor` where hosts take connections and say nothing. It runs beside nothing else, since seconds are counted."""

import json
import time

from testing.listeners import listener, say_nothing
from tests.doctor.place import Place, c4_doctor


def test_when_every_host_hangs_it_ends_within_ten_seconds_and_names_each(place: Place) -> None:
    with listener(say_nothing) as port:
        place.by_no_answer(port)
        began = time.monotonic()
        done = c4_doctor(place, "--json")
        took = time.monotonic() - began
    report = json.loads(done.stdout)
    assert took <= 10, took
    assert done.returncode == 1
    assert report["ok"] is False
    status = {each["id"]: each["status"] for each in report["checks"]}
    hanging = {"database.answers", "store.answers", "dagster.storage"}
    assert {name for name, verdict in status.items() if verdict == "failed"} == hanging, done.stdout
    assert {status[name] for name in ("contract", "image.fetched", "dagster.daemons", "slurm")} == {"not seen"}
    assert "pl4nted-secret" not in done.stdout + done.stderr
    assert {each["id"] for each in report["checks"]} > hanging
    for each in report["checks"]:
        assert set(each) == {"id", "status", "what", "fix", "seconds"}
        assert each["seconds"] <= 6


def test_slurm_that_hangs_beside_database_and_store_is_one_line_within_ten_seconds(place: Place) -> None:
    with listener(say_nothing) as port:
        place.set(
            C4_DATABASE_URL=f"postgresql+psycopg2://c4:pl4nted-secret@127.0.0.1:{port}/lims",
            C4_STORE_URL=f"ssh://c4@127.0.0.1:{port}/images",
            C4_STORE_KNOWN_HOSTS=place.login_node(port),
        )
        began = time.monotonic()
        done = c4_doctor(place)
        took = time.monotonic() - began
    assert took <= 10, took
    assert done.returncode == 1, done.stdout
    assert "✗ Slurm: no answer within" in done.stdout
    assert "slurmctld" in done.stdout
