"""One odd row of a LIMS costs one image: the others are scored, and the odd one is failed with a reason or undated."""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import event, text

from c4_assets.backlog.coverage import count_days
from resources.archive.label_archive import ArchivedLabel, write_labels
from resources.archive.score_archive import ScoreArchive
from resources.archive.staging import StagedImage, Staging
from resources.archive.tables import read_parquet
from resources.errors import DataError
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.contract import check
from resources.imaging_database.human_scores import newest_human_scores
from resources.imaging_database.inspections import inspections_of_day
from resources.imaging_database.labels import human_labels
from resources.imaging_database.odd_rows import undated
from resources.imaging_database.withheld import FailedCheck, withheld_inspections, withhold
from resources.imaging_database.work import (
    count_failures,
    failures,
    forget_failures,
    history_spans,
    newest_days,
    pending_by_day,
    pending_images,
    progress_by_day,
)
from resources.records import LARGEST_NUMBER, Image
from testing.postgresql import Server
from tests.conftest import Facility, noon, photograph
from tests.odd_site import (
    DAY,
    IMAGES,
    MAX_ATTEMPTS,
    RELATIONS,
    VERSION,
    OddRow,
    fill_site,
    make_images,
    make_site,
    score_what_is_pending,
    scored,
)

pytestmark = pytest.mark.usefixtures("judged_without_great_expectations")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("odd") / "images"
    make_images(folder)
    return folder


@pytest.fixture
def on_sqlite(tmp_path: Path) -> ImagingDatabase:
    file = tmp_path / "lims.db"
    file.touch()
    database = ImagingDatabase(f"sqlite:///{file}")

    def hurry(connection: Any, _record: Any) -> None:  # durable enough for a test of many examples
        connection.execute("PRAGMA synchronous=OFF")

    event.listen(database.engine, "connect", hurry)
    make_site(database)
    return database


@pytest.fixture
def on_postgresql(postgresql_server: Server) -> ImagingDatabase:
    database = ImagingDatabase(postgresql_server.address(f"odd-{uuid.uuid4().hex}"))
    make_site(database)
    return database


ANY_TIME = st.datetimes().map(lambda at: at.strftime("%Y-%m-%d %H:%M:%S.%f").rjust(26, "0"))
SENTINELS = st.sampled_from(["0001-01-01 00:00:00.000000", "1899-12-30 00:00:00.000000", "9999-12-31 23:59:59.999999"])

ON_SQLITE = {
    # Its keys are integers: a fraction is only what a view over another database may have.
    "whole number": st.none()
    | st.integers(-(2**63), LARGEST_NUMBER)
    | st.floats(min_value=2.0**63)
    | st.floats(max_value=-(2.0**63)),
    "text": st.none()
    | st.text(max_size=40)
    | st.sampled_from(["", "a\\b", "../x", "/etc/x", "\0", "[/red]", "x" * 5000, "\ud8ff"]),
    "time": st.none() | SENTINELS | ANY_TIME,
}
ON_POSTGRESQL = {
    "whole number": st.none()
    | st.decimals(allow_nan=False, allow_infinity=False, places=2)
    | st.sampled_from([Decimal("NaN"), Decimal("Infinity"), Decimal("-Infinity"), Decimal("2.5")])
    | st.integers(-(10**38), 10**38).map(Decimal),
    "text": st.none()
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
    | st.just("x" * 5000),
    "time": st.none()
    | ANY_TIME
    | st.sampled_from(["infinity", "-infinity", "0044-03-15 00:00:00 BC", "20260-01-05 10:00:00"]),
}


