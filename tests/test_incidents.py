"""From conditions to incidents to messages, with time moved forward."""

from dataclasses import replace
from datetime import UTC, timedelta, timezone
from itertools import pairwise

import pytest

from c4_assets.operations.alerts.conditions import images_given_up
from c4_assets.operations.alerts.incidents import INHIBITS, LONGEST_SPACING, State, merged
from c4_assets.operations.alerts.records import Change, Event, Observation, Severity
from c4_assets.operations.alerts.rules import Rules
from testing.alerts import DATABASE, FULL, RUN, START, Site, condition, failed

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


def test_what_holds_for_less_than_the_group_wait_is_not_told() -> None:
    site = Site()
    site.look(FULL)
    site.now += timedelta(seconds=50)
    site.look(looked_at=[FULL.key])
    site.wait(HOUR)
    assert site.told() == []
    assert site.state == State()


def test_what_holds_is_told_after_the_group_wait_and_again_when_it_is_over() -> None:
    site = Site()
    site.look(FULL)
    site.wait(30 * MINUTE, FULL)
    site.wait(30 * MINUTE)
    opened, recovered = site.messages
    assert (opened.change, opened.at) == (Change.OPENED, START + MINUTE)
    assert (recovered.change, recovered.at) == (Change.RECOVERED, START + 32 * MINUTE)
    assert opened.thread == recovered.thread
    assert opened.id != recovered.id
    assert opened.page == "disk-filling"
    assert opened.advice
    assert not recovered.advice
    assert "Recovered after 31 min" in recovered.lines[0]


def test_what_was_not_looked_at_has_not_ended() -> None:
    site = Site()
    site.look(FULL)
    for _ in range(60):
        site.now += MINUTE
        site.look(looked_at=["database-away", "disk-filling", "run-failed:"])
    assert site.told() == [("disk-filling", "opened")]
    site.look(looked_at=["disk-filling:"])
    site.now += MINUTE
    site.look()
    assert site.told()[-1] == ("disk-filling", "recovered")


def test_a_database_that_is_away_for_eight_hours_with_200_runs_waiting_is_two_messages() -> None:
    site = Site(now=START.replace(hour=22))
    away = replace(condition(Event.DATABASE_AWAY, subjects=[f"2026-{n:03d}" for n in range(200)]), since=site.now)
    day, stale = failed("2026-11-01"), condition(Event.ASSET_STALE, "db_scores")
    idle = condition(Event.NOTHING_IMAGED, severity=Severity.WARNING)
    for minute in range(8 * 60):
        holds = [away, stale, idle] if minute > 60 else [away]
        site.look(*holds, occurred=[day] if minute in (30, 200) else [])
        site.now += MINUTE
    site.look(stale, idle, looked_at=["database-away"])
    site.wait(10 * MINUTE, stale)
    site.look(recovered=["run-failed:score_images"])
    site.wait(2 * DAY)
    assert site.told() == [("database-away", "opened"), ("database-away", "recovered")]
    opened, recovered = site.messages
    assert opened.at == START.replace(hour=22) + 10 * MINUTE
    assert (len(opened.subjects), opened.more) == (5, 195)
    assert recovered.lines == (
        "Recovered after 8 h, from 2 Nov 22:00 UTC to 3 Nov 06:00 UTC.",
        "200 runs waited.",
    )


def test_200_runs_that_fail_one_after_the_other_are_told_within_two_minutes_and_once_more() -> None:
    site = Site()
    for ten in range(20):  # a batch every five seconds
        site.look(occurred=[failed(*(f"2025-{ten:02d}-{day:02d}" for day in range(10)))])
        site.now += timedelta(seconds=5)
    site.wait(MINUTE)
    [message] = site.messages
    assert message.at <= START + 2 * MINUTE
    assert message.title == "130 runs failed"
    site.wait(16 * MINUTE)
    assert [each.title for each in site.messages[1:]] == ["200 runs failed, 70 of them since the last message"]


def test_200_failed_runs_are_one_message_within_two_minutes_that_names_five() -> None:
    site = Site()
    for ten in range(20):
        site.look(occurred=[failed(*(f"2025-{ten:02d}-{day:02d}" for day in range(10)))])
        site.now += timedelta(seconds=3)
    site.wait(14 * MINUTE)
    [message] = site.messages
    assert message.title == "200 runs failed"
    assert [subject.name for subject in message.subjects] == [f"2025-00-0{day}" for day in range(5)]
    assert message.more == 195
    assert message.at <= START + 2 * MINUTE


