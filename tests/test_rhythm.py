"""When a facility that images nothing is told of, and when it is quiet as it always is. Pure: no clock, no database."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from c4_assets.operations.rhythm import GRACE, LEAST_SILENCE, Pauses, longest_pauses, unusual_silence

MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
"""The first day of the simulated history."""

HOUR, WEEK = timedelta(hours=1), timedelta(weeks=1)


def office(weeks: int, away: frozenset[date] = frozenset()) -> list[datetime]:
    """A facility that images on weekdays, from eight to six, every twenty minutes."""
    days = (MONDAY + timedelta(days=number) for number in range(weeks * 7))
    return [
        day + timedelta(hours=8, minutes=minutes)
        for day in days
        if day.weekday() < 5 and day.date() not in away
        for minutes in range(0, 600, 20)
    ]


def around_the_clock(weeks: int) -> list[datetime]:
    """A facility whose imager takes a plate every half hour, always."""
    return [MONDAY + timedelta(minutes=30 * number) for number in range(weeks * 7 * 48)]


def first_told(times: list[datetime], since: datetime, until: datetime) -> datetime | None:
    """When somebody who looks every ten minutes is first told, knowing only what was imaged before."""
    now = since
    while now < until:
        if unusual_silence([moment for moment in times if moment <= now], now):
            return now
        now += timedelta(minutes=10)
    return None


def test_nights_and_weekends_of_a_facility_that_works_on_weekdays_are_no_silence() -> None:
    assert first_told(office(10), MONDAY + 9 * WEEK, MONDAY + 10 * WEEK) is None


def test_a_monday_without_imaging_is_told_in_the_morning_and_not_in_the_night_before() -> None:
    monday = MONDAY + 9 * WEEK
    told = first_told(office(9), monday - 2 * 24 * HOUR, monday + 24 * HOUR)
    assert told is not None
    assert monday + 8 * HOUR + GRACE <= told <= monday + 11 * HOUR


def test_an_afternoon_in_which_the_imager_stands_still_is_told_the_same_day() -> None:
    friday = MONDAY + 8 * WEEK + 4 * 24 * HOUR
    times = [moment for moment in office(9) if moment <= friday + 10 * HOUR]
    told = first_told(times, friday + 10 * HOUR, friday + 24 * HOUR)
    assert told == friday + 10 * HOUR + LEAST_SILENCE


def test_where_imaging_never_ends_a_silence_of_five_hours_is_told_at_any_time() -> None:
    for stopped in (MONDAY + 9 * WEEK + hours * HOUR for hours in (3, 60, 150)):
        times = [moment for moment in around_the_clock(10) if moment <= stopped]
        told = first_told(times, stopped, stopped + 24 * HOUR)
        assert told is not None
        assert told - stopped <= 5 * HOUR


def test_a_public_holiday_is_told_and_one_in_history_makes_no_other_day_quiet() -> None:
    holiday = (MONDAY + 9 * WEEK).date()
    assert first_told(office(9), MONDAY + 9 * WEEK, MONDAY + 9 * WEEK + 24 * HOUR) is not None
    after = MONDAY + 10 * WEEK
    times = [moment for moment in office(11, frozenset({holiday})) if moment < after]
    assert first_told(times, after, after + 24 * HOUR) is not None, "the Monday after is watched as any other"


def test_a_fortnight_of_holidays_does_not_become_the_rhythm() -> None:
    begins = MONDAY + 9 * WEEK
    holidays = frozenset((begins + timedelta(days=number)).date() for number in range(14))
    back = begins + 3 * WEEK
    times = [moment for moment in office(12, holidays) if moment < back]
    assert first_told(times, begins + 2 * WEEK + 8 * HOUR + timedelta(minutes=1), back) is None, "they are back"
    assert first_told(times, back, back + 24 * HOUR) is not None, "the next Monday without imaging is told"


def test_clocks_that_are_put_forward_or_back_are_no_silence() -> None:
    before, after = office(9), office(10)[len(office(9)) :]
    for moved in (HOUR, -HOUR):
        times = [*before, *(moment + moved for moment in after)]
        assert first_told(times, MONDAY + 9 * WEEK, MONDAY + 10 * WEEK) is None


@pytest.mark.parametrize("weeks", [0, 1, 3])
def test_a_facility_of_which_little_is_known_is_not_judged(weeks: int) -> None:
    assert first_told(office(weeks), MONDAY + weeks * WEEK, MONDAY + weeks * WEEK + 48 * HOUR) is None


def test_a_plate_a_day_is_too_little_to_miss() -> None:
    times = [MONDAY + timedelta(days=number, hours=11) for number in range(63)]
    assert first_told(times, MONDAY + 9 * WEEK, MONDAY + 9 * WEEK + 48 * HOUR) is None


def test_a_silence_that_lasts_is_told_for_as_long_as_it_lasts() -> None:
    stopped = MONDAY + 9 * WEEK
    for days in (1, 3, 9, 20, 40):
        assert unusual_silence(around_the_clock(9), stopped + timedelta(days=days)) is not None, days


@given(st.lists(st.datetimes(datetime(2026, 1, 1), datetime(2026, 6, 1)).map(lambda at: at.replace(tzinfo=UTC))))
def test_whatever_was_imaged_a_silence_begins_with_the_newest_inspection_and_is_long_enough(
    times: list[datetime],
) -> None:
    now = datetime(2026, 4, 1, tzinfo=UTC)
    silence = unusual_silence(times, now)
    if silence is not None:
        assert silence.since == max(moment for moment in times if moment <= now)
        assert now - silence.since >= LEAST_SILENCE
        assert silence.usually >= 3


def test_the_pauses_of_a_facility_are_its_weekends_and_its_holidays() -> None:
    holidays = frozenset(MONDAY.date() + timedelta(weeks=6, days=day) for day in range(5))
    weekend = timedelta(hours=62, minutes=20)
    assert longest_pauses(office(10)) == Pauses(weekend, weekend)
    assert longest_pauses(office(10, holidays)) == Pauses(weekend, weekend + WEEK)
    assert longest_pauses(around_the_clock(10)) == Pauses(HOUR / 2, HOUR / 2)
    assert longest_pauses(office(4)) is None, "less than four weeks lie between the first and the last inspection"
    assert longest_pauses([]) is None