def odd_rows(values: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[OddRow]:
    """Any value in any column of any row, but no key that another row has."""
    columns = [(table, column) for table in ("plates", "inspections", "images") for column in RELATIONS[table]]

    def of(place: tuple[str, str]) -> st.SearchStrategy[OddRow]:
        table, column = place
        rows = sorted(IMAGES if table == "images" else set(IMAGES.values()))
        taken = set(rows) if column == "id" else set[int]()
        value = values[RELATIONS[table][column]].filter(lambda value: value not in taken)
        return st.builds(OddRow, st.just(table), st.just(column), st.sampled_from(rows), value)

    return st.sampled_from(columns).flatmap(of)


def assert_it_costs_only_its_own(odd: OddRow, database: ImagingDatabase, store: Path, folder: Path) -> None:
    fill_site(database)
    _write_as_bytes(odd, database)
    score_what_is_pending(database, store, folder)
    done = scored(database)
    assert set(IMAGES) - odd.concerned <= set(done), odd
    assert len(done) == len(set(done))
    failed = {failure.image.image_id: failure for failure in failures(database, VERSION.name)}
    assert len(failed) == count_failures(database, VERSION.name)
    for image_id, failure in failed.items():
        assert image_id in odd.concerned or image_id not in IMAGES
        path = failure.image.path
        assert any(name in failure.reason for name in (f"image {image_id} ", path, repr(path)[1:-1]) if name)
    progress = progress_by_day(database, VERSION.name, MAX_ATTEMPTS)
    assert sum(day.listed for day in progress) == len(done) + len(failed)
    assert sum(day.pending - day.retrying for day in progress) == 0, "what is not there waits"
    assert newest_days(database, 30) is not None
    assert withheld_inspections(database, VERSION.name) == []
    assert human_labels(database, VERSION.name, noon(9), noon(0)) == []
    for finding in check(database):
        assert finding.what


def _write_as_bytes(odd: OddRow, database: ImagingDatabase) -> None:
    if isinstance(odd.value, str) and "\ud8ff" in odd.value:  # stands for a byte that is no UTF-8
        odd = OddRow(odd.table, odd.column, odd.row_id, b"Pl\xe4tte")
    odd.put_into(database)


QUICKLY = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.generate],
)


def test_any_value_in_any_column_of_one_row_costs_no_other_image_its_score(
    on_sqlite: ImagingDatabase, store: Path, tmp_path: Path
) -> None:
    @settings(QUICKLY, max_examples=60)
    @given(odd_rows(ON_SQLITE))
    def holds(odd: OddRow) -> None:
        assert_it_costs_only_its_own(odd, on_sqlite, store, tmp_path / uuid.uuid4().hex)

    holds()


def test_any_value_that_postgresql_takes_costs_no_other_image_its_score(
    on_postgresql: ImagingDatabase, store: Path, tmp_path: Path
) -> None:
    @settings(QUICKLY, max_examples=15)
    @given(odd_rows(ON_POSTGRESQL))
    def holds(odd: OddRow) -> None:
        assert_it_costs_only_its_own(odd, on_postgresql, store, tmp_path / uuid.uuid4().hex)

    holds()


