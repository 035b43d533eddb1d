"""Messages on their way out, with channels that go away and come back, and time moved forward."""

import multiprocessing
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, time, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from c4_assets.operations.alerts.merging import MOST_AT_ONCE
from c4_assets.operations.alerts.outbox import Delivered, Outbox
from c4_assets.operations.alerts.records import Change, Event, Message, Observation, Picture, Severity
from c4_assets.operations.alerts.rules import Rules
from c4_assets.operations.alerts.state import alerts_folder, load, outbox_of, tell
from resources.atomic_write import NoRoom
from resources.file_lock import locked
from resources.settings.alerts import Alerts, Route
from testing.alerts import START, Listener, Site, condition
from tests.conftest import unavailable

SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)


def message(
    number: int, event: Event = Event.RUN_FAILED, severity: Severity = Severity.ERROR, at: datetime | None = None
) -> Message:
    moment = at or START + number * SECOND
    return Message(f"m{number:04d}", f"t{number}", Change.OPENED, event, severity, moment, f"title {number}")


@dataclass
class Post:
    """An outbox with its channels and a clock that a test moves."""

    folder: Path
    channels: list[Listener]
    rules: Rules = field(default_factory=Rules)
    now: datetime = START
    pauses: list[float] = field(default_factory=list[float])

    @property
    def outbox(self) -> Outbox:
        """The outbox as a process finds it that has just started."""
        return Outbox(self.folder / "outbox")

    def deliver(self, seconds: float = 30) -> Delivered:
        return self.outbox.deliver(self.channels, self.rules, self.now, seconds, self.pauses.append, lambda: 0.0)

    def run(self, span: timedelta, every: timedelta = timedelta(seconds=30)) -> None:
        end = self.now + span
        while self.now < end:
            self.now += every
            self.deliver()


@pytest.fixture
def post(tmp_path: Path) -> Post:
    return Post(tmp_path, [Listener("slack"), Listener("email")])


def titles(channel: Listener) -> list[str]:
    return [each.title for each in channel.got]


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


def test_a_message_is_read_again_as_it_was_written(post: Post) -> None:
    whole = replace(
        message(1),
        lines=("a \ud800 half", "b"),
        facts={"images": "192"},
        pictures=(Picture("a.jpg", b"\xff\xd8\x00", "drop 3"),),
        recipients=("a@b.c",),
        unsubscribe="https://x/y",
    )
    post.outbox.put([whole])
    assert post.outbox.waiting() == (whole,)
    [file] = (post.folder / "outbox" / "waiting").iterdir()
    assert file.stat().st_mode & 0o077 == 0


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


NIGHT = START.replace(hour=23)
QUIET = Rules(quiet=(time(22), time(7)))


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


def test_two_processes_do_not_deliver_at_the_same_time(post: Post) -> None:
    post.outbox.put([message(1)])
    with locked(post.folder / "outbox" / "deliver.lock"):
        done = post.deliver()
    assert (done.busy, done.sent, done.waiting) == (True, 0, 1)
    assert post.deliver().sent == 1


