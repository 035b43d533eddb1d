"""Log files: a line is an object that says what it is about, many processes write one file, and no fault stops work."""

import io
import json
import logging
import os
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from rich.console import Console
from rich.progress import Progress

from c4_assets.command.console import work_shown
from c4_assets.definitions import defs
from c4_assets.deployment_home import dagster_instance
from c4_assets.operations.alerts.outbox import Outbox
from c4_assets.operations.alerts.records import Condition, Event, Observation, Severity
from c4_assets.operations.alerts.rules import Rules
from c4_assets.operations.alerts.state import tell
from c4_assets.runs.jobs import schedule, score_images, sensor
from c4_assets.runs.log_lines import TICK_TAG, DagsterEvents
from resources import log_files
from resources.log_context import ids_at_work, working_on
from resources.log_files import SharedFile, WarningsOnConsole, file_written_to, write_finer_lines_too, write_logs
from sensors.new_inspections import new_inspections
from testing.alerts import DATABASE, START, Listener
from testing.import_graph import ROOT as PROJECT
from tests.conftest import QUIET, Facility, noon, photograph, replace_resources

log = logging.getLogger("c4.fetch")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """The log folder of a home, to which this process writes."""
    logger = logging.getLogger("c4")
    before, level = list(logger.handlers), logger.level
    logger.handlers.clear()
    write_logs(tmp_path / "logs", logging.DEBUG, 1_000_000, 3)
    yield tmp_path / "logs"
    for each in logger.handlers:
        each.close()
    logger.handlers[:] = before
    logger.setLevel(level)


def lines(folder: Path) -> list[dict[str, Any]]:
    files = sorted(folder.glob("c4-*.jsonl*"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def test_a_line_says_when_what_and_about_what(folder: Path) -> None:
    with working_on(correlation="tick", run_id="r", job="score_images", step="s", partition="2026-03-31"):
        with working_on(inspection_id=17, image_id=None):
            log.debug("image %d: %s", 3, "empty", extra={"image_id": 3})
        log.info("done")
    first, second = lines(folder)
    assert first.pop("time").endswith("+00:00")
    assert first == {
        "level": "debug",
        "component": "fetch",
        "message": "image 3: empty",
        "correlation": "tick",
        "run_id": "r",
        "job": "score_images",
        "step": "s",
        "partition": "2026-03-31",
        "inspection_id": 17,
        "image_id": 3,
        "host": os.uname().nodename,
        "pid": os.getpid(),
    }
    assert "inspection_id" not in second
    assert ids_at_work() == {}


def test_the_job_of_a_cluster_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    log.info("staged")
    assert lines(folder)[0]["slurm_job"] == "4711"


def test_threads_that_work_starts_have_its_ids(folder: Path) -> None:
    with working_on(run_id="r"), working_on(inspection_id=17):
        thread = threading.Thread(target=log.info, args=("in a thread",))
        thread.start()
        thread.join()
    assert lines(folder)[0]["inspection_id"] == 17


def test_messages_errors_and_extras_are_without_secrets(folder: Path) -> None:
    try:
        raise ValueError("at oracle://c4:hunter2@lims")
    except ValueError:
        log.exception("password=%s", "hunter2", extra={"address": "oracle://c4:hunter2@lims"})
    [line] = lines(folder)
    assert "hunter2" not in json.dumps(line)
    assert line["exc_info"].rstrip().endswith("ValueError: at oracle://c4:********@lims")


def test_a_message_of_any_length_is_one_line_that_can_be_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("c4"), "propagate", False)  # pytest cannot hand half a character on
    log.info("a\nb\udcff%s", "x" * 100_000)
    [line] = lines(folder)
    assert line["message"].startswith("a\nb")
    assert line["message"].endswith("… (100004 characters)")


WRITER = """
import logging, sys
from pathlib import Path
from resources.log_files import write_logs
write_logs(Path(sys.argv[1]), logging.DEBUG, 20_000, 40)
log = logging.getLogger("c4.fetch")
for number in range(400):
    log.info("line", extra={"writer": sys.argv[2], "number": number})
"""


def test_processes_that_rotate_one_file_lose_and_tear_no_line(tmp_path: Path) -> None:
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path / "logs"), str(writer)], cwd=PROJECT)
        for writer in range(3)
    ]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    written = lines(tmp_path / "logs")
    assert len(list((tmp_path / "logs").glob("*.jsonl.*"))) >= 3
    assert {(line["writer"], line["number"]) for line in written} == {(str(w), n) for w in range(3) for n in range(400)}
    assert len(written) == 1200