def test_an_incident_that_grows_is_told_at_growing_distances() -> None:
    site = Site()
    for _ in range(24 * 60):
        site.look(occurred=[failed(f"{site.now:%H:%M}")])
        site.now += MINUTE
    distances = [round((b.at - a.at) / MINUTE) for a, b in pairwise(site.messages[1:])]
    assert distances == [30, 60, 120, 240, 480]


def test_a_few_failures_that_become_hundreds_are_told_without_a_long_wait() -> None:
    site = Site()
    for _ in range(40):
        site.look(occurred=[failed(f"{site.now:%d %H:%M}")])
        site.now += HOUR
    before = len(site.messages)
    site.look(occurred=[failed(*map(str, range(1000)))])
    site.wait(16 * MINUTE)
    assert len(site.messages) == before + 1
    assert "1,005" in site.messages[-1].title


def test_what_holds_for_long_is_told_again_at_growing_distances_but_each_week() -> None:
    site = Site()
    site.look(FULL)
    site.wait(60 * DAY, FULL, every=HOUR)
    repeated = [message.at for message in site.messages if message.change is Change.REPEATED]
    distances = [b - a for a, b in pairwise(repeated)]
    assert distances[:3] == [DAY, 2 * DAY, 4 * DAY]
    assert set(distances[3:]) == {LONGEST_SPACING}
    assert site.messages[-1].title.startswith("Still: ")


def test_an_incident_is_as_bad_as_the_worst_that_has_happened() -> None:
    site = Site()
    check = condition(Event.CHECK_FAILED, "db_scores", subjects=["rows"])
    site.look(occurred=[check, replace(check, severity=Severity.WARNING)])
    site.wait(5 * MINUTE)
    assert [message.severity for message in site.messages] == [Severity.ERROR]


def test_what_cannot_be_looked_at_is_not_said_to_hold_still() -> None:
    site = Site()
    site.look(FULL)
    site.wait(5 * MINUTE, FULL)
    for _ in range(48):
        site.now += HOUR
        site.look(looked_at=["database-away"])
    assert site.told() == [("disk-filling", "opened")]
    site.look(FULL)
    assert site.told()[-1] == ("disk-filling", "repeated")


def test_what_gets_worse_is_told_at_once_and_not_when_it_gets_better() -> None:
    site = Site()
    worse = replace(FULL, severity=Severity.ERROR)
    site.look(FULL)
    site.wait(5 * MINUTE, FULL)
    site.wait(5 * MINUTE, worse)
    site.wait(5 * MINUTE, FULL)
    site.wait(5 * MINUTE, worse)
    assert site.told() == [("disk-filling", "opened"), ("disk-filling", "grew")]
    assert site.messages[-1].severity is Severity.ERROR
    assert site.messages[-1].title.startswith("Worse: ")


def test_runs_are_well_again_when_their_key_is() -> None:
    site = Site()
    site.look(occurred=[failed("2026-11-01", "2026-11-02")])
    site.wait(5 * MINUTE)
    site.look(recovered=["run-failed:another"])
    site.wait(5 * MINUTE)
    assert site.told() == [("run-failed", "opened")]
    site.look(recovered=[RUN.key])
    site.wait(5 * MINUTE)
    assert site.told() == [("run-failed", "opened"), ("run-failed", "recovered")]
    assert site.messages[-1].title == "Runs succeed again: score_images"


def test_a_day_that_fails_again_and_again_is_named_once_and_is_not_among_those_that_are_not_named() -> None:
    site = Site()
    for _ in range(12):
        site.look(occurred=[failed("2026-11-01")])
    site.wait(2 * MINUTE)
    [message] = site.messages
    assert message.title == "12 runs failed"
    assert ([subject.name for subject in message.subjects], message.more) == (["2026-11-01"], 0)
    for day in range(1, 9):
        site.look(occurred=[failed(f"2026-11-{day:02d}")])
    site.wait(HOUR)
    grown = site.messages[-1]
    assert grown.title == "20 runs failed, 8 of them since the last message"
    assert (len(grown.subjects), grown.more) == (5, 3)


def test_what_holds_names_and_counts_the_runs_that_wait_now_and_at_its_end_the_most_that_did() -> None:
    site = Site()
    many, few = (condition(Event.DATABASE_AWAY, subjects=[f"run {n}" for n in range(count)]) for count in (20, 7))
    site.look(many)
    site.wait(HOUR, many)
    site.wait(12 * HOUR, few)
    opened, repeated = site.messages
    assert (opened.more, opened.lines[-1]) == (15, "20 runs wait for it.")
    assert (repeated.more, repeated.lines[-1]) == (2, "7 runs wait for it.")
    site.wait(5 * MINUTE)
    assert site.messages[-1].lines[-1] == "20 runs waited."