UNUSABLE = {
    "no path": (OddRow("images", "path", 101, None), "path"),
    "an empty path": (OddRow("images", "path", 101, ""), "path"),
    "a path that is no UTF-8": (OddRow("images", "path", 101, b"Pl\xe4tte/a.jpg"), "path"),
    "a path of 5,000 characters": (OddRow("images", "path", 101, "x" * 5000), "path"),
    "no well": (OddRow("images", "well", 101, None), "well"),
    "no drop number": (OddRow("images", "drop_number", 101, None), "drop number"),
    "half a drop": (OddRow("images", "drop_number", 101, 1.5), "drop number"),
    "no barcode": (OddRow("plates", "barcode", 2, None), "plate"),
    "no plate": (OddRow("inspections", "plate_id", 2, 77), "plate"),
    "no number of a plate": (OddRow("inspections", "plate_id", 2, None), "plate"),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_a_row_that_does_not_tell_the_drop_is_failed_with_a_reason_until_it_is_corrected(
    on_sqlite: ImagingDatabase, store: Path, tmp_path: Path, case: str
) -> None:
    odd, lacking = UNUSABLE[case]
    fill_site(on_sqlite)
    odd.put_into(on_sqlite)
    assert score_what_is_pending(on_sqlite, store, tmp_path) == MAX_ATTEMPTS
    assert set(scored(on_sqlite)) == set(IMAGES) - odd.concerned
    failed = failures(on_sqlite, VERSION.name)
    assert {failure.image.image_id for failure in failed} == odd.concerned
    for failure in failed:
        assert f"lists image {failure.image.image_id} of inspection 2 without a usable {lacking}" in failure.reason
        assert failure.attempts == MAX_ATTEMPTS
    OddRow(odd.table, odd.column, odd.row_id, "101.jpg" if lacking == "path" else 1).put_into(on_sqlite)
    if lacking == "plate":
        fill_site_plate(on_sqlite)
    forget_failures(on_sqlite, VERSION.name)
    score_what_is_pending(on_sqlite, store, tmp_path)
    assert set(scored(on_sqlite)) == set(IMAGES)
    assert failures(on_sqlite, VERSION.name) == []


def fill_site_plate(database: ImagingDatabase) -> None:
    with database.writing() as connection:
        connection.execute(text("update plates set barcode = 'P2' where id = 2"))
        connection.execute(text("update inspections set plate_id = 2 where id = 2"))


def test_a_drop_number_of_64_bits_goes_through_all_that_c4_keeps(tmp_path: Path) -> None:
    """Staging, the archive and the labels; the score itself is keyed by the image."""
    image = Image(1, 1, "P1", "A01", LARGEST_NUMBER, "a.jpg")
    staging = Staging(tmp_path / "staging")
    staging.write(DAY, 1, [StagedImage(image, noon(1), b"x")])
    assert staging.images(DAY, 1) == {image}


@pytest.mark.parametrize("value", [3_046_682_132, LARGEST_NUMBER, -1])
def test_a_drop_number_beyond_32_bits_is_scored_and_kept(
    on_sqlite: ImagingDatabase, store: Path, tmp_path: Path, value: int
) -> None:
    fill_site(on_sqlite)
    OddRow("images", "drop_number", 101, value).put_into(on_sqlite)
    score_what_is_pending(on_sqlite, store, tmp_path)
    assert set(scored(on_sqlite)) == set(IMAGES)
    archive = ScoreArchive(tmp_path / "archive", VERSION.model_version, VERSION.name)
    kept = {outcome.image.image_id: outcome.image.drop_number for outcome in archive.outcomes(DAY)}
    assert kept[101] == value
    with on_sqlite.writing() as connection:
        insert = "insert into scores (image_id, score_class_id, scorer, scored_at) values (101, 2, 'ana', :at)"
        connection.execute(text(insert), {"at": noon(1).strftime("%Y-%m-%d %H:%M:%S.%f")})
    labels = human_labels(on_sqlite, VERSION.name, noon(2), noon(0))
    (pair,) = newest_human_scores(on_sqlite, VERSION.name, noon(2), noon(0))
    assert [label.drop_number for label in labels] == [pair.drop_number] == [value]
    write_labels(archive, DAY, [ArchivedLabel(label, None, None) for label in labels])
    archive.write_disagreements(DAY, [pair])
    for dataset in ("labels", "disagreements"):
        (row,) = archive.read_week(dataset, DAY, read_parquet)
        assert row["drop_number"] == value


def test_a_new_databases_column_takes_a_drop_number_of_64_bits(
    make_facility: Callable[..., Facility], postgresql_server: Server
) -> None:
    facility = make_facility(database={"url": postgresql_server.address(f"big-{uuid.uuid4().hex}", "upgraded")})
    facility.add_plate("P1", {"a.jpg": photograph(1)})
    with facility.database.writing() as connection:
        connection.execute(text(f"update images set drop_number = {LARGEST_NUMBER}"))
    facility.score()
    assert [outcome.image.drop_number for outcome in facility.archive.outcomes(DAY)] == [LARGEST_NUMBER]


ODD_TIMES = [
    None,
    "-infinity",
    "infinity",
    "0001-01-01 00:00:00",
    "0044-03-15 00:00:00 BC",
    "1899-12-30 00:00:00",
    "1970-01-01 00:00:00",
    "9999-12-31 23:59:59",
    "20260-01-05 10:00:00",
]


@pytest.mark.parametrize("at", ODD_TIMES)
def test_an_inspection_with_a_time_that_is_none_is_listed_as_undated_and_slows_nothing_down(
    on_postgresql: ImagingDatabase, store: Path, tmp_path: Path, at: str | None
) -> None:
    fill_site(on_postgresql)
    OddRow("inspections", "imaged_at", 2, at).put_into(on_postgresql)
    statements: list[str] = []

    def remember(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    event.listen(on_postgresql.engine, "before_cursor_execute", remember)
    assert pending_by_day(on_postgresql, VERSION.name, MAX_ATTEMPTS) == {DAY: 15}
    assert len(pending_images(on_postgresql, VERSION.name, MAX_ATTEMPTS, DAY)) == 15
    assert [day.listed for day in count_days(on_postgresql, VERSION.name, MAX_ATTEMPTS)] == [15]
    assert newest_days(on_postgresql, 30) == noon(1).replace(hour=0)
    assert len(statements) < 30
    score_what_is_pending(on_postgresql, store, tmp_path)
    assert len(scored(on_postgresql)) == 15
    found = undated(on_postgresql)
    assert (found.inspections, found.images) == (1, 5)
    (named,) = found.named
    assert (named.inspection_id, named.plate) == (2, "P2")
    assert named.imaged_at == at
    (told,) = (finding for finding in check(on_postgresql) if "time of imaging" in finding.what)
    assert "5 images" in told.what
    assert str(at or "no time") in told.what


def test_a_plate_that_was_imaged_at_an_odd_time_before_is_scored_and_counts_what_it_had(
    on_postgresql: ImagingDatabase,
) -> None:
    fill_site(on_postgresql)
    OddRow("inspections", "imaged_at", 3, "0044-03-15 00:00:00 BC").put_into(on_postgresql)
    OddRow("inspections", "plate_id", 3, 1).put_into(on_postgresql)
    counts = {each.inspection_id: each.most_images_before for each in inspections_of_day(on_postgresql, DAY)}
    assert counts == {1: 0, 2: 0, 4: 0}


def test_what_loses_its_time_after_it_failed_or_was_withheld_is_still_listed(on_postgresql: ImagingDatabase) -> None:
    fill_site(on_postgresql)
    assert withhold(on_postgresql, VERSION.as_row(), {1: 5}, [FailedCheck(1, "check", "one frame", 5)]) == {1}
    with on_postgresql.writing() as connection:
        failed = f"(102, '{VERSION.name}', 'gone', 3, now(), '102.jpg')"
        connection.execute(text(f"insert into c4_image_failures values {failed}"))
    for inspection in (1, IMAGES[102]):
        OddRow("inspections", "imaged_at", inspection, "0044-03-15 00:00:00 BC").put_into(on_postgresql)
    assert [(each.inspection_id, each.day) for each in withheld_inspections(on_postgresql, VERSION.name)] == [(1, None)]
    (failure,) = failures(on_postgresql, VERSION.name)
    assert (failure.image.image_id, failure.day, failure.reason) == (102, None, "gone")


def test_history_with_centuries_between_two_images_is_counted_in_two_spans(on_sqlite: ImagingDatabase) -> None:
    fill_site(on_sqlite)
    OddRow("inspections", "imaged_at", 1, "1971-01-01 00:00:00.000000").put_into(on_sqlite)
    OddRow("inspections", "imaged_at", 2, "9000-01-01 00:00:00.000000").put_into(on_sqlite)
    spans = history_spans(on_sqlite)
    assert [start.year for start, _ in spans] == [1971, noon(1).year, 9000]
    assert all(end - start == timedelta(days=100) for start, end in spans)
    assert history_spans(on_sqlite, datetime(9001, 1, 1, tzinfo=UTC)) == []


def test_check_counts_the_odd_rows_of_each_kind_and_names_one(on_postgresql: ImagingDatabase) -> None:
    fill_site(on_postgresql)
    for odd in (
        OddRow("images", "path", 101, None),
        OddRow("images", "path", 105, "WellImages\\539\\d1.jpg"),
        OddRow("images", "path", 109, "/mnt/images/109.jpg"),
        OddRow("images", "well", 102, None),
        OddRow("images", "drop_number", 103, Decimal(10) ** 30),
        OddRow("images", "id", 104, Decimal(10) ** 30),
        OddRow("plates", "barcode", 3, None),
    ):
        odd.put_into(on_postgresql)
    told = "\n".join(finding.what for finding in check(on_postgresql))
    for words in (
        "a path of 1 of the 20 newest images (image 101",
        "a path with forward slashes below the image store's root of 2 of the 20 newest images (image 105",
        "a well of 1 of the 20 newest images (image 102",
        "a drop number of 64 bits of 1 of the 20 newest images (image 103",
        "a number of 64 bits of 1 of the 20 newest images",
        "a plate with a barcode of 5 of the 20 newest images",
    ):
        assert words in told, told


def test_a_name_that_is_no_utf_8_is_refused_in_words_when_it_is_registered(facility: Facility) -> None:
    with pytest.raises(DataError, match="does not take a value"):
        facility.add_plate("Pl\udce4tte", {"a.jpg": None})
    facility.add_plate("P2", {"a.jpg": photograph(1)})
    facility.score()
    assert len(facility.rows("select * from scores")) == 1


def test_a_postgresql_without_an_encoding_costs_only_the_row_that_is_no_utf_8(
    postgresql_server: Server, store: Path, tmp_path: Path
) -> None:
    name = f"ascii-{uuid.uuid4().hex}"
    postgresql_server.execute(
        f"create database \"{name}\" template template0 encoding 'SQL_ASCII' lc_collate 'C' lc_ctype 'C'"
    )
    conninfo = postgresql_server.address(f"unused-{uuid.uuid4().hex}").rpartition("/")[0]
    database = ImagingDatabase(f"{conninfo}/{name}")
    make_site(database)
    fill_site(database)
    with database.writing() as connection:
        connection.execute(text(r"update images set path = E'Pl\xe4tte.jpg' where id = 101"))
        connection.execute(text(r"update images set well = E'\xc3\xa9' where id = 102"))
    score_what_is_pending(database, store, tmp_path)
    assert set(scored(database)) == set(IMAGES) - {101}
    (failure,) = failures(database, VERSION.name)
    assert "without a usable path" in failure.reason