def test_no_more_than_so_many_files_are_kept(tmp_path: Path) -> None:
    file = SharedFile(tmp_path / "logs", 2_000, 3)
    for number in range(200):
        file.handle(logging.LogRecord("c4.fetch", logging.INFO, "", 0, f"line {number}", (), None))
    file.close()
    files = sorted((tmp_path / "logs").glob("*.jsonl*"))
    assert len(files) == 3
    assert all(each.stat().st_size <= 2_000 for each in files)
    assert json.loads(file.file.read_text().splitlines()[-1])["message"] == "line 199"


def test_a_folder_that_cannot_be_written_is_told_once_and_stops_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_files, "PAUSE_S", 0.0)
    (tmp_path / "logs").write_text("a file where the folder should be")
    file = SharedFile(tmp_path / "logs", 2_000, 3)
    record = logging.LogRecord("c4.fetch", logging.INFO, "", 0, "line", (), None)
    file.handle(record)
    file.handle(record)
    assert capsys.readouterr().err.count("works on without") == 1
    (tmp_path / "logs").unlink()
    file.handle(record)
    file.close()
    assert [line["message"] for line in lines(tmp_path / "logs")] == ["2 lines could not be written", "line"]


def test_a_file_system_that_answers_with_errors_costs_lines_and_stops_nothing(tmp_path: Path) -> None:
    nowhere = tmp_path / ("x" * 300) / "home" / "logs"  # the kernel refuses the name
    file = SharedFile(nowhere, 2_000, 3)
    for _ in range(2):
        file.handle(logging.LogRecord("c4.fetch", logging.INFO, "", 0, "line", (), None))
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_costs_lines_and_stops_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = SharedFile(tmp_path / "logs", 2_000, 3)
    (tmp_path / "logs").mkdir()
    file.file.symlink_to("/dev/full")
    file.handle(logging.LogRecord("c4.fetch", logging.INFO, "", 0, "line", (), None))
    file.close()
    assert "No space left on device" in capsys.readouterr().err


def test_a_home_that_is_not_there_yet_is_not_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = SharedFile(tmp_path / "home" / "logs", 2_000, 3)
    record = logging.LogRecord("c4.fetch", logging.INFO, "", 0, "line", (), None)
    file.handle(record)
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr().err == ""
    (tmp_path / "home").mkdir()
    file.handle(record)
    file.close()
    assert len(lines(tmp_path / "home" / "logs")) == 2


