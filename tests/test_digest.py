"""The daily digest, and mails of new crystals, through real runs into the outbox."""

import base64
import io
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg
import pytest
from dagster import DagsterRunStatus as Status
from PIL import Image as Picture
from playwright.sync_api import Browser

from c4_assets.definitions import defs
from c4_assets.operations.alerts.records import Event, Message, Severity
from c4_assets.operations.alerts.rules import Rules
from c4_assets.operations.alerts.state import alerts_folder, outbox_of
from c4_assets.operations.channels import open_channels, operators_channels
from c4_assets.operations.digest import Backlog, DigestFacts, Work, digest
from c4_assets.runs.crystal_mails import pictures_of
from c4_assets.runs.daily_digest import backlog_of, daily_digest, facts_of, work_of
from c4_assets.runs.jobs import PRIORITY_RUN_TAGS
from c4_assets.runs.log_lines import TICK_TAG
from c4_assets.runs.metadata import MODEL_COMPUTED_KEY
from resources.archive.subscriptions import Subscriptions
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.crystals import crystals_scored
from resources.imaging_database.day_numbers import DayNumbers, day_numbers
from resources.settings import Settings
from resources.settings.alerts import Alerts
from sensors.crystals_found import crystals_found
from testing.smtp_server import smtp_server
from tests.conftest import QUIET, Facility, noon, photograph, replace_resources

pytestmark = pytest.mark.usefixtures("judged_without_great_expectations")

UNTIL = datetime(2026, 3, 10, 8, tzinfo=UTC)
MAIL = {"email": {"host": "127.0.0.1", "port": 9, "security": "none", "sender": "c4@facility.org"}}
QUIET_DAY = DigestFacts(DayNumbers(0, 0, 0, 0), 0, Work())


def run(facility: Facility, job: str) -> dg.ExecuteInProcessResult:
    """Runs a job that has no partitions."""
    found = replace_resources(defs, facility.resources).resolve_job_def(job)
    return found.execute_in_process(instance=facility.instance, run_config=QUIET, tags={"dagster/priority": "10"})


def put_down(facility: Facility, event: Event) -> list[Message]:
    """Messages of a kind that wait in the outbox."""
    return [message for message in outbox_of(alerts_folder(facility.settings.home)).waiting() if message.event is event]


def asked(facility: Facility) -> dg.SensorResult | str:
    """What the sensor of new crystals answers: a request, or why there is none."""
    names = ("imaging_database", "models", "settings")
    context = dg.build_sensor_context(
        instance=facility.instance, resources={name: facility.resources[name] for name in names}
    )
    answer = crystals_found(context)
    assert isinstance(answer, dg.SensorResult | dg.SkipReason)
    return answer if isinstance(answer, dg.SensorResult) else answer.skip_message or ""


@pytest.fixture
def subscribed(make_facility: Callable[..., Facility]) -> Facility:
    """A facility with a mail server and a subscriber, and a plate that is scored."""
    facility = make_facility(alerts=MAIL)
    Subscriptions(facility.settings.data).add("ada@facility.org", ["P*"], datetime(2020, 1, 1, tzinfo=UTC))
    facility.add_plate("P1", {f"{seed}.jpg": photograph(seed) for seed in range(24)})
    return facility


def test_when_a_plate_is_scored_its_subscriber_gets_one_mail_with_pictures(subscribed: Facility) -> None:
    assert asked(subscribed) == "There is nothing new to tell."
    subscribed.score()
    answer = asked(subscribed)
    assert isinstance(answer, dg.SensorResult)
    assert len(answer.run_requests or ()) == 1
    for _ in range(2):
        run(subscribed, "tell_crystals")
    [message] = put_down(subscribed, Event.CRYSTALS_FOUND)
    assert message.recipients == ("ada@facility.org",)
    assert message.unsubscribe.startswith("mailto:c4@facility.org?subject=unsubscribe%20")
    assert 1 < len(message.pictures) <= 12
    for picture in message.pictures:
        with Picture.open(io.BytesIO(picture.data)) as opened:
            assert opened.format == "JPEG"
    assert asked(subscribed) == "There is nothing new to tell."


