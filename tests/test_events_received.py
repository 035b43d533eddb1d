"""What is told of checks, images, staging, the database, days and crystals: from its real cause to Slack, judged by
Slack's own models, and by mail over TLS. The other events: ``test_alerts_over_slack.py``.
"""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from c4_assets.deployment_home import dagster_instance
from c4_assets.scoring import fetch
from resources.archive.subscriptions import Subscriptions
from testing.postgresql import Server
from testing.smtp_server import SmtpServer
from tests.conftest import Facility, noon, photograph
from tests.slack_and_mail import Slack, by_mail, subjects, told
from tests.slack_and_mail import mails as mails
from tests.slack_and_mail import slack as slack
from tests.test_alerts_told import MINUTES, Deployment
from tests.test_digest import run
from tests.test_watch_runs import ended

pytestmark = pytest.mark.usefixtures("judged_without_great_expectations")


def both(mails: SmtpServer) -> dict[str, Any]:
    """Settings by which each message goes to Slack and by mail."""
    return {"email": by_mail(mails), "routes": [{"channels": ["slack", "email"]}]}


def test_a_check_that_fails_and_images_that_are_given_up_are_told(
    make_facility: Callable[..., Facility], slack: Slack, mails: SmtpServer
) -> None:
    facility = make_facility(runs={"max_attempts": 1})
    deployment = told(facility, slack, alerts=both(mails))
    frame = photograph(1)
    facility.add_plate("Stuck", {f"{number}.jpg": frame for number in range(8)})
    facility.add_plate("P2", {"good.jpg": photograph(2), "damaged.jpg": b"no image"}, noon(1) + timedelta(hours=1))
    facility.score()
    deployment.let_pass(2 * MINUTES)
    for got in (slack.texts(), subjects(mails)):
        (check,) = [each for each in got if "inspection_is_not_one_frame" in each]
        (given_up,) = [each for each in got if "will not be tried again" in each]
        assert "Stuck" in check
        assert "P2 A02.1" in given_up
        assert len(got) == 2


def test_a_database_that_is_away_before_there_is_an_image_is_told_and_so_is_that_it_answers_again(
    make_facility: Callable[..., Facility], slack: Slack, mails: SmtpServer, postgresql_server: Server
) -> None:
    facility = make_facility(database={"url": postgresql_server.address("told")}, timeout_seconds=5)
    deployment = told(facility, slack, alerts=both(mails))
    postgresql_server.stop()
    try:
        deployment.let_pass(20 * MINUTES, every=2 * MINUTES)
    finally:
        postgresql_server.start()
    deployment.let_pass(4 * MINUTES, every=MINUTES)
    for got in (slack.texts(), subjects(mails)):
        assert len(got) == 2, "nothing is told of a store that is empty"
        away, back = got
        assert "The imaging database does not answer" in away
        assert "The imaging database answers again" in back


def test_staging_that_is_full_and_stands_still_is_told_and_so_is_that_it_takes_images_again(
    make_facility: Callable[..., Facility], slack: Slack, mails: SmtpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "POLL_S", 0.02)
    facility = make_facility(scratch_gigabytes=1e-6)
    forgotten = facility.settings.staging / "2020-01-01" / "7.arrow"
    forgotten.parent.mkdir(parents=True)
    forgotten.write_bytes(bytes(5000))
    facility.add_plate("P1", {"a.jpg": photograph(1)})
    with dagster_instance(facility.settings) as facility.instance:
        deployment = told(facility, slack, alerts=both(mails))
        waiting = threading.Thread(target=facility.score)
        waiting.start()
        try:
            deployment.let_pass(40 * MINUTES, every=5 * MINUTES)
            assert waiting.is_alive()
        finally:
            forgotten.unlink()
            waiting.join(60)
        deployment.let_pass(4 * MINUTES, every=MINUTES)
    for full, again in (slack.texts(), subjects(mails)):
        assert "Staging is full" in full
        assert "Staging takes images again" in again


def test_200_runs_that_fail_are_one_message_within_two_minutes(facility: Facility, slack: Slack) -> None:
    deployment = told(facility, slack)
    for number in range(200):
        ended(facility.instance, well=False, tags={"dagster/partition": noon(number).date().isoformat()})
    deployment.let_pass(2 * MINUTES)
    (message,) = slack.texts()
    assert "200" in message.splitlines()[0]
    assert message.count("score_images 2") == 5
    assert "195 more" in message
    deployment.let_pass(60 * MINUTES, every=MINUTES)
    assert len(slack.texts()) == 1


def test_the_days_digest_and_the_crystals_of_a_plate_are_told(
    make_facility: Callable[..., Facility], slack: Slack, mails: SmtpServer
) -> None:
    facility = make_facility(alerts={**both(mails), "slack_webhook": slack.address})
    Subscriptions(facility.settings.data).add("ada@facility.org", ["P*"], datetime(2020, 1, 1, tzinfo=UTC))
    imaged_at = datetime.now(UTC) - timedelta(minutes=10)
    facility.add_plate("P1", {f"{seed}.jpg": photograph(seed) for seed in range(24)}, imaged_at)
    facility.score(imaged_at)
    for job in ("tell_digest", "tell_crystals"):
        run(facility, job)
    deployment = Deployment(facility, facility.settings, datetime.now(UTC))
    deployment.let_pass(MINUTES)
    crystals = facility.rows("select count(*) from scores where crystal")[0][0]
    assert crystals
    (digest,) = slack.texts()
    assert f"24 images scored, {crystals} likely crystals" in digest
    assert len(subjects(mails)) == 2
    by_recipient = {mail.to: mail for mail in mails.received}
    for recipient in ("operators@facility.org", "ada@facility.org"):
        mail = by_recipient[(recipient,)]
        assert f"{crystals} likely crystals" in str(mail.message["Subject"])
        pictures = [part for part in mail.message.walk() if part.get_content_maintype() == "image"]
        assert len(pictures) == min(crystals, 12)