def test_images_that_were_given_up_are_counted_and_not_the_days_that_they_are_of() -> None:
    site = Site()
    site.look(occurred=[images_given_up(3, "2026-11-01", "P1 A1.1: damaged")])
    site.wait(2 * MINUTE)
    site.look(occurred=[images_given_up(40, "2026-11-02", "P2 A1.1: damaged")])
    site.wait(HOUR)
    opened, grew = site.messages
    assert opened.title == "3 images of 2026-11-01 will not be tried again. P1 A1.1: damaged"
    assert grew.title == "43 images were given up, 40 of them since the last message"
    assert [subject.name for subject in grew.subjects] == ["2026-11-01", "2026-11-02"]


def test_a_run_that_was_slow_has_ended_when_it_has_and_it_is_not_said_that_runs_succeed() -> None:
    site = Site()
    slow = replace(condition(Event.RUN_FAILED), key="run-slow:score_images")
    site.look(slow)
    site.wait(5 * MINUTE, slow)
    site.look(looked_at=["run-slow:"])
    site.now += 2 * MINUTE
    site.look(looked_at=["run-slow:"])
    assert [message.title for message in site.messages] == ["Run failed.", "The run has ended: score_images"]


def test_a_failure_that_is_well_again_within_the_group_wait_is_not_told() -> None:
    site = Site()
    site.look(occurred=[RUN])
    site.now += timedelta(seconds=30)
    site.look(recovered=[RUN.key])
    site.wait(HOUR)
    assert site.told() == []


def test_what_happened_and_is_never_well_again_is_forgotten_in_silence() -> None:
    site = Site()
    given_up = condition(Event.IMAGES_GIVEN_UP, subjects=["plate 7"])
    site.look(occurred=[given_up])
    site.wait(25 * HOUR)
    assert site.told() == [("images-given-up", "opened")]
    assert not site.state.incidents
    site.look(occurred=[given_up])
    site.wait(5 * MINUTE)
    assert site.told() == [("images-given-up", "opened")] * 2


def test_failures_that_outlast_the_outage_are_told_after_it() -> None:
    site = Site()
    site.look(DATABASE)
    site.wait(20 * MINUTE, DATABASE)
    site.look(DATABASE, occurred=[RUN])
    site.wait(4 * HOUR, DATABASE)
    site.wait(3 * HOUR)
    assert site.told() == [("database-away", "opened"), ("database-away", "recovered"), ("run-failed", "opened")]
    after = site.messages[2].at - site.messages[1].at
    assert 50 * MINUTE < after <= HOUR + MINUTE


MORNING = ("score_images", "count_backlog", "tell_digest")


def test_the_runs_of_a_morning_that_failed_for_a_nights_outage_are_never_told_and_it_is_two_messages() -> None:
    site = Site(now=START.replace(hour=2))
    for job in MORNING:
        site.wait(2 * HOUR, DATABASE, every=5 * MINUTE)
        run = replace(condition(Event.RUN_FAILED, job, subjects=["2026-11-01"]), because_of=Event.DATABASE_AWAY)
        site.look(DATABASE, occurred=[run])
    site.wait(2 * HOUR, DATABASE, every=5 * MINUTE)
    site.wait(20 * HOUR)
    assert site.state == State()
    site.look(recovered=[f"run-failed:{job}" for job in MORNING])
    site.wait(2 * HOUR)
    assert site.told() == [("database-away", "opened"), ("database-away", "recovered")]


@pytest.mark.parametrize("other", [None, Event.STORE_AWAY])
def test_what_failed_for_another_reason_as_well_is_told_after_the_outage(other: Event | None) -> None:
    site = Site()
    for cause in (Event.DATABASE_AWAY, other):
        site.look(DATABASE, occurred=[replace(RUN, because_of=cause)])
        site.wait(HOUR, DATABASE)
    site.wait(2 * HOUR)
    assert site.told()[-1] == ("run-failed", "opened")


def test_what_fails_for_a_service_after_its_outage_is_told() -> None:
    site = Site()
    site.look(DATABASE)
    site.wait(HOUR, DATABASE)
    site.wait(5 * MINUTE)
    site.look(occurred=[replace(RUN, because_of=Event.DATABASE_AWAY)])
    site.wait(2 * HOUR)
    assert site.told()[-1] == ("run-failed", "opened")


