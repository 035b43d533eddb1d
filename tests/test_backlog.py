"""The backlog: what is counted, how backfills are started, paused and resumed, and what they say on the way.

The Dagster instance is real, and so are its backfills; what the daemon would do with them is done by hand here, and by
the daemon itself in ``tests/test_pages.py``.
"""

import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import dagster as dg
import pytest
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from c4_assets.backlog.coverage import Coverage, Throughput, by_month, by_year, count_days, total_of
from c4_assets.command import app
from c4_assets.definitions import defs
from c4_assets.deployment_home import dagster_instance
from c4_assets.pictures.backlog_page import share
from c4_assets.runs import backfills as backlog
from c4_assets.runs.own_runs import STARTED_BY_TAG
from resources.errors import ConfigurationError
from resources.imaging_database.register import NewImage, register_inspection
from resources.imaging_database.throughput import scores_by_hour
from resources.imaging_database.work import Progress, pending_by_day, progress_by_day
from resources.imaging_database.write_back import FailedAttempt, MachineScore, write_back
from testing.dagster_types import with_status
from tests.conftest import Facility

NOW = datetime(2026, 3, 2, 12, 30, tzinfo=UTC)
OLD = [date(2019, 12, 30) + timedelta(days=n) for n in range(6)]


def progress(day: date, scored: int, failed: int, withheld: int, pending: int) -> Progress:
    return Progress(day, 1, scored + failed + withheld + pending, scored, failed, 0, withheld)


counts = st.builds(progress, st.dates(date(2006, 1, 1), date(2026, 12, 31)), *[st.integers(0, 10**6)] * 4)


@given(st.lists(counts, unique_by=lambda day: day.day))
def test_every_image_is_in_one_month_and_one_year(days: list[Progress]) -> None:
    months = by_month(days)
    years = by_year(months)
    for name in ("listed", "scored", "failed", "withheld", "pending"):
        expected = sum(getattr(day, name) for day in days)
        assert sum(getattr(month, name) for month in months) == expected
        assert sum(getattr(year, name) for year in years) == expected
        assert getattr(total_of(months), name) == expected
    assert [(month.year, month.month) for month in months] == sorted({(d.day.year, d.day.month) for d in days})


@given(st.integers(1, 10**8), st.integers(0, 10**8))
def test_only_what_has_nothing_pending_is_said_to_be_done(listed: int, pending: int) -> None:
    coverage = Coverage(2026, 1, listed, scored=max(0, listed - pending))
    assert (share(coverage) == "100 %") == (coverage.pending == 0)


@given(st.lists(st.integers(0, 10**7), min_size=24, max_size=24), st.integers(0, 10**9))
def test_the_end_is_never_before_now_and_unknown_only_at_rest_or_past_the_calendar(hours: list[int], left: int) -> None:
    end = Throughput(hours).end(left, NOW)
    if end is None:
        assert left
        assert not any(hours) or left / Throughput(hours).per_second > 7000 * 365 * 86400
    else:
        assert end >= NOW


