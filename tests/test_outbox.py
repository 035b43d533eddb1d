"""Messages on their way out, with channels that go away and come back, and time moved forward."""

import os
import tempfile
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from c4_assets.operations.alerts.records import Event, Message, Observation, Severity
from c4_assets.operations.alerts.rules import Rules
from c4_assets.operations.alerts.state import alerts_folder, outbox_of, tell
from resources.settings.alerts import Route
from testing.alerts import START, Listener, condition
from tests.outboxes import HOUR, MINUTE, QUIET, SECOND, Post, message, titles
from tests.outboxes import post as post


def test_messages_go_to_the_first_channel_in_their_order_and_only_once(post: Post) -> None:
    post.outbox.put([message(2), message(1)])
    post.outbox.put([message(1)])
    done = post.deliver()
    slack, email = post.channels
    assert titles(slack) == ["title 1", "title 2"]
    assert titles(email) == []
    assert (done.sent, done.waiting, done.away) == (2, 0, {})
    post.outbox.put([message(1), message(2)])
    assert post.deliver().sent == 0
    assert len(slack.got) == 2


def test_a_channel_gets_a_message_a_second(post: Post) -> None:
    post.outbox.put([message(n) for n in range(5)])
    post.deliver()
    assert post.pauses == [1.0] * 4


def test_a_round_ends_in_time_and_the_next_one_goes_on(post: Post) -> None:
    post.outbox.put([message(n) for n in range(9)])
    assert post.deliver(seconds=3).sent == 3
    post.now += MINUTE
    assert post.deliver().sent == 6
    assert titles(post.channels[0]) == [f"title {n}" for n in range(9)]


def test_a_channel_that_answers_500_for_an_hour_loses_and_doubles_nothing(post: Post) -> None:
    slack = Listener("slack", away=True)
    post.channels = [slack]
    sent: list[str] = []
    for minute in range(60):
        if minute % 10 == 0:
            new = message(minute, at=post.now)
            post.outbox.put([new])
            sent.append(new.title)
        post.run(MINUTE)
    assert slack.got == []
    assert slack.asked < 20
    slack.away = False
    post.run(15 * MINUTE)
    assert titles(slack) == sent
    assert post.outbox.waiting() == ()


def test_after_an_hour_away_messages_go_to_the_next_channel_and_none_twice(post: Post) -> None:
    slack, email = post.channels
    slack.away = True
    post.outbox.put([message(1)])
    post.run(9 * MINUTE)
    assert email.got == []
    post.run(3 * MINUTE)
    assert titles(email) == ["title 1"]
    post.outbox.put([message(2)])
    post.run(MINUTE)
    assert titles(email) == ["title 1", "title 2"]
    slack.away = False
    post.run(HOUR)
    post.outbox.put([message(3)])
    post.run(MINUTE)
    assert titles(email) == ["title 1", "title 2"]
    assert titles(slack) == ["title 3"]


def test_a_channel_that_says_when_to_come_back_is_not_asked_before(post: Post) -> None:
    slack, _ = post.channels
    slack.away, slack.retry_after = True, 120
    post.outbox.put([message(1)])
    post.deliver()
    slack.away = False
    post.now += 119 * SECOND
    post.deliver()
    assert slack.asked == 1
    post.now += 2 * SECOND
    post.deliver()
    assert titles(slack) == ["title 1"]


def test_a_channel_that_asks_for_a_year_is_asked_after_an_hour(post: Post) -> None:
    post.channels = [Listener("slack", away=True, retry_after=3e7)]
    post.outbox.put([message(1)])
    post.deliver()
    post.channels[0].away = False
    post.now += HOUR + SECOND
    assert post.deliver().sent == 1


def test_a_clock_that_was_put_back_does_not_silence_a_channel(post: Post) -> None:
    slack, _ = post.channels
    slack.away = True
    post.outbox.put([message(1)])
    post.deliver()
    slack.away = False
    post.now -= timedelta(days=30)
    assert post.deliver().sent == 1


def test_a_message_that_one_channel_refuses_goes_to_the_next_and_keeps_none_back(post: Post) -> None:
    slack, email = post.channels
    slack.refuses = frozenset({Event.CHECK_FAILED})
    post.outbox.put([message(1, Event.CHECK_FAILED), message(2)])
    post.deliver()
    assert titles(slack) == ["title 2"]
    assert titles(email) == ["title 1"]


def test_a_message_that_a_channel_chokes_on_keeps_none_back_and_goes_to_the_next(post: Post) -> None:
    slack, email = post.channels
    slack.chokes_on = frozenset({"title 0"})
    post.outbox.put([message(0), message(1)])
    post.run(4 * MINUTE)
    assert titles(slack) == ["title 1"]
    for number in range(2, 10):
        post.outbox.put([message(number, at=post.now)])
        post.run(10 * MINUTE)
    assert "title 0" in titles(email)
    assert sorted(titles(slack) + titles(email)) == [f"title {number}" for number in range(10)]


