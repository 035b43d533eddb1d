"""A month of a simulated facility: the messages that its operators got are those that the documentation shows."""

from collections import Counter
from datetime import datetime

import pytest

from c4_assets.operations.alerts.records import Change, Event, Message, Severity
from testing.month_of_alerts import PAGE, PLATES, RULES, SLACK_AWAY, at, month, table

Got = list[tuple[datetime, str, Message]]


@pytest.fixture(scope="module")
def got(tmp_path_factory: pytest.TempPathFactory) -> Got:
    return month(tmp_path_factory.mktemp("month"))


@pytest.fixture(scope="module")
def alerts(got: Got) -> Got:
    return [each for each in got if each[2].event is not Event.DIGEST]


def test_the_documentation_shows_the_messages_of_the_month(got: Got) -> None:
    assert table(got) in PAGE.read_text(), "run python -m testing.month_of_alerts"


def test_a_month_is_no_more_than_40_messages_and_a_digest_a_day(got: Got, alerts: Got) -> None:
    assert len(alerts) <= 40
    assert len(got) - len(alerts) == 31


def test_the_night_without_a_database_is_two_messages(alerts: Got) -> None:
    night = [message.change for when, _, message in alerts if at(6, 22) <= when < at(7, 12)]
    assert night == [Change.OPENED, Change.RECOVERED]


def test_each_bad_plate_is_one_message(alerts: Got) -> None:
    told = [message.title for _, _, message in alerts if message.event is Event.IMAGES_GIVEN_UP]
    assert [plate for plate in PLATES.values() for title in told if plate in title] == list(PLATES.values())
    assert len(told) == len(PLATES)


def test_each_incident_of_the_month_is_opened_and_recovers_once(alerts: Got) -> None:
    changes = Counter((message.thread, message.change) for _, _, message in alerts)
    once = {count for (_, change), count in changes.items() if change in (Change.OPENED, Change.RECOVERED)}
    assert once == {1}
    events = {message.thread: message.event for _, _, message in alerts}
    recovered = {message.thread for _, _, message in alerts if message.change is Change.RECOVERED}
    assert {events[thread] for thread in set(events) - recovered} == {Event.IMAGES_GIVEN_UP}


def test_nothing_but_errors_comes_in_quiet_hours(alerts: Got) -> None:
    assert RULES.quiet is not None
    quiet = [message.severity for when, _, message in alerts if when.hour >= 22 or when.hour < 7]
    assert quiet
    assert set(quiet) == {Severity.ERROR}


def test_while_slack_is_away_messages_come_by_mail(alerts: Got) -> None:
    away = [(channel, message.event) for when, channel, message in alerts if SLACK_AWAY[0] <= when < SLACK_AWAY[1]]
    assert {Event.CHANNEL_AWAY, Event.RUN_FAILED} == {event for _, event in away}
    assert {channel for channel, _ in away} == {"email"}