@given(st.sets(st.dates(date(2020, 1, 1), date(2020, 4, 1)), min_size=1), st.integers(1, 40))
def test_runs_are_as_many_as_dagster_makes_of_the_days(days: set[date], a_run: int) -> None:
    runs = backlog.runs_of(days, a_run)
    assert -(-len(days) // a_run) <= runs <= len(days)
    keys = [day.isoformat() for day in days]
    partitions = dg.DailyPartitionsDefinition("2020-01-01", end_date="2020-04-02")
    stretches = partitions.subset_with_partition_keys(keys).get_partition_key_ranges(partitions)
    lengths = [len(partitions.get_partition_keys_in_range(stretch)) for stretch in stretches]
    assert runs == sum(-(-length // a_run) for length in lengths)


@pytest.fixture
def on_each_database(make_facility: Callable[..., Facility], database_url: str) -> Facility:
    """A facility on each kind of database."""
    return make_facility(database={"url": database_url})


def add_day(facility: Facility, day: date, images: int = 2) -> None:
    """An inspection whose images need no file: nothing fetches them."""
    new = [NewImage(f"A{n + 1:02d}", 1, f"{day}/{n}.jpg") for n in range(images)]
    register_inspection(facility.database, f"P{day}", datetime(day.year, day.month, day.day, 23, tzinfo=UTC), None, new)


def score(facility: Facility, *image_ids: int, at: datetime | None = None) -> None:
    rows = [MachineScore(n, "clear", False, (0.7, 0.1, 0.1, 0.1), at or datetime.now(UTC)) for n in image_ids]
    write_back(facility.database, facility.models.current.version.as_row(), rows, [], "run")


def test_history_counted_in_pieces_is_history_counted_at_once(on_each_database: Facility) -> None:
    facility = on_each_database
    for day in (date(2019, 1, 1), date(2019, 4, 11), date(2019, 4, 12), date(2021, 7, 1), date(2026, 3, 1)):
        add_day(facility, day)
    score(facility, 1, 5, 6)
    version = facility.models.current.version.as_row()
    write_back(facility.database, version, [], [FailedAttempt(3, "gone", NOW)], "run")
    told: list[tuple[int, int]] = []
    counted = count_days(
        facility.database, facility.scorer_version, 1, counted=lambda done, of: told.append((done, of))
    )
    assert counted == progress_by_day(facility.database, facility.scorer_version, 1)
    assert [done for done, _ in told] == list(range(told[-1][1] + 1)), "a sign of life a piece"
    assert [(month.year, month.month, month.pending) for month in by_month(counted)] == [
        (2019, 1, 1),
        (2019, 4, 1),
        (2021, 7, 2),
        (2026, 3, 2),
    ]
    some = count_days(facility.database, facility.scorer_version, 1, date(2019, 4, 12), date(2021, 7, 1))
    assert [day.day for day in some] == [date(2019, 4, 12), date(2021, 7, 1)], "both ends are counted"


def test_scores_are_counted_in_the_hour_that_they_were_made_in(on_each_database: Facility) -> None:
    facility = on_each_database
    add_day(facility, date(2026, 3, 1), 5)
    hour = timedelta(hours=1)
    for image_id, ago in enumerate((hour / 60, hour, 1.5 * hour, 23.9 * hour, 24.1 * hour), 1):
        score(facility, image_id, at=NOW - ago)
    assert scores_by_hour(facility.database, facility.scorer_version, NOW) == [1, *[0] * 21, 1, 2]
    assert scores_by_hour(facility.database, "another", NOW) == [0] * 24


@pytest.fixture
def instance(facility: Facility) -> dg.DagsterInstance:
    """The instance of a facility with six old days of two images."""
    for day in OLD:
        add_day(facility, day)
    return facility.instance


def ended(instance: dg.DagsterInstance, backfill_id: str) -> None:
    """What the daemon makes of a backfill that is being cancelled, when its runs have ended."""
    stored = instance.get_backfill(backfill_id)
    assert stored is not None
    assert stored.status is BulkActionStatus.CANCELING
    instance.update_backfill(with_status(stored, BulkActionStatus.CANCELED))


def start(instance: dg.DagsterInstance, days: list[date]) -> str:
    return backlog.start(instance, days, {STARTED_BY_TAG: "test"})


def test_a_backfill_is_over_the_four_assets_and_the_days_asked_for_alone(instance: dg.DagsterInstance) -> None:
    number = start(instance, [OLD[0], OLD[3]])
    stored = instance.get_backfill(number)
    assert stored is not None
    assert [key.to_user_string() for key in stored.asset_selection or ()] == [
        "raw_inspection_images",
        "marco_probabilities",
        "class_predictions",
        "db_scores",
    ]
    (found,) = backlog.backfills(instance)
    assert (found.backfill_id, found.state, found.days) == (number, "running", {OLD[0], OLD[3]})
    assert found.span == "2019-12-30 to 2020-01-02"


def in_the_ui(instance: dg.DagsterInstance, *assets: str) -> str:
    """What Dagster's UI stores when somebody selects assets and three days."""
    backfill: PartitionBackfill = cast("Any", PartitionBackfill).from_asset_partitions(
        backfill_id=f"ui{len(assets)}",
        asset_graph=defs.resolve_asset_graph(),
        partition_names=[day.isoformat() for day in OLD[:3]],
        asset_selection=[dg.AssetKey(name) for name in assets],
        backfill_timestamp=NOW.timestamp(),
        tags={"user": "ana"},
        dynamic_partitions_store=instance,
        all_partitions=False,
        title=None,
        description=None,
        run_config=None,
    )
    instance.add_backfill(backfill)
    return backfill.backfill_id


def test_a_backfill_that_was_started_in_the_ui_is_seen_paused_and_resumed_like_any_other(
    instance: dg.DagsterInstance,
) -> None:
    number = in_the_ui(instance, "marco_probabilities", "class_predictions", "db_scores")
    (paused,) = backlog.pause(instance, 0)
    assert (paused.backfill_id, paused.days) == (number, frozenset(OLD[:3]))
    ended(instance, number)
    (found,) = backlog.backfills(instance)
    assert found.state == "paused"
    resumed = backlog.resume(instance, found, OLD)
    (found,) = backlog.backfills(instance)
    assert (found.backfill_id, found.state, found.resumes) == (resumed, "running", number)
    assert found.days == frozenset(OLD[:3]), "no day is added that nobody has chosen"


def test_pausing_and_resuming_again_and_again_makes_one_backfill(instance: dg.DagsterInstance) -> None:
    number = start(instance, OLD)
    (paused,) = backlog.pause(instance, 0)
    assert backlog.pause(instance, 0) == []
    assert [each.state for each in backlog.backfills(instance)] == ["pausing"]
    ended(instance, number)
    assert backlog.pause(instance, 0) == []
    first, second = backlog.resume(instance, paused, OLD[2:]), backlog.resume(instance, paused, OLD[2:])
    assert first == second
    (found,) = backlog.backfills(instance)
    assert found.days == frozenset(OLD[2:]), "what is done is not asked for again"
    stored = instance.get_backfill(number)
    assert stored is not None
    assert stored.tags[backlog.PAUSED_TAG] == "2019-12-30 to 2020-01-04"


def test_a_paused_backfill_with_nothing_left_is_over(instance: dg.DagsterInstance) -> None:
    number = start(instance, OLD)
    (paused,) = backlog.pause(instance, 0)
    ended(instance, number)
    assert backlog.resume(instance, paused, []) is None
    assert backlog.backfills(instance) == []


def test_a_pause_that_the_daemon_overwrites_is_said_again(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = start(instance, OLD)
    before = instance.get_backfill(number)
    assert before is not None
    wishes = [False, True, True]

    def overwrite(_: float) -> None:
        if wishes.pop():
            instance.update_backfill(before)

    monkeypatch.setattr(backlog.time, "sleep", overwrite)
    assert [each.backfill_id for each in backlog.pause(instance)] == [number]
    assert wishes == []
    assert [each.state for each in backlog.backfills(instance)] == ["pausing"]


def test_what_was_cancelled_in_the_ui_is_not_resumed(instance: dg.DagsterInstance) -> None:
    number = start(instance, OLD)
    stored = instance.get_backfill(number)
    assert stored is not None
    instance.update_backfill(with_status(stored, BulkActionStatus.CANCELING))
    assert [each.state for each in backlog.backfills(instance)] == ["ending"]
    ended(instance, number)
    assert backlog.backfills(instance) == []


def test_a_second_backfill_over_the_same_days_is_refused_until_the_first_is_paused(
    instance: dg.DagsterInstance,
) -> None:
    number = start(instance, OLD[:3])
    backlog.refuse_where_running(instance, OLD[3:])
    with pytest.raises(ConfigurationError, match=rf"{number} is running over 1 of these days \(2020-01-01\)"):
        backlog.refuse_where_running(instance, OLD[2:])
    backlog.pause(instance, 0)
    ended(instance, number)
    backlog.refuse_where_running(instance, OLD)


@pytest.fixture
def c4(facility: Facility, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """The command over a facility with six old days: what it says."""
    for day in OLD:
        add_day(facility, day)
    monkeypatch.setenv("C4_HOME", str(facility.settings.home))
    monkeypatch.setenv("COLUMNS", "160")

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(app, ["backlog", *arguments])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.stdout

    return run


def stored(facility: Facility) -> list[backlog.Backfill]:
    with dagster_instance(facility.settings) as instance:
        return backlog.backfills(instance)


def test_no_end_is_given_while_no_run_works_on_the_backlog(facility: Facility, c4: Callable[..., str]) -> None:
    score(facility, 1, 2)
    said = c4()
    assert "What limits it now: not started" in said
    assert "Expected end: none, as no run works on the backlog." in said
    assert json.loads(c4("--json"))["expected_end"] is None


def test_the_command_starts_what_a_dry_run_says(facility: Facility, c4: Callable[..., str]) -> None:
    score(facility, 1, 2)
    span = ("--from", "2019-01-01", "--to", "2020-01-03")
    assert "4 days, 8 images" in c4("start", *span, "--dry-run")
    assert stored(facility) == []
    said = c4("start", *span)
    assert "4 days, 8 images" in said
    assert "daemon is not running" in said
    (found,) = stored(facility)
    assert found.days == frozenset(OLD[1:5])
    assert found.backfill_id in said
    with pytest.raises(ConfigurationError, match="running over 4 of these days"):
        c4("start", *span)


@pytest.mark.parametrize(
    ("since", "until", "words"),
    [
        ("2005-12-31", "2020-01-01", "C4_RUNS_START_DATE"),
        ("2020-01-01", "2999-01-01", "future"),
        ("2020-01-02", "2020-01-01", "exchange"),
        ("2012-01-01", "2012-12-31", "Nothing is pending"),
        ("long ago", "2012-12-31", "is not a day like"),
    ],
)
def test_a_span_that_cannot_be_worked_on_is_refused_with_the_reason(
    c4: Callable[..., str], since: str, until: str, words: str
) -> None:
    with pytest.raises(ConfigurationError, match=words):
        c4("start", "--from", since, "--to", until)


def test_the_command_pauses_and_resumes_and_says_so_where_there_is_nothing_to_do(
    facility: Facility, c4: Callable[..., str]
) -> None:
    assert "nothing to pause" in c4("pause")
    assert "nothing to resume" in c4("resume")
    c4("start", "--from", "2019-01-01", "--to", "2020-12-31")
    assert "Paused backfill" in c4("pause")
    assert "still ending" in c4("resume")
    (paused,) = stored(facility)
    with dagster_instance(facility.settings) as instance:
        ended(instance, paused.backfill_id)
    score(facility, 1, 2, 3)
    assert "5 of 6 days, 9 pending images" in c4("resume")
    (resumed,) = stored(facility)
    assert resumed.days == frozenset(OLD[1:])
    assert "nothing to resume" in c4("resume")


def test_the_report_tells_what_is_done_of_what_and_what_limits_it(
    facility: Facility, c4: Callable[..., str], tmp_path: Path
) -> None:
    add_day(facility, date(1999, 12, 31), 3)
    score(facility, 1, 2, 3)
    c4("start", "--from", "2019-12-30", "--to", "2020-01-02")
    page = tmp_path / "backlog.html"
    told = json.loads(c4("--json", "--html", str(page)))
    assert told["total"] == {"listed": 15, "scored": 3, "failed": 0, "withheld": 0, "pending": 12}
    assert list(told["months"]) == ["1999-12", "2019-12", "2020-01"]
    assert told["pending_outside_partitions"] == 3
    assert told["scored_last_hour"] == told["scored_last_day"] == 3
    assert told["expected_end"] is None, "no run works on it"
    assert told["limit"]["name"] == "daemon"
    (backfill,) = told["backfills"]
    assert (backfill["days"], backfill["days_done"], backfill["images_pending"]) == (3, 0, 5)
    assert facility.scorer_version in page.read_text()
    words = c4()
    assert "3 days (2019-12-31 to 2020-01-02), 0 done, 5 images pending" in words
    assert "3 pending images lie before C4_RUNS_START_DATE" in words
    assert "1999-12" in c4("--months")
    part = json.loads(c4("--json", "--from", "2020-01-01", "--to", "2020-01-01"))
    assert part["total"]["listed"] == 2
    assert part["backfills"][0]["days_done"] is None, "days that were not counted are not said to be done"


def test_a_finished_backlog_has_nothing_to_limit_it(facility: Facility, c4: Callable[..., str]) -> None:
    score(facility, *range(1, 13))
    told = json.loads(c4("--json"))
    assert told["limit"]["name"] == "nothing"
    assert told["total"]["pending"] == 0
    assert pending_by_day(facility.database, facility.scorer_version, 3) == {}


def test_the_asset_keeps_the_same_figures_with_pictures(facility: Facility) -> None:
    for day in OLD:
        add_day(facility, day)
    score(facility, 1, 2, 3)
    result = dg.materialize(
        [asset for asset in defs.assets or () if asset.key.to_user_string() == "backlog_coverage"],  # pyright: ignore
        instance=facility.instance,
        resources=facility.resources,
    )
    (event,) = result.get_asset_materialization_events()
    metadata: dict[str, Any] = {name: value.value for name, value in event.materialization.metadata.items()}
    assert (metadata["images listed"], metadata["images scored"], metadata["images pending"]) == (12, 3, 9)
    assert metadata["per cent done"] == 25
    assert metadata["limit"].startswith("not started")
    for picture in ("months", "scores of the last day"):
        assert metadata[picture].startswith("![")
        assert "data:image/png;base64," in metadata[picture]