def test_pictures_that_the_archive_has_not_kept_come_from_the_store_and_else_there_are_none(
    subscribed: Facility,
) -> None:
    subscribed.score()
    database, version = subscribed.database, subscribed.scorer_version
    crystals = crystals_scored(database, version, noon(1) - timedelta(days=2), datetime.now(UTC), 12)
    elsewhere = [replace(each, imaged_at=noon(400)) for each in crystals]  # of which day the archive has nothing
    store: Any = subscribed.resources["image_store"]
    assert None not in pictures_of(subscribed.archive, None)(crystals)
    assert None not in pictures_of(subscribed.archive, store)(elsewhere)
    assert set(pictures_of(subscribed.archive, None)(elsewhere)) == {None}
    gone = [replace(each, image=replace(each.image, path="gone.jpg")) for each in elsewhere]
    assert set(pictures_of(subscribed.archive, store)(gone)) == {None}


def test_the_sensor_says_why_it_asks_for_nothing(subscribed: Facility, facility: Facility) -> None:
    subscribed.score()
    at_work = dg.DagsterRun(job_name="tell_crystals", status=Status.STARTED)
    subscribed.instance.add_run(at_work)
    assert "has not ended" in str(asked(subscribed))
    subscribed.instance.delete_run(at_work.run_id)
    here = subscribed.resources["imaging_database"]
    subscribed.resources["imaging_database"] = ImagingDatabase("postgresql+psycopg2://c4:secret@127.0.0.1:9/lims")
    assert "does not answer" in str(asked(subscribed))
    subscribed.resources["imaging_database"] = here
    assert isinstance(asked(subscribed), dg.SensorResult)
    assert "No mail server" in str(asked(facility))


def test_what_mails_and_the_digest_ask_for_overtakes_backfills_and_names_its_tick(
    subscribed: Facility, make_facility: Callable[..., Facility]
) -> None:
    subscribed.score()
    answer = asked(subscribed)
    assert isinstance(answer, dg.SensorResult)
    facility = make_facility(alerts={"webhook": "https://hooks.f.org/c4"})
    at_eight = dg.build_schedule_context(scheduled_execution_time=noon(0), resources={"settings": facility.settings})
    digest_asked = daily_digest(at_eight)
    assert isinstance(digest_asked, dg.RunRequest)
    for request in (*(answer.run_requests or ()), digest_asked):
        assert PRIORITY_RUN_TAGS.items() <= request.tags.items()
        assert request.tags[TICK_TAG]


def test_the_digest_tells_of_the_last_24_hours_and_comes_once_a_day(make_facility: Callable[..., Facility]) -> None:
    facility = make_facility(alerts=MAIL, runs={"max_attempts": 1})
    files: dict[str, bytes | None] = {f"{seed}.jpg": photograph(seed) for seed in range(24)}
    imaged_at = datetime.now(UTC) - timedelta(minutes=10)
    facility.add_plate("P1", {**files, "a.jpg": b"no image", "b.jpg": b"no image"}, imaged_at)
    facility.score(imaged_at)
    facility.add_plate("P2", {"later.jpg": photograph(99)}, imaged_at)
    for _ in range(2):
        run(facility, "tell_digest")
    [message] = put_down(facility, Event.DIGEST)
    crystals = facility.rows("select count(*) from scores where crystal")[0][0]
    assert message.title.endswith(f"24 images scored, {crystals} likely crystals")
    assert len(message.pictures) == min(crystals, 12)
    told = dict(message.facts)
    assert told["inspections"] == "2"
    assert (told["images listed"], told["images failed"], told["images waiting"]) == ("27", "2", "1")
    assert told["runs"] == "1, 0 failed"
    assert any(line.startswith("2 images given up: ") for line in message.lines), "the files' names are left out"