def test_the_only_channel_that_chokes_on_a_message_takes_the_others_and_it_is_set_aside(post: Post) -> None:
    post.channels = [slack := Listener("slack", chokes_on=frozenset({"title 0"}))]
    post.outbox.put([message(number) for number in range(9)])
    post.run(HOUR)
    assert sorted(titles(slack)) == [f"title {number}" for number in range(1, 9)]
    assert post.outbox.waiting() == ()
    assert len(list((post.folder / "outbox" / "refused").iterdir())) == 1


def test_a_message_that_no_channel_takes_is_set_aside_and_told_of(post: Post, caplog: pytest.LogCaptureFixture) -> None:
    for channel in post.channels:
        channel.refuses = frozenset({Event.CHECK_FAILED})
    post.outbox.put([message(1, Event.CHECK_FAILED), message(2)])
    done = post.deliver()
    assert (done.sent, done.refused, done.waiting) == (1, 1, 0)
    assert "No channel takes the message 'title 1'" in caplog.text
    assert "invalid_blocks" not in caplog.text
    post.outbox.put([message(1, Event.CHECK_FAILED)])
    assert post.deliver().refused == 0


def test_a_channel_that_is_away_is_told_of_on_the_next_one_and_not_on_itself(post: Post) -> None:
    folder, slack, email = alerts_folder(post.folder), post.channels[0], post.channels[1]
    slack.away = True
    outbox = outbox_of(folder)
    outbox.put([message(1)])
    for minute in range(90):
        slack.away = minute < 60
        if minute == 70:
            outbox.put([message(2)])
        now = START + minute * MINUTE
        outbox.deliver(post.channels, post.rules, now, pause=post.pauses.append, clock=lambda: 0.0)
        tell(folder, outbox.observation(now), post.rules, now)
    assert titles(email) == ["title 1", "The channel slack takes no messages: slack answered 500"]
    assert titles(slack) == ["title 2", "Messages pass again: slack"]


def test_the_only_channel_tells_once_that_it_was_away(tmp_path: Path) -> None:
    slack, outbox = Listener("slack"), outbox_of(alerts_folder(tmp_path))
    outbox.put([message(1)])
    for minute in range(90):
        slack.away = minute < 60
        now = START + minute * MINUTE
        outbox.deliver([slack], Rules(), now, pause=lambda _: None, clock=lambda: 0.0)
        tell(alerts_folder(tmp_path), outbox.observation(now), Rules(), now)
    assert titles(slack) == ["title 1", "Messages pass again: slack"]
    assert outbox.waiting() == (), "that it was away needs telling no more"


def test_what_was_wrong_with_a_channel_is_not_told_after_it_is_well(post: Post) -> None:
    slack, email = post.channels
    about = condition(Event.CHANNEL_AWAY, "slack", Severity.WARNING, subjects=["slack"])
    observed = Observation((about,), looked_at=frozenset({about.key}))
    slack.away = email.away = True
    post.outbox.put([message(1)])
    post.deliver()
    for minute in range(20):
        tell(post.folder, observed, post.rules, START + minute * MINUTE)
    post.run(20 * MINUTE)
    assert {each.event for each in post.outbox.waiting()} == {Event.RUN_FAILED, Event.CHANNEL_AWAY}
    slack.away = False
    post.run(HOUR)
    email.away = False
    post.run(HOUR)
    assert (titles(slack), titles(email)) == (["title 1"], [])
    assert post.outbox.waiting() == ()


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(0, 3)),
        st.tuples(st.just("wait"), st.sampled_from([1, 30, 600, 7200])),
        st.tuples(st.sampled_from(["slack", "email", "webhook"]), st.integers(0, 1)),
    ),
    max_size=25,
)

EVERYWHERE = Event.DISK_FILLING


@given(ACTIONS)
@settings(max_examples=60, deadline=None)
def test_whatever_channels_do_each_message_comes_and_on_no_channel_twice(
    actions: list[tuple[str, int]],
) -> None:
    rules = replace(QUIET, routes=(Route(channels=("slack", "email"), events=("disk-filling",)),))
    memory = Path("/dev/shm")  # hundreds of writes
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        post = Post(Path(folder), [Listener("slack"), Listener("email"), Listener("webhook")], rules)
        put: list[Message] = []
        for action, number in [*actions, ("slack", 0), ("email", 0), ("webhook", 0), ("wait", 80_000)]:
            if action == "put":
                event, severity = [(EVERYWHERE, Severity.ERROR), (Event.RUN_FAILED, Severity.WARNING)][number % 2]
                put.append(message(len(put), event, severity, post.now))
                post.outbox.put(put[-2:])
            elif action == "wait":
                post.now += number * SECOND
            else:
                next(each for each in post.channels if each.name == action).away = bool(number)
            post.deliver()
        post.deliver()
        post.now += HOUR
        post.deliver()
        assert post.outbox.waiting() == ()
    for each in put:
        times = [told_of(each, channel) for channel in post.channels]
        assert max(times) <= 1, each.title
        # Where both of its channels are away, one message on the third stands for both.
        assert sum(times) in ((1, 2) if each.event is EVERYWHERE else (1,)), each.title


def told_of(message: Message, channel: Listener) -> int:
    """How often a channel has told of a message: by itself, or in a list."""
    itself = sum(got.id == message.id for got in channel.got)
    return itself + sum(line.endswith(f": {message.title}") for got in channel.got for line in got.lines)