@pytest.mark.parametrize("garbage", [b"", b"{", b"\xff\xfe", b'{"version": 99}', b"[" * 100_000, b'{"ways": 3}'])
def test_what_cannot_be_read_is_set_aside_with_a_warning(
    tmp_path: Path, garbage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    folder, slack = alerts_folder(tmp_path), Listener("slack")
    full = Observation((condition(Event.DISK_FILLING, "staging"),))
    for minute in range(3):
        tell(folder, full, Rules(), START + minute * MINUTE)
    outbox = outbox_of(folder)
    outbox.deliver([slack], Rules(), START + 3 * MINUTE)
    (folder / "state.json").write_bytes(garbage if b"ways" not in garbage else b'{"state": 3}')
    (folder / "outbox" / "deliveries.json").write_bytes(garbage)
    (folder / "outbox" / "waiting" / "odd.json").write_bytes(garbage)
    for minute in range(4, 8):
        tell(folder, full, Rules(), START + minute * MINUTE)
    outbox.deliver([slack], Rules(), START + HOUR, pause=lambda _: None, clock=lambda: 0.0)
    assert [each.change for each in slack.got] == [Change.OPENED, Change.OPENED]
    for name in ("state.json", "deliveries.json", "odd.json"):
        assert f"{name} cannot be read" in caplog.text


@pytest.mark.parametrize("garbage", [b"{", b'{"version": 99}'])
def test_who_only_looks_leaves_what_cannot_be_read_as_it_is(
    tmp_path: Path, garbage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    folder = alerts_folder(tmp_path)
    tell(folder, Observation((condition(Event.DISK_FILLING, "staging"),)), Rules(), START)
    outbox = outbox_of(folder)
    outbox.put([message(1)])
    files = [folder / "state.json", *(folder / "outbox" / name for name in ("deliveries.json", "waiting/m0001.json"))]
    for file in files:
        file.write_bytes(garbage)
    assert load(folder).state.incidents == ()
    assert outbox.waiting() == ()
    assert outbox.load().ways == {}
    assert outbox.observation(START).holding == ()
    for file in files:
        assert file.read_bytes() == garbage
        assert f"{file.name} cannot be read" in caplog.text


def test_cursors_move_with_the_state_and_others_stay(tmp_path: Path) -> None:
    folder = alerts_folder(tmp_path)
    tell(folder, Observation(), Rules(), START, {"runs": "17", "ticks": "a"})
    tell(folder, Observation(), Rules(), START, {"runs": "18"})
    assert load(folder).seen == {"runs": "18", "ticks": "a"}


def look_and_tell(folder: Path, first: int) -> None:
    for number in range(first, first + 25):
        failed = condition(Event.RUN_FAILED, "score_images", subjects=[str(number)])
        tell(folder, Observation(occurred=(failed,)), Rules(), START)


def test_processes_that_look_at_the_same_time_lose_nothing_of_each_other(tmp_path: Path) -> None:
    fork = multiprocessing.get_context("fork")
    looks = [fork.Process(target=look_and_tell, args=(tmp_path, 25 * n)) for n in range(3)]
    for look in looks:
        look.start()
    for look in looks:
        look.join(60)
    assert [look.exitcode for look in looks] == [0, 0, 0]
    [incident] = load(tmp_path).state.incidents
    assert incident.count == 75


def test_a_secret_in_a_reason_is_not_on_the_disk_and_in_no_message(tmp_path: Path) -> None:
    reason = f"{'x' * 80} postgresql://c4:hush-4711-hush@lims/imaging does not answer."
    failed = condition(Event.RUN_FAILED, "x", subjects=["postgresql://c4:hush-4711-hush@lims"], summary=reason)
    tell(tmp_path, Observation(occurred=(failed,)), Rules(), START)
    [told] = tell(tmp_path, Observation(), Rules(), START + HOUR)
    files = [file for file in tmp_path.rglob("*.json") if file.is_file()]
    assert len(files) == 2
    assert "hush" not in str(told) + "".join(file.read_text() for file in files)
    assert "postgresql://c4:********@lims" in told.lines[0]


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


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 128 kB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(folder)]
    if subprocess.run(mount, check=False, stderr=subprocess.DEVNULL).returncode:
        unavailable("a small file system cannot be mounted: run the tests as root")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_on_a_full_disk_nothing_is_sent_again_and_again(small_disk: Path) -> None:
    post = Post(small_disk, [Listener("slack")])
    post.outbox.put([message(0)])
    post.deliver()
    post.outbox.put([message(1)])
    full = small_disk / "full"
    with suppress(OSError), full.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(1024))
    for _ in range(3):
        post.now += MINUTE
        with pytest.raises(NoRoom):
            post.deliver()
        with pytest.raises(NoRoom):
            tell(small_disk, Observation((condition(Event.DISK_FILLING, "x"),)), post.rules, post.now, {"a": "1"})
    assert titles(post.channels[0]) == ["title 0"]
    full.unlink()
    post.deliver()
    assert titles(post.channels[0]) == ["title 0", "title 1"]
    assert load(small_disk).seen == {}
