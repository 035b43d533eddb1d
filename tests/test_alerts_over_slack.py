"""Each thing that can go wrong, from its real cause through looks and the outbox to Slack, and by mail over TLS.

What Slack is sent is judged by its own models. The other events: ``test_events_received.py``.
"""

import logging
import threading
import time
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import dagster as dg
import pytest
from dagster._core.test_utils import create_test_daemon_workspace_context, freeze_time
from dagster._core.workspace.load_target import EmptyWorkspaceTarget, ModuleTarget
from dagster._daemon import controller, freshness, sensor
from sqlalchemy import text

from c4_assets.deployment_home import dagster_instance
from c4_assets.operations.alerts.state import alerts_folder, outbox_of
from resources.errors import ConfigurationError, DataError
from resources.imaging_database.register import NewImage, register_inspection
from testing.smtp_server import SmtpServer
from testing.sshd import Sshd
from tests.conftest import Facility, noon, photograph
from tests.slack_and_mail import Slack, by_mail, subjects, told
from tests.slack_and_mail import mails as mails
from tests.slack_and_mail import slack as slack
from tests.small_disks import small_file_system
from tests.test_alerts_told import MINUTES
from tests.watchers import Fails

HOURS = timedelta(hours=1)

pytestmark = pytest.mark.usefixtures("judged_without_great_expectations")


@pytest.fixture
def dagsters_own_logging() -> Generator[None]:
    """Dagster's daemons set up its loggers: afterwards they are as they were."""
    loggers = [logging.getLogger(name) for name in ("dagster", "dagit", "dagster-webserver")]
    before = [(logger, logger.handlers[:], logger.level) for logger in loggers]
    yield
    for logger, handlers, level in before:
        logger.handlers[:] = handlers
        logger.setLevel(level)


def test_a_storage_host_that_is_down_is_told_to_slack_and_by_mail_over_tls_and_so_is_that_it_is_back(
    facility: Facility, slack: Slack, mails: SmtpServer, tmp_path: Path
) -> None:
    facility.add_plate("P1", {"a.jpg": photograph(1)})
    with Sshd(tmp_path / "host") as host:
        store = {
            "url": f"ssh://{host.user}@{host.host}:{host.port}{facility.images}",
            "ssh_key": host.key,
            "known_hosts": host.known_hosts,
        }
        alerts = {"email": by_mail(mails), "routes": [{"channels": ["slack", "email"]}]}
        deployment = told(facility, slack, store=store, alerts=alerts)
        deployment.let_pass(5 * MINUTES, every=5 * MINUTES)
        assert slack.texts() == []
        host.stop()
        deployment.let_pass(18 * MINUTES, every=6 * MINUTES)  # seconds each: a login is tried more than once
        host.start()
        deployment.let_pass(3 * MINUTES, every=MINUTES)
    for away, back in (slack.texts(), subjects(mails)):
        assert "The image store does not answer" in away
        assert "The image store answers again" in back
    assert "planted" not in str([mail.data for mail in mails.received])


UNREACHABLE = "slurm_load_partitions: Unable to contact slurm controller (connect failure)"


def test_a_cluster_whose_commands_fail_is_told_and_so_is_that_they_answer_again(
    facility: Facility, slack: Slack, tmp_path: Path
) -> None:
    commands = tmp_path / "bin"
    commands.mkdir()

    def sinfo_does(script: str) -> None:
        (commands / "sinfo").write_text(f"#!/bin/sh\n{script}\n")
        (commands / "sinfo").chmod(0o755)

    sinfo_does(f"echo '{UNREACHABLE}' >&2; exit 1")
    deployment = told(facility, slack, slurm={"folder": tmp_path, "commands": commands})
    deployment.let_pass(9 * MINUTES, every=MINUTES)
    assert slack.texts() == [], "what is away for less than ten minutes is not told"
    deployment.let_pass(5 * MINUTES, every=MINUTES)
    sinfo_does("echo 'gpu|up|2|gpu:4'")
    deployment.let_pass(3 * MINUTES, every=MINUTES)
    away, back = slack.texts()
    assert "The Slurm cluster does not answer" in away
    assert "Unable to contact slurm controller" in away
    assert "Slurm answers again" in back