def test_an_outage_too_short_to_be_told_silences_for_no_longer_than_it_lasted() -> None:
    site = Site()
    site.look(DATABASE, occurred=[RUN])
    site.wait(2 * MINUTE, DATABASE)
    site.wait(10 * MINUTE)
    assert site.told() == [("run-failed", "opened")]
    assert site.messages[0].at <= START + 8 * MINUTE


def test_what_comes_a_little_before_its_cause_is_silenced_too() -> None:
    site = Site()
    site.look(occurred=[RUN])
    site.now += timedelta(seconds=40)
    site.look(DATABASE)
    site.wait(2 * HOUR, DATABASE)
    assert site.told() == [("database-away", "opened")]


@pytest.mark.parametrize(
    ("cause", "silent"), [(cause, event) for cause, events in INHIBITS.items() for event in sorted(events)]
)
def test_what_follows_from_a_cause_is_silent_while_it_holds(cause: Event, silent: Event) -> None:
    site = Site()
    site.look(condition(cause), condition(silent, "x"))
    site.wait(3 * HOUR, condition(cause), condition(silent, "x"))
    assert {message.event for message in site.messages} == {cause}


def test_what_follows_from_nothing_is_told_beside_an_outage() -> None:
    site = Site()
    site.look(DATABASE, FULL)
    site.wait(HOUR, DATABASE, FULL)
    assert {message.event for message in site.messages} == {Event.DATABASE_AWAY, Event.DISK_FILLING}


def test_what_comes_and_goes_is_told_no_more_than_each_quarter_of_an_hour() -> None:
    site = Site()
    for _ in range(100):
        site.wait(2 * MINUTE, FULL)
        site.wait(3 * MINUTE)
    opened = [message.at for message in site.messages if message.change is Change.OPENED]
    assert all(b - a >= 15 * MINUTE for a, b in pairwise(opened))


def test_times_in_messages_are_those_of_the_sites_zone() -> None:
    site = Site(Rules(zone=timezone(timedelta(hours=2), "EET")))
    site.look(FULL)
    site.wait(2 * MINUTE, FULL)
    assert site.messages[0].lines == ("Since 2 Nov 11:00 EET.",)


def test_what_is_asked_at_intervals_is_told_as_noticed_and_not_as_begun() -> None:
    site = Site()
    site.look(DATABASE)
    site.wait(13 * HOUR, DATABASE)
    assert [message.lines for message in site.messages] == [
        ("First noticed 2 Nov 09:00 UTC.",),
        ("First noticed 2 Nov 09:00 UTC, 12 h 10 min ago.",),
    ]


def test_a_long_summary_is_cut_in_the_title_and_whole_in_the_text() -> None:
    site = Site()
    summary = "The run failed: " + "x" * 200
    site.look(occurred=[replace(RUN, summary=summary)])
    site.wait(2 * MINUTE)
    assert len(site.messages[0].title) == 100
    assert site.messages[0].lines[0] == summary


def test_several_looks_are_one() -> None:
    one = Observation((FULL,), frozenset({"disk-filling:"}))
    two = Observation((), frozenset({"database-away"}), (RUN,), frozenset({"x"}))
    assert merged(one, two) == Observation(
        (FULL,), frozenset({"disk-filling:", "database-away"}), (RUN,), frozenset({"x"})
    )


def test_the_time_zone_of_a_moment_changes_nothing() -> None:
    here, there = Site(), Site(now=START.astimezone(timezone(timedelta(hours=5))))
    for site in (here, there):
        site.look(FULL)
        site.wait(5 * MINUTE, FULL)
    assert [m.at.astimezone(UTC) for m in here.messages] == [m.at.astimezone(UTC) for m in there.messages]
    assert [m.lines for m in here.messages] == [m.lines for m in there.messages]


def test_a_clock_that_was_a_year_ahead_silences_nothing_once_it_is_right() -> None:
    site = Site(now=START + 365 * DAY)
    site.look(FULL, occurred=[failed("a")])
    for held in ((FULL,), (FULL, DATABASE), (FULL,)):
        site.wait(15 * MINUTE, *held)
    site.now, site.messages = START, []
    site.look(FULL, occurred=[failed("b")])
    site.wait(12.5 * HOUR, FULL, condition(Event.ASSET_STALE, "db_scores"))
    assert sorted(site.told()) == [("asset-stale", "opened"), ("disk-filling", "repeated"), ("run-failed", "grew")]