def test_what_runs_took_is_asked_of_dagster_within_the_span_alone(
    facility: Facility, monkeypatch: pytest.MonkeyPatch
) -> None:
    facility.add_plate("P1", {"a.jpg": photograph(1)})
    began = datetime.now(UTC) - timedelta(seconds=1)
    facility.score()
    now = datetime.now(UTC) + timedelta(seconds=1)
    work = work_of(facility.instance, began, now)
    assert set(work.step_seconds) == {
        "raw_inspection_images",
        "marco_probabilities",
        "class_predictions",
        "db_scores",
    }
    assert 0 < sum(work.step_seconds.values()) < (now - began).total_seconds()
    assert work.computed_by == facility.resources["models"].peek()[0].arithmetic
    assert (work.runs, work.runs_failed, work.is_cut) == (1, 0, False)
    later = work_of(facility.instance, now, now + timedelta(hours=1))
    assert (later.runs, sum(later.step_seconds.values())) == (0, 0)
    for computed in (2.5, 4.0):
        facility.instance.report_runless_asset_event(
            dg.AssetMaterialization("marco_probabilities", metadata={MODEL_COMPUTED_KEY: computed})
        )
    end = datetime.now(UTC) + timedelta(seconds=1)
    assert work_of(facility.instance, began, end).network_seconds == work.network_seconds + 6.5
    assert work_of(facility.instance, began - timedelta(hours=1), began).network_seconds == 0, "what came later"
    monkeypatch.setattr("c4_assets.runs.daily_digest.MOST_RUNS_READ", 1)
    assert work_of(facility.instance, began, now).is_cut


def test_the_backlog_is_what_was_counted_last(facility: Facility) -> None:
    assert backlog_of(facility.instance) is None
    facility.add_plate("P1", {"a.jpg": photograph(1)}, noon(500))
    run(facility, "count_backlog")
    found = backlog_of(facility.instance)
    assert found is not None
    assert (found.pending, found.per_cent_done, found.days_left) == (1, 0.0, None)
    facts = facts_of(facility.instance, facility.database, facility.models, facility.settings, datetime.now(UTC))
    assert (facts.backlog, facts.waiting) == (found, 0), "history is no work of the day"


def test_a_day_without_anything_says_so() -> None:
    message = digest(QUIET_DAY, UNTIL, UTC)
    assert message.title == "2026-03-10: 0 images scored, 0 likely crystals"
    assert message.lines[1:] == ("Nothing was imaged.",)
    assert message.severity is Severity.PROGRESS, "what is wrong has a message of its own"


def test_dates_are_those_of_the_site_and_the_id_is_the_day() -> None:
    message = digest(QUIET_DAY, UNTIL.replace(hour=20), ZoneInfo("Australia/Melbourne"))
    assert message.id == "digest-2026-03-11"
    assert message.lines[0].startswith("From 2026-03-10 07:00 to 2026-03-11 07:00 AEDT: 0 inspections")
    assert message.id == digest(QUIET_DAY, UNTIL.replace(hour=21), ZoneInfo("Australia/Melbourne")).id


def test_reasons_are_counted_and_cut_and_the_backlogs_end_is_told() -> None:
    reasons = tuple((f"reason {number}", 10 - number) for number in range(7))
    work = Work({"marco_probabilities": 9_000.0, "db_scores": 60.0}, 8_000.0, "OpenVINO", 30, 2, True)
    facts = DigestFacts(DayNumbers(1, 96, 90, 1, 60, reasons), 4, work, Backlog(5_000, 99.5, UNTIL, 2.0))
    message = digest(facts, UNTIL, UTC, "https://c4.facility.org/")
    assert message.lines == (
        "From 2026-03-09 08:00 to 2026-03-10 08:00 UTC: 1 inspection with 96 images imaged.",
        *(f"{10 - number} images given up: reason {number}" for number in range(5)),
        "20 images given up for other reasons: `c4 status --failures`.",
        "Of history, 99.5 % is done; 5,000 images pending, to be done by about 2026-03-12.",
    )
    assert message.facts["classifying (GPU or CPU)"] == "2 h 30 min at least, of it 2 h 13 min computing by OpenVINO"
    assert message.facts["runs"] == "30 at least, 2 failed"
    assert message.subjects[0].url == "https://c4.facility.org/runs"


def test_a_digest_that_was_late_tells_of_its_own_day_and_takes_no_other_ones_place(
    make_facility: Callable[..., Facility],
) -> None:
    """Its run waits for services: yesterday's may end after midnight, and today's follows in the morning."""
    facility = make_facility(alerts={"webhook": "https://hooks.facility.org/c4"})
    job = replace_resources(defs, facility.resources).resolve_job_def("tell_digest")
    for day in (1, 0):
        at = noon(day)
        request = daily_digest(
            dg.build_schedule_context(scheduled_execution_time=at, resources={"settings": facility.settings})
        )
        assert isinstance(request, dg.RunRequest)
        for _ in range(2):
            job.execute_in_process(instance=facility.instance, run_config=QUIET, tags=dict(request.tags))
    assert [message.at for message in put_down(facility, Event.DIGEST)] == [noon(1), noon(0)]
    assert len({message.id for message in put_down(facility, Event.DIGEST)}) == 2