def test_an_imager_that_stops_is_told_and_so_is_that_it_images_again(facility: Facility, slack: Slack) -> None:
    monday = datetime(2026, 5, 4, 12, tzinfo=UTC)

    def images(at: datetime) -> None:
        register_inspection(facility.database, f"P {at}", at, None, [NewImage("A01", 1, "a.jpg")])

    for week in range(9):
        for hour in range(0 if week else 4, 10):  # today nothing after eight in the morning
            images(monday - week * 7 * 24 * HOURS - hour * HOURS)
    (facility.images / "a.jpg").write_bytes(photograph(1))
    deployment = told(facility, slack, monday - 2 * HOURS)
    deployment.let_pass(4 * HOURS, every=10 * MINUTES)
    images(deployment.now)
    deployment.let_pass(HOURS, every=10 * MINUTES)
    silent, again = slack.texts()
    assert "Nothing was imaged for 6 hours" in silent
    assert "In the same hours of the last 8 weeks there were" in silent
    assert "Imaging goes on" in again


def test_a_disk_that_fills_is_told_and_so_is_that_there_is_room_again(
    facility: Facility, slack: Slack, tmp_path: Path
) -> None:
    with small_file_system(tmp_path / "small") as small:
        deployment = told(facility, slack, scratch=small)
        (small / "large").write_bytes(b"0" * 1_000_000)
        deployment.let_pass(2 * MINUTES)
        (small / "large").unlink()
        deployment.let_pass(2 * MINUTES)
    filling, room = slack.texts()
    assert "(staging) has 0.0 GB" in filling
    assert "There is room again" in room


def test_a_run_that_hangs_is_told_and_so_is_that_it_has_ended(facility: Facility, slack: Slack) -> None:
    facility.add_plate("P1", {"a.jpg": photograph(1)})
    facility.add_plate("P2", {"b.jpg": photograph(2)}, noon(2))
    store, begun, over = facility.resources["image_store"], threading.Event(), threading.Event()

    class Hangs:
        def fetch(self, paths: Sequence[str]) -> Any:
            begun.set()
            over.wait(60)
            return store.fetch(paths)

        def close(self) -> None:
            store.close()

    with dagster_instance(facility.settings) as facility.instance:
        facility.score()
        deployment = told(facility, slack)
        facility.resources["image_store"] = Hangs()
        run = threading.Thread(target=facility.score, args=(noon(2),))
        run.start()
        try:
            assert begun.wait(30)
            deployment.let_pass(5 * HOURS, every=HOURS)
        finally:
            over.set()
            run.join(60)
        deployment.let_pass(30 * MINUTES, every=10 * MINUTES)
    slow, ended = slack.texts()
    assert "has been running for" in slow
    assert "The run has ended: score_images" in ended, "it may have failed"


@pytest.mark.usefixtures("dagsters_own_logging")
def test_daemons_that_died_are_told_and_so_is_that_they_are_back(facility: Facility, slack: Slack) -> None:
    @contextmanager
    def daemons() -> Generator[None]:
        """Dagster's own, with their heartbeats, and nothing to do."""
        running: Any = cast("Any", controller).daemon_controller_from_instance(instance, EmptyWorkspaceTarget())
        with running:
            end = time.monotonic() + 30
            while not all_beat_after(began):
                assert time.monotonic() < end
                time.sleep(0.05)
            yield

    def all_beat_after(moment: datetime) -> bool:
        beats = instance.get_daemon_heartbeats()
        needed = instance.get_required_daemon_types()
        return all(name in beats and beats[name].timestamp > moment.timestamp() for name in needed)

    with dagster_instance(facility.settings) as instance:
        facility.instance, began = instance, datetime.now(UTC)
        with daemons():
            deployment = told(facility, slack)
        deployment.let_pass(9 * MINUTES, every=MINUTES)
        assert slack.texts() == []
        deployment.let_pass(5 * MINUTES, every=MINUTES)
        began = deployment.now
        with freeze_time(deployment.now + MINUTES), daemons():
            pass
        deployment.let_pass(3 * MINUTES, every=MINUTES)
    silent, heard = slack.texts()
    assert "Dagster's daemon has given no sign of life for 1" in silent
    assert "Dagster's daemon is heard again" in heard


