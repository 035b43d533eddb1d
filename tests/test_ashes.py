"""Ashes: the newest human score of each image against the machine's, by week of human scoring."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from c4_assets.assets import ashes_disagreements
from c4_assets.labels.ashes import compare, missed_crystals_first
from c4_assets.pictures.contact_sheet import Tile
from resources.imaging_database.human_scores import newest_human_scores
from resources.imaging_database.register import record_human_scores
from resources.records import CATEGORIES, ScorePair
from tests.conftest import Facility, photograph
from tests.test_graph import metadata

MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
WEEK = timedelta(weeks=1)


@pytest.fixture
def scored(facility: Facility) -> Facility:
    """A facility with eight images that the machine has scored."""
    facility.add_plate("P1", {f"{n}.jpg": photograph(n) for n in range(8)}, MONDAY - 2 * WEEK)
    facility.score(MONDAY - 2 * WEEK)
    return facility


def machine(facility: Facility) -> dict[str, str]:
    query = (
        "select i.path, c.name from scores s join images i on i.id = s.image_id "
        "join score_classes c on c.id = s.score_class_id where s.scorer_version is not null"
    )
    return {row.path: row.name for row in facility.rows(query)}


def other_than(category: str) -> str:
    return next(c for c in CATEGORIES if c != category)


def week(facility: Facility, start: datetime = MONDAY) -> list[ScorePair]:
    return newest_human_scores(facility.database, facility.scorer_version, start, start + WEEK)


def test_disagreements_are_found_among_agreements_unmapped_classes_and_unscored_images(scored: Facility) -> None:
    seen = machine(scored)
    paths = sorted(seen)
    classes = {
        paths[0]: seen[paths[0]],
        paths[1]: other_than(seen[paths[1]]),
        paths[2]: "needles" if seen[paths[2]] != "crystals" else "skin",
        paths[3]: "bad image",
    }
    record_human_scores(scored.database, 1, "ana", MONDAY + timedelta(days=1), classes)
    unscored = scored.add_plate("P9", {"z.jpg": photograph(77)}, MONDAY - 3 * WEEK)
    record_human_scores(scored.database, unscored, "ana", MONDAY + timedelta(days=1), {"P9/z.jpg": "clear"})
    result = scored.run("collect_disagreements", "2026-03-02")
    told = metadata(result, "ashes_disagreements")
    assert told["dagster/partition_row_count"] == 2
    assert told["images compared"] == 3
    assert told["images of an unmapped class"] == 1
    assert told["unmapped classes"] == "bad image"
    assert told["images without a machine score"] == 1


def test_the_disagreements_of_a_week_are_one_parquet_file_with_both_opinions(scored: Facility) -> None:
    import pandas as pd

    seen = machine(scored)
    path = sorted(seen)[0]
    record_human_scores(scored.database, 1, "ana", MONDAY, {path: other_than(seen[path])})
    for _ in range(2):
        scored.run("collect_disagreements", "2026-03-02")
    frame = pd.read_parquet(scored.settings.archive / "disagreements")
    assert frame[["path", "human", "human_category", "machine_category"]].to_numpy().tolist() == [
        [path, "ana", other_than(seen[path]), seen[path]]
    ]


def test_the_contact_sheet_tells_people_by_number(scored: Facility, monkeypatch: pytest.MonkeyPatch) -> None:
    captions: list[str] = []

    def noted(tiles: Sequence[Tile]) -> dg.MetadataValue[Any]:
        captions.extend(line for tile in tiles for line in tile.caption)
        return dg.MetadataValue.text("")

    monkeypatch.setattr(ashes_disagreements, "sheet_metadata", noted)
    seen = machine(scored)
    record_human_scores(scored.database, 1, "Ana Example", MONDAY, {path: other_than(seen[path]) for path in seen})
    scored.run("collect_disagreements", "2026-03-02")
    assert captions
    assert not [line for line in captions if "Example" in line]
    assert any(line.startswith("person 1: ") for line in captions)


def test_the_newest_human_score_counts_and_a_later_week_does_not_change_an_earlier_one(scored: Facility) -> None:
    record_human_scores(scored.database, 1, "ana", MONDAY, {"P1/0.jpg": "clear"})
    record_human_scores(scored.database, 1, "ben", MONDAY + timedelta(days=2), {"P1/0.jpg": "needles"})
    record_human_scores(scored.database, 1, "cleo", MONDAY + WEEK, {"P1/0.jpg": "skin"})
    assert [(row.human, row.human_category) for row in week(scored)] == [("ben", "crystals")]
    assert [(row.human, row.human_category) for row in week(scored, MONDAY + WEEK)] == [("cleo", "other")]
    assert week(scored, MONDAY - WEEK) == []


def test_a_week_begins_on_monday_and_ends_before_the_next_one(scored: Facility) -> None:
    last = MONDAY + WEEK - timedelta(microseconds=1)
    record_human_scores(scored.database, 1, "ana", MONDAY, {"P1/0.jpg": "clear"})
    record_human_scores(scored.database, 1, "ana", last, {"P1/1.jpg": "clear"})
    record_human_scores(scored.database, 1, "ana", MONDAY + WEEK, {"P1/2.jpg": "clear"})
    assert [row.path for row in week(scored)] == ["P1/0.jpg", "P1/1.jpg"]


def test_a_class_that_the_database_does_not_list_is_counted_by_its_number(scored: Facility) -> None:
    record_human_scores(scored.database, 1, "ana", MONDAY, {"P1/0.jpg": "skin"})
    with scored.database.engine.connect() as connection:  # as a LIMS without foreign keys would have it
        connection.execute(text("PRAGMA foreign_keys=OFF"))
        connection.execute(text("update scores set score_class_id = 4711 where scorer = 'ana'"))
        connection.commit()
    assert [(row.human_class, row.human_category) for row in week(scored)] == [("class 4711", None)]
    told = metadata(scored.run("collect_disagreements", "2026-03-02"), "ashes_disagreements")
    assert told["unmapped classes"] == "class 4711"


def row(human: str | None, machine_category: str | None, image_id: int) -> ScorePair:
    return ScorePair(
        image_id,
        1,
        "P",
        MONDAY,
        "A01",
        1,
        "p",
        "ana",
        "class",
        human,
        MONDAY,
        machine_category,
        (0.25, 0.25, 0.25, 0.25),
    )


opinions = st.sampled_from([*CATEGORIES, None, "kristall"])


@given(st.lists(st.tuples(opinions, opinions)))
def test_every_doubly_scored_image_lands_in_exactly_one_place(pairs: list[tuple[str | None, str | None]]) -> None:
    rows = [row(human, machine_category, number) for number, (human, machine_category) in enumerate(pairs)]
    result = compare(rows)
    places = [result.disagreements, result.agreements, result.unmapped, result.without_machine_score]
    assert sorted(r.image_id for place in places for r in place) == list(range(len(rows)))
    assert all(r.human_category != r.machine_category for r in result.disagreements)


def test_crystals_that_the_machine_missed_come_first() -> None:
    rows = [row("clear", "crystals", 1), row("crystals", "clear", 2), row("other", "clear", 3)]
    assert missed_crystals_first(rows)[0].image_id == 2


def test_partitions_are_weeks_from_monday_on_and_hold_the_current_one() -> None:
    from c4_assets.runs.partitions import WEEKS

    keys = WEEKS.get_partition_keys()
    assert {date.fromisoformat(key).weekday() for key in keys} == {0}
    assert date.fromisoformat(keys[-1]) <= datetime.now(UTC).date() < date.fromisoformat(keys[-1]) + WEEK