def test_finer_lines_reach_the_file_and_not_the_event_log(folder: Path) -> None:
    seen: list[str] = []

    class EventLog(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(record.getMessage())

    logger = logging.getLogger("c4")
    logger.addHandler(EventLog())
    logger.setLevel(logging.INFO)  # as Dagster does
    write_finer_lines_too()
    log.debug("fine")
    log.info("coarse")
    assert seen == ["coarse"]
    assert [line["message"] for line in lines(folder)] == ["fine", "coarse"]


def test_a_runs_process_writes_finer_lines_before_any_step_runs_in_it(folder: Path) -> None:
    logging.getLogger("c4").setLevel(logging.INFO)  # as Dagster does
    began = logging.LogRecord("dagster", logging.DEBUG, "", 0, "job - run - began", (), None)
    meta: dict[str, Any] = {"run_id": "r", "job_name": "j", "job_tags": {}, "step_key": None, "orig_message": "began"}
    began.__dict__["dagster_meta"] = {**meta, "dagster_event": None}
    DagsterEvents().handle(began)
    logging.getLogger("c4.slurm").debug("submitted")
    assert [line["message"] for line in lines(folder)] == ["began", "submitted"]


def test_warnings_reach_a_console_that_nobody_else_writes_to(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    console = next(each for each in logging.getLogger("c4").handlers if isinstance(each, WarningsOnConsole))
    root, roots = logging.getLogger(), list(logging.getLogger().handlers)
    root.handlers.clear()  # pytest's
    try:
        log.warning("password=hunter2 is refused")
        log.info("fine")
    finally:
        root.handlers[:] = roots
    assert capsys.readouterr().err.endswith("WARNING c4.fetch: password=******** is refused\n")
    assert console.level == logging.WARNING


def test_the_console_shows_which_component_speaks_and_leaves_finer_lines_to_the_file(folder: Path) -> None:
    printed = io.StringIO()
    with work_shown(Progress(console=Console(file=printed, width=100))):
        log.debug("image 3 is empty")
        log.info("staged 96 images of plate [bold]P1")
        logging.getLogger("c4.classify").warning("password=hunter2 is refused")
    assert [line.split() for line in printed.getvalue().splitlines()] == [
        ["fetch", "staged", "96", "images", "of", "plate", "[bold]P1"],
        ["classify", "password=********", "is", "refused"],
    ]
    assert [line["level"] for line in lines(folder)] == ["debug", "info", "warning"]


def test_a_process_writes_to_the_file_of_its_last_settings_alone(folder: Path, tmp_path: Path) -> None:
    write_logs(tmp_path / "others", logging.DEBUG, 1_000_000, 3)
    log.info("line")
    assert not folder.exists()
    written_to = file_written_to()
    assert written_to
    assert written_to.file.parent == tmp_path / "others"


@pytest.mark.usefixtures("judged_without_great_expectations")
def test_one_id_leads_from_the_sensors_tick_to_the_row_in_the_database(folder: Path, facility: Facility) -> None:
    facility.add_plate("P1", {"1.jpg": photograph(1), "broken.jpg": b"no image"})
    wanted = {name: facility.resources[name] for name in ("imaging_database", "models", "settings")}
    with dagster_instance(facility.settings) as instance:
        asked = new_inspections(dg.build_sensor_context(instance=instance, resources=wanted))
        assert isinstance(asked, dg.SensorResult)
        [request] = asked.run_requests or []
        job = replace_resources(defs, facility.resources).resolve_job_def("score_images")
        done = job.execute_in_process(
            partition_key=request.partition_key, instance=instance, run_config=QUIET, tags=dict(request.tags)
        )
    about = [line for line in lines(folder) if line.get("correlation") == request.tags[TICK_TAG]]
    assert about[0]["component"] == "sensor"
    assert {"fetch", "classify", "write", "dagster"} <= {line["component"] for line in about}
    of_run = [line for line in about if line["component"] != "sensor"]
    assert {line["run_id"] for line in of_run} == {done.run_id}
    assert {line["partition"] for line in of_run} == {request.partition_key}
    assert {line["job"] for line in of_run} == {"score_images"}
    [written] = [line for line in of_run if line["component"] == "write" and "inspection_id" in line]
    assert (written["level"], written["step"], written["inspection_id"]) == ("debug", "db_scores", 1)
    [row] = facility.rows("select run_id, image_id from scores")
    assert row.run_id == done.run_id
    [failed] = [line for line in of_run if line.get("image_id") == 2 and line["component"] == "classify"]
    assert (failed["inspection_id"], failed["step"]) == (1, "marco_probabilities")
    ended = [line["step"] for line in of_run if line.get("event") == "STEP_SUCCESS"]
    assert ended == ["raw_inspection_images", "marco_probabilities", "class_predictions", "db_scores"]
    stored = [event.event_type_value for event in done.all_events]
    assert stored.count("ASSET_MATERIALIZATION") == 4, "Dagster's own events are all there, whatever their level"
    everything = [entry.user_message for entry in instance.all_logs(done.run_id)]
    assert not [message for message in everything if "are in the database" in message], "debug lines are for the file"


@pytest.mark.usefixtures("judged_without_great_expectations")
def test_an_incident_and_its_messages_are_lines_of_one_thread(folder: Path, tmp_path: Path) -> None:
    home, slack, rules = tmp_path / "alerts", Listener("slack", away=True), Rules(away=timedelta())
    looked_at = frozenset({DATABASE.key})
    for minute, holding in enumerate([(DATABASE,), (DATABASE,), (), ()]):
        now = START + timedelta(minutes=2 * minute)
        tell(home, Observation(holding, looked_at), rules, now)
        Outbox(home / "outbox").deliver([slack], rules, now)
        slack.away = False
    said = [(line["level"], line["message"]) for line in lines(folder)]
    assert said == [
        ("info", "incident opened: The imaging database does not answer."),
        ("info", "message to be sent: The imaging database does not answer."),
        ("warning", "slack takes no messages: slack answered 500"),
        ("info", "slack has taken the message: The imaging database does not answer."),
        ("info", "incident ended: The imaging database does not answer."),
        ("info", "message to be sent: The imaging database answers again"),
        ("info", "slack has taken the message: The imaging database answers again"),
    ]
    [thread] = {line["message_thread"] for line in lines(folder)}
    assert thread == slack.got[0].thread
    assert {line["alert"] for line in lines(folder)} == {"database-away"}
    tried = [(line["channel"], line["message_id"]) for line in lines(folder) if "channel" in line]
    assert tried == [("slack", f"{thread}.001"), ("slack", f"{thread}.001"), ("slack", f"{thread}.002")]


def test_what_has_happened_and_is_never_well_again_is_a_line_when_it_is_forgotten(folder: Path, tmp_path: Path) -> None:
    lost = Condition("images-given-up", Event.IMAGES_GIVEN_UP, Severity.WARNING, "An image is lost.")
    tell(tmp_path, Observation(occurred=(lost,)), Rules(), START)
    for days in (1, 3):
        tell(tmp_path, Observation(), Rules(), START + timedelta(days=days))
    assert [line["message"] for line in lines(folder) if "incident" in line["message"]] == [
        "incident opened: An image is lost.",
        "incident forgotten: An image is lost.",
    ]


def test_a_tick_that_fails_is_a_line_without_secrets(folder: Path) -> None:
    def breaks(_context: object) -> dg.SkipReason:
        raise ValueError("no such table at oracle://c4:hunter2@lims")

    broken_sensor, broken_schedule = (
        sensor(minimum_interval_seconds=60)(breaks),
        schedule(score_images, "0 6 * * *")(breaks),
    )
    with dg.instance_for_test() as instance:
        with pytest.raises(Exception, match="no such table"):
            broken_sensor.evaluate_tick(dg.build_sensor_context(instance))
        with pytest.raises(Exception, match="evaluation of schedule breaks") as shown:
            broken_schedule.evaluate_tick(dg.build_schedule_context(instance))
    assert "hunter2" not in "".join(traceback.format_exception(shown.value))
    assert [(line["component"], line["level"], line["message"]) for line in lines(folder)] == [
        ("sensor", "error", "the sensor breaks has failed: ValueError: no such table at oracle://c4:********@lims"),
        ("sensor", "error", "the schedule breaks has failed: ValueError: no such table at oracle://c4:********@lims"),
    ]


def test_what_a_run_logs_does_not_grow_with_its_images(folder: Path, facility: Facility) -> None:
    logged: dict[str, int] = {}
    for days_ago, images in ((1, 3), (2, 48)):
        facility.add_plate(f"P{days_ago}", {f"{n}.jpg": photograph(n) for n in range(images)}, noon(days_ago))
        with dagster_instance(facility.settings) as facility.instance:
            run_id = facility.score(noon(days_ago)).run_id
        logged[run_id] = sum(line.get("run_id") == run_id for line in lines(folder))
    assert facility.progress().scored == 51
    few, many = logged.values()
    assert many == few > 20


def test_the_command_notes_how_it_was_called_and_how_it_ended(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    environment = {**os.environ, "C4_HOME": str(tmp_path / "home")}
    done = subprocess.run(
        [Path(sys.executable).with_name("c4"), "run", "--date", "yesterday"], env=environment, capture_output=True
    )
    assert done.returncode == 1
    began, failed = lines(tmp_path / "home" / "logs")
    assert began["component"] == failed["component"] == "command"
    assert began["command"] == "c4 run --date yesterday"
    assert failed["message"].startswith("failed: --date")
