"""``c4 metrics``: true numbers over a real small deployment, whatever of it is away, in Prometheus' own format."""

import math
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from prometheus_client.parser import text_string_to_metric_families

from c4_assets.command.metrics import all_sources, told
from c4_assets.operations.alerts.records import Condition, Event, Observation, Severity
from c4_assets.operations.alerts.rules import Rules
from c4_assets.operations.alerts.state import alerts_folder, tell
from c4_assets.operations.metrics.catalogue import METRICS, Counts, Sample, as_table
from c4_assets.operations.metrics.counted import Kept, StepTimes, Totals
from c4_assets.operations.metrics.exposition import as_text, write_textfile
from c4_assets.operations.metrics.messages import alert_samples
from c4_assets.operations.metrics.sources import NothingYet, Source, Sources
from c4_assets.runs import run_totals
from c4_assets.runs.run_totals import add_ended_runs
from resources.errors import ConfigurationError
from resources.imaging_database.register import NewImage, register_inspection
from resources.settings import Settings
from testing.dagster_types import ephemeral_instance
from testing.programs import path_of
from testing.prometheus import exporter
from tests.conftest import Facility, c4, noon, photograph


def values(text: bytes) -> dict[str, float]:
    """Every sample by its name and labels, ``name{a=b}``."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def read(facility: Facility) -> dict[str, float]:
    sources = all_sources(facility.settings)
    for _ in Sources([source for source in sources if source.name == "history"]).samples(30):
        pass
    return values(as_text(told(Sources(sources), 30)))


def test_images_states_and_times_are_those_of_the_database(facility: Facility) -> None:
    facility.add_plate("P1", {**{f"{n}.jpg": photograph(n) for n in range(4)}, "bad.jpg": b"no image"})
    facility.add_plate("P2", {"old.jpg": photograph(9)}, noon(60))
    facility.score()
    facility.add_plate("P3", {"new.jpg": photograph(10)}, noon(2))
    facility.add_plate("P4", {}, noon(-2))  # by an imager whose clock is ahead
    found = read(facility)
    assert found["c4_images_listed"] == 7
    assert found["c4_images{state=scored}"] == 4
    assert found["c4_images{state=pending}"] == 3
    assert found["c4_images{state=retrying}"] == 1
    assert found["c4_backlog_images"] == found["c4_backlog_partitions"] == 1
    assert found["c4_last_imaged_timestamp_seconds"] == noon(1).timestamp()
    assert found["c4_oldest_pending_timestamp_seconds"] == noon(2).timestamp()
    assert time.time() - 300 < found["c4_last_scored_timestamp_seconds"] < time.time() + 1
    assert found["c4_database_up"] == found["c4_store_up"] == found["c4_dagster_up"] == 1
    assert "c4_slurm_up" not in found
    assert found["c4_disk_size_bytes{place=archive}"] >= found["c4_disk_free_bytes{place=archive}"] > 0


def test_ended_runs_are_counted_once_with_their_images_and_the_time_of_their_steps(facility: Facility) -> None:
    facility.add_plate("P1", {**{f"{n}.jpg": photograph(n) for n in range(4)}, "bad.jpg": b"no image"})
    facility.score()
    totals, now = Totals(), datetime.now(UTC) + timedelta(seconds=1)
    assert add_ended_runs(facility.instance, totals, now) == 1
    assert add_ended_runs(facility.instance, totals, now) == 0
    assert totals.ended == {"score_images": {"success": 1}}
    assert totals.images == {
        "c4_images_fetched_total": 5,
        "c4_images_classified_total": 4,
        "c4_images_written_total": 4,
        "c4_image_failures_total": 1,
    }
    assert {step: times.counts.buckets[-1] for step, times in totals.steps.items()} == dict.fromkeys(
        ("fetch", "classify", "predict", "write"), 1
    )
    assert all(times.total > 0 and not times.failures for times in totals.steps.values())


def test_more_ended_runs_than_a_look_reads_are_all_counted_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_totals, "RUNS_A_LOOK", 3)
    monkeypatch.setattr(run_totals, "RUNS_A_PAGE", 5)

    graph: Any = dg.GraphDefinition(name="nothing", node_defs=[])
    nothing = graph.to_job()
    with ephemeral_instance() as instance:
        for _ in range(13):  # more than a page, all within the overlap
            nothing.execute_in_process(instance=instance)
        totals, now = Totals(), datetime.now(UTC)
        looks = [add_ended_runs(instance, totals, now + timedelta(seconds=60 * n)) for n in range(12)]
    assert sum(looks) == 13
    assert looks[-1] == 0
    assert sum(totals.ended["nothing"].values()) == 13


def test_a_duration_is_counted_in_its_bucket_and_in_all_above() -> None:
    times = StepTimes()
    for seconds in (0.2, 5.0, 5.1, 10**6):
        times.add(seconds)
    assert times.counts.buckets[:4] == (1, 2, 3, 3)
    assert times.counts.buckets[-2:] == (3, 4)


def test_totals_go_on_after_a_restart_and_are_shared_by_two_exporters(tmp_path: Path) -> None:
    for kept in (Kept(tmp_path), Kept(tmp_path)):
        with kept.changing() as counted:
            counted.totals.add_images("c4_images_written_total", 5)
            counted.totals.of_step("fetch").add(3)
    assert Kept(tmp_path).read().totals.images == {"c4_images_written_total": 10}
    assert Kept(tmp_path).read().totals.steps["fetch"].counts.buckets[-1] == 2


@pytest.mark.parametrize("damaged", [b"", b"{", b"[]", b'{"totals": {"steps": {"fetch": {"buckets": [1]}}}}'])
def test_totals_that_cannot_be_read_begin_anew(tmp_path: Path, damaged: bytes) -> None:
    (tmp_path / "metrics.json").write_bytes(damaged)
    with Kept(tmp_path).changing() as counted:
        counted.totals.add_run("id", "score_images", "success", 0)
    assert Kept(tmp_path).read().totals.ended == {"score_images": {"success": 1}}


def test_totals_are_counted_in_memory_where_they_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").mkdir()
    kept = Kept(tmp_path)
    for _ in range(2):
        with kept.changing() as counted:
            counted.totals.add_images("c4_images_written_total", 5)
    assert kept.read().totals.images == {"c4_images_written_total": 10}


def test_a_source_that_fails_is_left_alone_for_as_long_as_it_wants() -> None:
    asked: list[str] = []

    def fail(name: str) -> Iterator[Sample]:
        asked.append(name)
        raise OSError

    sources = Sources(
        [Source("a login", lambda: fail("a login"), 300, 300), Source("another", lambda: fail("another"), 300, 0.1)]
    )
    for _ in range(2):
        list(sources.samples(2))
        time.sleep(0.2)
    assert asked == ["a login", "another", "another"]


def answers(value: float) -> Iterator[Sample]:
    yield Sample("c4_backlog_partitions", value)


def test_a_source_that_has_nothing_yet_is_not_told_as_down_and_is_asked_again_soon(
    caplog: pytest.LogCaptureFixture,
) -> None:
    counted = list[Sample]()

    def ask() -> list[Sample]:
        if not counted:
            raise NothingYet
        return counted

    sources = Sources([Source("images", ask, every_s=3600, again_s=0)])
    assert list(sources.samples(math.inf)) == []
    counted.append(Sample("c4_images_listed", 3))
    assert Sample("c4_images_listed", 3) in sources.samples(math.inf)
    assert caplog.text == ""


def test_a_source_that_hangs_delays_no_scrape_and_is_told_as_down_in_the_end() -> None:
    released, asked = threading.Event(), list[float]()

    def hang() -> Iterator[Sample]:
        asked.append(time.monotonic())
        if len(asked) > 1:
            released.wait(30)
        yield Sample("c4_images_listed", 7)

    sources = Sources([Source("slow", hang, 0, longest_s=0.6, up="c4_store_up"), Source("quick", lambda: answers(3))])
    assert values(as_text(sources.samples()))["c4_images_listed"] == 7
    began = time.monotonic()
    kept = values(as_text(sources.samples(0.2)))
    assert time.monotonic() - began < 0.5
    assert kept["c4_images_listed"] == 7, "the answer from before is told while the next one is waited for"
    assert kept["c4_store_up"] == kept["c4_backlog_partitions"] - 2 == 1
    gone = values(as_text(sources.samples(2)))
    released.set()
    assert "c4_images_listed" not in gone
    assert gone["c4_store_up"] == gone["c4_source_up{source=slow}"] == 0
    assert gone["c4_source_up{source=quick}"] == 1
    assert len(asked) == 2, "one that hangs is not asked again meanwhile"


def test_a_source_that_fails_takes_its_metrics_along_and_no_others_and_its_words_are_told_nowhere(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail() -> Iterator[Sample]:
        yield Sample("c4_images_listed", 7)
        raise OSError("postgresql://c4:planted-secret@host")

    text = as_text(
        Sources([Source("broken", fail, up="c4_database_up"), Source("quick", lambda: answers(3))]).samples()
    )
    assert b"planted-secret" not in text
    assert "planted-secret" not in caplog.text
    assert "broken does not answer: OSError" in caplog.text
    assert {"c4_database_up": 0.0, "c4_backlog_partitions": 3.0}.items() <= values(text).items()
    assert "c4_images_listed" not in values(text)


def test_an_answer_is_used_again_for_as_long_as_it_is_good() -> None:
    asked: list[int] = []

    def ask() -> Iterator[Sample]:
        asked.append(1)
        yield Sample("c4_backlog_partitions", len(asked))

    sources = Sources([Source("counted", ask, 0.5)])
    assert [values(as_text(sources.samples(2)))["c4_backlog_partitions"] for _ in range(3)] == [1, 1, 1]
    time.sleep(0.6)
    assert values(as_text(sources.samples(2)))["c4_backlog_partitions"] == 2


def test_a_database_a_store_and_a_cluster_that_are_away_leave_all_else(tmp_path: Path) -> None:
    settings = Settings.model_validate(
        {
            "home": tmp_path / "home",
            "database": {"url": "postgresql+psycopg2://c4:planted-secret@127.0.0.1:9/imaging"},
            "store": {"url": str(tmp_path / "not-mounted")},
            "slurm": {"folder": str(tmp_path)},
        }
    )
    sources = all_sources(settings)
    found = values(text := as_text(told(Sources(sources), 30)))
    assert b"planted-secret" not in text
    assert found["c4_database_up"] == found["c4_store_up"] == found["c4_slurm_up"] == 0
    assert found["c4_dagster_up"] == 1
    assert found["c4_pool_slots{pool=image_store}"] == 10
    assert found["c4_runs{status=queued}"] == 0
    assert found["c4_disk_free_bytes{place=home}"] > 0
    assert "c4_images_listed" not in found


def test_the_store_of_a_deployment_without_an_image_is_not_told_as_away(facility: Facility) -> None:
    facility.images.rmdir()
    assert read(facility)["c4_store_up"] == 1, "nobody needs it yet, and the watch says the same"
    register_inspection(facility.database, "P1", noon(1), None, [NewImage("A01", 1, "P1/a.jpg")])
    assert read(facility)["c4_store_up"] == 0


def test_an_open_incident_and_its_message_that_waits_are_counted(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    away = Condition("database-away", Event.DATABASE_AWAY, Severity.ERROR, "It does not answer.", since=now)
    for minutes in (0, 60):
        tell(alerts_folder(tmp_path), Observation(holding=(away,)), Rules(), now + timedelta(minutes=minutes))
    found = values(as_text(alert_samples(tmp_path)))
    assert found["c4_incidents_open{event=database-away,severity=error}"] == 1
    assert found["c4_messages_waiting"] == 1
    assert found["c4_oldest_message_timestamp_seconds"] == (now + timedelta(minutes=60)).timestamp()
    assert values(as_text(alert_samples(tmp_path / "new"))) == {"c4_messages_waiting": 0}


def test_an_exporter_makes_no_database(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    found = values(as_text(told(Sources(all_sources(settings)), 30)))
    assert found["c4_database_up"] == 0
    assert not (tmp_path / "imaging.db").exists()


def a_value_each() -> list[Sample]:
    """Every metric of the catalogue."""
    counts = Counts(tuple(range(13)), 60.0)
    return [
        Sample(each.name, counts if each.kind == "histogram" else 1.0, tuple("v" for _ in each.labels))
        for each in METRICS
    ]


def test_no_label_is_one_that_prometheus_sets_itself_or_has_a_value_for_each_plate_or_run() -> None:
    labels = {label for each in METRICS for label in each.labels}
    assert not labels & {"job", "instance", "run", "run_id", "plate", "image", "inspection", "partition"}


def test_promtool_has_nothing_to_say_against_any_metric() -> None:
    text = as_text(a_value_each())
    done = subprocess.run([path_of("promtool"), "check", "metrics"], input=text, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_the_documentation_has_every_metric() -> None:
    page = (Path(__file__).parents[1] / "docs" / "metrics.md").read_text()
    assert as_table() in page, "python -m c4_assets.operations.metrics.catalogue prints the table"


def test_a_textfile_is_whole_and_readable_for_others(tmp_path: Path) -> None:
    file = tmp_path / "c4.prom"
    write_textfile(file, a_value_each())
    assert values(file.read_bytes())["c4_images_listed"] == 1
    assert file.stat().st_mode & 0o777 == 0o644
    assert list(tmp_path.iterdir()) == [file]
    with pytest.raises(ConfigurationError, match=r"end in \.prom"):
        write_textfile(tmp_path / "c4.txt", ())
    with pytest.raises(ConfigurationError, match="no folder"):
        write_textfile(tmp_path / "nowhere" / "c4.prom", ())


def test_a_metric_that_is_not_in_the_catalogue_is_not_exported() -> None:
    with pytest.raises(ValueError, match="c4_plates"):
        as_text([Sample("c4_plates", 1)])


def test_both_commands_tell_the_same_and_the_server_ends_by_a_signal(facility: Facility, models: Path) -> None:
    facility.add_plate("P1", {"1.jpg": photograph(1)})
    home = facility.settings.home
    c4(home, "metrics", "--textfile", home / "c4.prom", models=models)
    written = values((home / "c4.prom").read_bytes())
    assert written["c4_images_listed"] == 1
    with exporter(home) as address:
        scraped = values(urllib.request.urlopen(address, timeout=10).read())
        assert scraped["c4_build_info{version=0.2.0}"] == 1
        assert scraped.keys() <= written.keys() | {"c4_oldest_pending_timestamp_seconds"}