@pytest.mark.usefixtures("dagsters_own_logging")
def test_a_sensor_that_fails_and_an_asset_that_is_stale_are_told_as_dagsters_own_daemons_find_them(
    facility: Facility, slack: Slack, monkeypatch: pytest.MonkeyPatch
) -> None:
    facility.add_plate("P1", {"a.jpg": photograph(1)})
    monkeypatch.setenv("C4_HOME", str(facility.settings.home))
    # Scores are due at eight, so the time of day is a fixed one.
    began = (datetime.now(UTC) + 24 * HOURS).replace(hour=10, minute=0)

    def settled(at: datetime) -> None:
        with freeze_time(at):
            facility.instance.report_runless_asset_event(dg.AssetMaterialization("db_scores", partition="2026-03-01"))

    def rename(table: str, to: str) -> None:
        with facility.database.engine.begin() as connection:
            connection.execute(text(f"ALTER TABLE {table} RENAME TO {to}"))

    def daemons_work(at: datetime) -> None:
        """One round of the daemons of sensors and of freshness, and the looks of the minutes after it."""
        with freeze_time(at):
            list(cast("Any", sensor).execute_sensor_iteration(workspace, dg.get_dagster_logger(), None, None))
            with ThreadPoolExecutor(1) as thread:  # a browser's event loop may be at work in this one
                thread.submit(lambda: list(cast("Any", freshness).FreshnessDaemon().run_iteration(workspace))).result()
        deployment.now = at
        deployment.look()
        deployment.let_pass(3 * MINUTES, every=MINUTES)

    with (
        dagster_instance(facility.settings) as facility.instance,
        create_test_daemon_workspace_context(
            ModuleTarget("c4_assets.definitions", None, None, "c4"), facility.instance
        ) as workspace,
    ):
        facility.score()
        settled(began)
        deployment = told(facility, slack, began)
        rename("c4_image_failures", "moved")
        daemons_work(began + MINUTES)
        (failed,) = slack.texts()
        assert "The sensor new_inspections failed" in failed
        rename("moved", "c4_image_failures")
        daemons_work(began + 2 * HOURS)
        assert "Ticks succeed again" in slack.texts()[1]
        morning = began + 23 * HOURS
        daemons_work(morning)
        assert "db_scores is out of date" in slack.texts()[2]
        settled(morning + HOURS)
        daemons_work(morning + 2 * HOURS)
        assert "Fresh again" in slack.texts()[3]
        assert len(slack.texts()) == 4


def fails(facility: Facility, error: Exception) -> None:
    store = facility.resources["image_store"]
    facility.resources["image_store"] = Fails(error)
    facility.score(raise_on_error=False)
    facility.resources["image_store"] = store


def test_slack_that_answers_500_is_told_by_mail_over_tls_and_so_is_that_it_takes_messages_again(
    facility: Facility, slack: Slack, mails: SmtpServer
) -> None:
    facility.add_plate("P1", {"a.jpg": photograph(1)})
    deployment = told(facility, slack, alerts={"email": by_mail(mails)})
    slack.broken = True
    fails(facility, ConfigurationError("the share is another one"))
    deployment.let_pass(20 * MINUTES)
    instead, away = subjects(mails)
    assert "the share is another one" in instead
    assert "The channel slack takes no messages" in away
    slack.broken = False
    facility.score()
    deployment.let_pass(20 * MINUTES)
    assert "Runs succeed again" in slack.texts()[0]
    assert "Messages pass again" in " ".join(slack.texts() + subjects(mails))
    assert len(slack.texts() + subjects(mails)) == 4


def test_of_an_hour_in_which_slack_answers_500_each_message_arrives_once(facility: Facility, slack: Slack) -> None:
    facility.add_plate("P1", {"a.jpg": photograph(1)})
    deployment = told(facility, slack)
    outbox = outbox_of(alerts_folder(facility.settings.home))
    slack.broken = True
    fails(facility, ConfigurationError("the share is another one"))
    deployment.let_pass(20 * MINUTES, every=MINUTES)
    fails(facility, DataError("the plate has no wells"))
    deployment.let_pass(20 * MINUTES, every=MINUTES)
    moved = facility.images.with_name("moved")
    facility.images.rename(moved)
    deployment.let_pass(20 * MINUTES, every=MINUTES)
    waiting = {message.title for message in outbox.waiting()}
    (of_slack,) = [title for title in waiting if "The channel slack takes no messages" in title]
    assert len(waiting) == 4, "and three things"
    assert len(slack.receiver.received) > 3, "it was asked again and again"
    assert slack.taken == []
    slack.broken = False
    deployment.let_pass(20 * MINUTES, every=MINUTES)
    # That it is away makes no sense on Slack itself: it goes with the message that it takes messages again.
    expected = waiting - {of_slack} | {"Messages pass again: slack"}
    first_lines = [each.splitlines()[0] for each in slack.texts()]
    assert len(first_lines) == len(expected)
    assert {title for title in expected if sum(title in line for line in first_lines) == 1} == expected
    assert outbox.waiting() == ()
    deployment.let_pass(60 * MINUTES, every=10 * MINUTES)
    assert len(slack.taken) == len(expected), "nothing comes again"