def test_all_that_failed_are_counted_although_the_reasons_of_the_newest_alone_are_read(
    make_facility: Callable[..., Facility], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resources.imaging_database.day_numbers.MOST_REASONS_READ", 2)
    facility = make_facility(runs={"max_attempts": 1})
    facility.add_plate("P1", {f"{number}.jpg": b"no image" for number in range(5)})
    facility.add_plate("P2", {"absent.jpg": None}, noon(2))  # is waited for
    facility.score()
    facility.score(noon(2))
    now = datetime.now(UTC) + timedelta(seconds=1)
    numbers = day_numbers(facility.database, facility.scorer_version, 1, now - timedelta(hours=1), now)
    assert (numbers.failed, sum(count for _, count in numbers.reasons)) == (5, 2)


def test_without_a_channel_there_is_no_digest() -> None:
    nobody = daily_digest(dg.build_schedule_context(resources={"settings": Settings()}))
    assert "nobody to tell" in str(nobody)
    assert operators_channels(Alerts()) == ()
    assert operators_channels(Alerts.model_validate({"slack_token": "xoxb-1"})) == (), "it says not where to post"
    assert operators_channels(Alerts.model_validate(MAIL)) == (), "a mail server without recipients is for subscribers"
    mail = {"email": {**MAIL["email"], "recipients": ["op@f.org"]}, "webhook": "https://hooks.f.org/c4"}
    assert operators_channels(Alerts.model_validate(mail)) == ("email", "webhook")


def test_the_mail_arrives_over_smtp_with_its_pictures_and_is_ended_by_its_link(
    make_facility: Callable[..., Facility], browser: Browser, tmp_path: Path
) -> None:
    with smtp_server() as server:
        email = {**MAIL["email"], "port": server.port, "sender": "C4 <c4@facility.org>", "recipients": ["op@f.org"]}
        facility = make_facility(alerts={"email": email, "ui_url": "https://c4.facility.org"})
        known = Subscriptions(facility.settings.data)
        known.add("ada@facility.org", ["P*"], datetime(2020, 1, 1, tzinfo=UTC))
        facility.add_plate("P1", {f"{seed}.jpg": photograph(seed) for seed in range(24)})
        facility.score()
        for _ in range(2):
            run(facility, "tell_crystals")
            deliver(facility)
        [mail] = server.received
    assert mail.to == ("ada@facility.org",)
    crystals = facility.rows("select count(*) from scores where crystal")[0][0]
    assert mail.message["Subject"] == f"C4: {crystals} likely crystals on plate P1"
    link = f"https://c4.facility.org/c4/unsubscribe?token={known.all()[0].token}"
    by_mail = f"<mailto:c4@facility.org?subject=unsubscribe%20{known.all()[0].token}>"
    assert f"List-Unsubscribe: <{link}>,\r\n {by_mail}\r\n".encode() in mail.data, "as it is, whatever its length"
    assert mail.message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    pictures = [part for part in mail.message.walk() if part.get_content_maintype() == "image"]
    assert len(pictures) == min(crystals, 12)
    shown = tmp_path / "mail.html"
    body = mail.message.get_body(("html",))
    assert body is not None
    text = body.get_content()
    for part in pictures:
        data = base64.b64encode(part.get_content()).decode()
        text = text.replace(f"cid:{part['Content-ID'].strip('<>')}", f"data:image/jpeg;base64,{data}")
    shown.write_text(text, encoding="utf-8")
    page = browser.new_page(viewport={"width": 700, "height": 900})
    page.goto(shown.as_uri())
    sizes = page.evaluate("Array.from(document.images, image => image.naturalWidth)")
    assert len(sizes) == len(pictures)
    assert all(sizes), "every picture is shown"
    assert page.get_by_role("link", name="end this subscription").get_attribute("href") == link
    page.close()


def deliver(facility: Facility) -> None:
    """What the sensor that empties the outbox does."""
    folder = alerts_folder(facility.settings.home)
    channels = open_channels(facility.settings.alerts, folder)
    outbox_of(folder).deliver(
        list(channels.values()), Rules.of(facility.settings.alerts), datetime.now(UTC), pause=lambda _: None
    )
