"""Which messages go to whom and when: routes, mailboxes, quiet hours, and what has waited as one message."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from c4_assets.operations.alerts.merging import MOST_AT_ONCE
from c4_assets.operations.alerts.records import Change, Event, Message, Severity
from c4_assets.operations.alerts.rules import Rules
from resources.settings.alerts import Alerts, Route
from testing.alerts import Listener, Site, condition
from tests.outboxes import HOUR, MINUTE, NIGHT, QUIET, Post, message, titles
from tests.outboxes import post as post


def test_several_channels_each_get_a_message_and_one_that_is_away_gets_it_later(post: Post) -> None:
    post.rules = Rules(routes=(Route(channels=("slack", "email")),))
    slack, email = post.channels
    slack.away = True
    post.outbox.put([message(1)])
    post.run(HOUR)
    assert titles(email) == ["title 1"]
    slack.away = False
    post.run(HOUR)
    assert titles(slack) == ["title 1"]
    assert titles(email) == ["title 1"]


def test_a_mail_server_for_subscribers_alone_takes_nothing_else(post: Post) -> None:
    alerts = Alerts.model_validate(
        {
            "email": {"host": "localhost", "sender": "c4@facility.org"},
            "order": ["email", "slack"],
            "routes": [{"events": ["check-failed"], "channels": ["email"]}],
        }
    )
    post.rules, slack, email = Rules.of(alerts), *post.channels
    mail = replace(message(3), recipients=("ann@uni.org",))
    post.outbox.put([message(1), message(2, Event.CHECK_FAILED), mail])
    post.deliver()
    assert (titles(slack), titles(email)) == (["title 1", "title 2"], ["title 3"])
    slack.away = True
    post.outbox.put([message(4)])
    post.run(HOUR)
    assert titles(email) == ["title 3"], "it is nobody's next channel either"
    post.channels = [email]
    post.outbox.put([replace(message(5), recipients=("ann@uni.org",))])
    assert post.deliver().waiting == 1
    assert titles(email) == ["title 3", "title 5"]


def to_ann(number: int, at: datetime | None = None) -> Message:
    return replace(message(number, at=at), recipients=("ann@uni.org",))


def test_a_full_mailbox_keeps_back_its_own_mail_alone_until_there_is_room(post: Post) -> None:
    post.rules = Rules(routes=(Route(channels=("email",)),))
    email = post.channels[1]
    email.full = frozenset({"ann@uni.org"})
    post.outbox.put([to_ann(0), message(1), replace(message(2), recipients=("bob@uni.org",))])
    done = post.deliver()
    assert (titles(email), done.waiting, done.away) == (["title 1", "title 2"], 1, {})
    asked = email.asked
    post.run(24 * HOUR, every=5 * MINUTE)
    assert 6 <= email.asked - asked <= 14, "each wait is twice as long"
    email.full = frozenset()
    post.run(4 * HOUR, every=5 * MINUTE)
    assert titles(email) == ["title 1", "title 2", "title 0"]
    assert post.outbox.waiting() == ()


def test_a_mailbox_that_is_full_for_days_is_given_up_with_a_line_in_the_log(
    post: Post, caplog: pytest.LogCaptureFixture
) -> None:
    email = post.channels[1]
    email.full = frozenset({"ann@uni.org"})
    post.outbox.put([to_ann(0)])
    post.run(timedelta(days=4.9), every=HOUR)
    assert len(post.outbox.waiting()) == 1
    assert "No channel takes" not in caplog.text
    post.run(timedelta(days=0.5), every=HOUR)
    assert post.outbox.waiting() == ()
    assert "No channel takes the message 'title 0'" in caplog.text


def test_routes_choose_channels_by_event_and_by_how_bad_it_is(post: Post) -> None:
    post.rules = Rules(
        routes=(
            Route(channels=(), events=("images-given-up",)),
            Route(channels=("email",), events=("digest",)),
            Route(channels=("apprise",), least="error"),
        )
    )
    first, second = Listener("apprise-1"), Listener("apprise-2")
    post.channels += [second, first]
    post.outbox.put(
        [
            message(1, Event.IMAGES_GIVEN_UP),
            message(2, Event.DIGEST, Severity.PROGRESS),
            message(3),
            message(4, severity=Severity.WARNING),
        ]
    )
    post.deliver()
    slack, email = post.channels[:2]
    assert [titles(each) for each in (slack, email, first, second)] == [
        ["title 4"],
        ["title 2"],
        ["title 3"],
        ["title 3"],
    ]
    assert post.outbox.waiting() == ()


def test_what_is_for_certain_people_goes_by_mail_or_not_at_all(post: Post) -> None:
    slack, email = post.channels
    email.away = True
    post.outbox.put([replace(message(1, Event.CRYSTALS_FOUND), recipients=("ana@facility.org",))])
    post.run(2 * HOUR)
    assert slack.got == []
    email.away = False
    post.run(HOUR)
    assert titles(email) == ["title 1"]


def test_without_a_channel_messages_wait_for_one_for_a_week(post: Post) -> None:
    channels, post.channels = post.channels, []
    post.outbox.put([message(1)])
    post.deliver()
    post.now += timedelta(days=3)
    post.outbox.put([message(2, at=post.now)])
    post.now += timedelta(days=5)
    assert post.deliver().waiting == 1
    post.channels = channels
    post.deliver()
    assert titles(channels[0]) == ["title 2"]


def test_an_outage_that_is_over_before_it_could_be_sent_is_one_message(post: Post) -> None:
    post.channels = [slack := Listener("slack", away=True)]
    site = Site(post.rules)
    full = condition(Event.DISK_FILLING, "staging", summary="Staging is full.")
    site.look(full)
    site.wait(20 * MINUTE, full)
    post.outbox.put(site.messages)
    post.now = site.now
    post.deliver()
    site.wait(20 * MINUTE)
    post.outbox.put(site.messages)
    slack.away = False
    post.run(HOUR)
    [told] = slack.got
    assert told.change is Change.RECOVERED
    assert told.lines[0].endswith(": Staging is full.")
    assert "Recovered after" in told.lines[1]


def test_what_has_grown_before_it_could_be_sent_is_told_as_new(post: Post) -> None:
    post.channels = [slack := Listener("slack", away=True)]
    site = Site(post.rules)
    site.look(occurred=[condition(Event.RUN_FAILED, "x", subjects=["1"])])
    site.wait(5 * MINUTE)
    site.look(occurred=[condition(Event.RUN_FAILED, "x", subjects=["2"])])
    site.wait(20 * MINUTE)
    assert len(site.messages) == 2
    post.outbox.put(site.messages)
    slack.away = False
    post.deliver()
    [told] = slack.got
    assert told.change is Change.OPENED
    assert told.title.startswith("2 runs failed")


def test_many_old_messages_are_summed_up_and_each_is_named(post: Post) -> None:
    post.outbox.put([message(n) for n in range(30)])
    post.run(2 * MINUTE)
    slack, _ = post.channels
    assert len(slack.got) == MOST_AT_ONCE + 1
    assert slack.got[0].title == "20 messages have waited"
    assert all(any(line.endswith(f": title {n}") for line in slack.got[0].lines) for n in range(20))
    assert titles(slack)[1:] == [f"title {n}" for n in range(20, 30)]
    assert post.outbox.waiting() == ()


def test_in_quiet_hours_errors_pass_and_warnings_wait_for_the_morning_as_one_message(post: Post) -> None:
    post.rules, post.now = QUIET, NIGHT
    slack, _ = post.channels
    warnings = [message(n, Event.ASSET_STALE, Severity.WARNING, NIGHT + n * MINUTE) for n in range(4)]
    post.outbox.put([*warnings, message(9, at=NIGHT)])
    post.run(7 * HOUR, every=10 * MINUTE)
    assert titles(slack) == ["title 9"]
    post.run(2 * HOUR, every=10 * MINUTE)
    assert titles(slack) == ["title 9", "4 messages have waited"]
    assert [line.partition(": ")[2] for line in slack.got[1].lines] == [f"title {n}" for n in range(4)]


def test_one_warning_of_the_night_comes_in_the_morning_as_it_is(post: Post) -> None:
    post.rules, post.now = QUIET, NIGHT
    post.outbox.put([message(1, severity=Severity.WARNING, at=NIGHT)])
    assert post.deliver().sent == 0
    post.now = NIGHT + 8 * HOUR
    assert post.deliver().sent == 1
    assert titles(post.channels[0]) == ["title 1"]


def test_a_route_decides_what_quiet_hours_hold_back(post: Post) -> None:
    routes = (
        Route(channels=("slack",), events=("run-failed",), quiet=True),
        Route(channels=("email",), quiet=False),
    )
    post.rules, post.now = replace(QUIET, routes=routes), NIGHT
    post.outbox.put([message(1, at=NIGHT), message(2, Event.ASSET_STALE, Severity.PROGRESS, NIGHT)])
    post.deliver()
    assert [titles(each) for each in post.channels] == [[], ["title 2"]]
