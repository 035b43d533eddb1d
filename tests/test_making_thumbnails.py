"""Thumbnails are made while images are fetched, when somebody looks, and by an asset: once, and at nobody's expense."""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from c4_assets.assets.drop_thumbnails import drop_thumbnails
from c4_assets.pictures import fetched_thumbnails, inspection_thumbnails
from c4_assets.pictures.fetched_thumbnails import FetchedThumbnails
from c4_assets.pictures.inspection_thumbnails import thumbnails_of_inspection
from c4_assets.runs.pruning import prune
from resources.archive.staging import StagedImage
from resources.archive.thumbnails import Thumbnail, Thumbnails
from resources.errors import Unavailable
from resources.image_store import FetchedImage, LocalStore
from resources.imaging_database.work import pending_images
from resources.records import Image
from tests.conftest import Facility, noon, photograph
from tests.test_graph import metadata
from tests.test_watch_services import small_disk as small_disk

DAY = noon(1).date()
IMAGES = [Image(number, 7, "P1", "A01", number, f"P1/{number}.jpg") for number in range(24)]


@dataclass
class CountingStore:
    """A folder, and a file in which every path stands that was asked of it, by whatever process."""

    root: Path
    asked: Path
    goes_away_after: int = 10**9
    waits_for: threading.Event | None = None
    _store: LocalStore = field(init=False)

    def __post_init__(self) -> None:
        self._store = LocalStore.at(str(self.root))

    def fetch(self, paths: Sequence[str]) -> Iterator[FetchedImage]:
        with self.asked.open("a") as file:
            file.write("".join(f"{path}\n" for path in paths))
        for number, image in enumerate(self._store.fetch(paths)):
            if number == self.goes_away_after:
                raise Unavailable("the host is down")
            if number == len(paths) - 1 and self.waits_for:
                assert self.waits_for.wait(20)
            yield image

    def close(self) -> None: ...

    def paths(self) -> list[str]:
        return sorted(self.asked.read_text().split()) if self.asked.exists() else []


@pytest.fixture
def store(tmp_path: Path) -> CountingStore:
    """The files of :data:`IMAGES`."""
    for image in IMAGES:
        file = tmp_path / "images" / image.path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(photograph(image.image_id))
    return CountingStore(tmp_path / "images", tmp_path / "asked")


@pytest.fixture
def thumbnails(tmp_path: Path) -> Thumbnails:
    return Thumbnails(tmp_path / "thumbnails")


def look(
    thumbnails: Thumbnails, store: CountingStore, images: Sequence[Image] = IMAGES, **more: Any
) -> list[Thumbnail]:
    return list(thumbnails_of_inspection(DAY, 7, images, thumbnails, store, **more))


def numbers(found: Sequence[Thumbnail]) -> list[int]:
    return [each.image_id for each in found if each.webp]


def sha(number: int, thumbnails: Thumbnails) -> str | None:
    return thumbnails.read(DAY, 7, number)[0].sha256


def test_however_many_look_at_once_in_however_many_processes_each_file_is_fetched_once(
    thumbnails: Thumbnails, store: CountingStore
) -> None:
    def eight_look() -> None:
        with ThreadPoolExecutor(8) as threads:
            for each in [threads.submit(look, thumbnails, store) for _ in range(8)]:
                assert numbers(sorted(each.result(), key=lambda found: found.image_id)) == list(range(24))

    children: list[int] = []
    for _ in range(3):
        child = os.fork()
        if not child:
            try:
                eight_look()
                os._exit(0)
            finally:
                os._exit(1)
        children.append(child)
    eight_look()
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
    assert store.paths() == sorted(image.path for image in IMAGES)
    assert len(look(thumbnails, store)) == 24
    assert len(store.paths()) == 24


def test_thumbnails_come_before_the_last_image_is_fetched(thumbnails: Thumbnails, store: CountingStore) -> None:
    store.waits_for = threading.Event()
    coming = thumbnails_of_inspection(DAY, 7, IMAGES, thumbnails, store)
    first = [next(coming) for _ in range(10)]
    assert numbers(first) == list(range(10))
    store.waits_for.set()
    assert numbers(list(coming)) == list(range(10, 24))


def test_what_nobody_waits_for_any_more_is_kept_all_the_same(thumbnails: Thumbnails, store: CountingStore) -> None:
    coming = thumbnails_of_inspection(DAY, 7, IMAGES, thumbnails, store)
    next(coming)
    del coming
    with thumbnails.making(7):  # which the one who makes them holds until they are kept
        assert numbers(thumbnails.read(DAY, 7)) == list(range(24))


def test_a_store_that_goes_away_keeps_what_had_come_and_the_next_look_goes_on(
    thumbnails: Thumbnails, store: CountingStore
) -> None:
    store.goes_away_after = 9
    coming = thumbnails_of_inspection(DAY, 7, IMAGES, thumbnails, store)
    found = [next(coming) for _ in range(9)]
    with pytest.raises(Unavailable, match="the host is down"):
        next(coming)
    assert numbers(found) == numbers(thumbnails.read(DAY, 7)) == list(range(9))
    store.goes_away_after = 10**9
    assert numbers(look(thumbnails, store)) == list(range(24))
    assert store.paths() == sorted([image.path for image in IMAGES] + [image.path for image in IMAGES[9:]])


def test_an_absent_file_has_a_reason_and_is_asked_for_again_after_a_while(
    thumbnails: Thumbnails, store: CountingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    (store.root / IMAGES[3].path).rename(store.root / "elsewhere")
    (store.root / IMAGES[4].path).write_bytes(b"no image")
    images = [*IMAGES, replace(IMAGES[0], image_id=99, well="")]
    errors = {each.image_id: each.error or "" for each in look(thumbnails, store, images) if not each.webp}
    assert errors.keys() == {3, 4, 99}
    assert errors[3].startswith("P1/3.jpg is not in the image store")
    assert errors[4].startswith("P1/4.jpg: the file is not an image")
    assert "without a usable well" in errors[99]
    (store.root / "elsewhere").rename(store.root / IMAGES[3].path)
    assert numbers(look(thumbnails, store, images)) == [*range(3), *range(5, 24)]
    assert len(store.paths()) == 24, "not at each look"
    monkeypatch.setattr(inspection_thumbnails, "ASKED_AGAIN_AFTER", timedelta(0))
    found = look(thumbnails, store, images)
    assert sorted(numbers(found)) == [*range(4), *range(5, 24)]
    assert store.paths().count("P1/3.jpg") == 2
    assert store.paths().count("P1/4.jpg") == 1, "what is no image stays none until its file is another"


def test_a_replaced_file_a_new_path_and_a_number_used_again_have_their_own_thumbnails(
    thumbnails: Thumbnails, store: CountingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    look(thumbnails, store)
    before = {number: sha(number, thumbnails) for number in range(3)}
    (store.root / "P2").mkdir()
    (store.root / "P2" / "0.jpg").write_bytes(photograph(100))
    (store.root / IMAGES[1].path).write_bytes(photograph(101))
    images = [replace(IMAGES[0], path="P2/0.jpg"), *IMAGES[1:]]
    scored = {1: "digest of the new file"}
    assert numbers(look(thumbnails, store, images, digests=scored)) == [*range(1, 24), 0]
    assert sha(0, thumbnails) != before[0]
    assert sha(1, thumbnails) == before[1], "it was seen a moment ago"
    monkeypatch.setattr(inspection_thumbnails, "ASKED_AGAIN_AFTER", timedelta(0))
    look(thumbnails, store, images, digests=scored)
    assert sha(1, thumbnails) not in (before[1], None)
    assert sha(2, thumbnails) == before[2]
    assert len(store.paths()) == 24 + 2


def test_a_damaged_file_is_made_again(thumbnails: Thumbnails, store: CountingStore, tmp_path: Path) -> None:
    look(thumbnails, store)
    (tmp_path / "thumbnails" / DAY.isoformat() / "7.arrow").write_bytes(b"torn")
    assert numbers(look(thumbnails, store)) == list(range(24))
    assert numbers(thumbnails.read(DAY, 7)) == list(range(24))


def test_whoever_looks_sees_all_on_a_full_disk(small_disk: Path, store: CountingStore) -> None:
    thumbnails = Thumbnails(small_disk / "thumbnails")
    for number in range(19):
        (small_disk / str(number)).touch()
    assert numbers(look(thumbnails, store)) == list(range(24))
    assert thumbnails.read(DAY, 7) == []


def staged(number: int, data: bytes | None = None) -> StagedImage:
    now = datetime.now(UTC)
    return StagedImage(IMAGES[number], now, data or photograph(number), None, f"digest {number}")


def test_no_more_bytes_wait_than_are_allowed_and_a_larger_image_comes_alone(
    thumbnails: Thumbnails, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = len(photograph(0))
    monkeypatch.setattr(fetched_thumbnails, "MAX_HELD_BYTES", 3 * size)
    with FetchedThumbnails(thumbnails) as fetched:
        rows = [staged(number) for number in range(20)] + [staged(20, photograph(20, (400, 300)))]
        held = [fetched.held_bytes for _ in fetched.passing(DAY, 7, rows)]
        made = fetched.settled()
        assert fetched.held_bytes == 0
    assert (made.made, made.failed) == (21, 0)
    assert made.bytes == sum(len(each.webp or b"") for each in thumbnails.read(DAY, 7))
    assert max(held[:20]) <= 3.3 * size


def test_a_source_that_fails_is_felt_and_nothing_of_it_is_lost(thumbnails: Thumbnails) -> None:
    def breaks_off() -> Iterator[StagedImage]:
        yield from (staged(number) for number in range(5))
        raise Unavailable("the host is down")

    with FetchedThumbnails(thumbnails) as fetched:
        passed = fetched.passing(DAY, 7, breaks_off())
        with pytest.raises(Unavailable):
            list(passed)
        assert fetched.settled().made == 5
    assert numbers(thumbnails.read(DAY, 7)) == list(range(5))


def of_facility(facility: Facility) -> Thumbnails:
    return facility.resources["thumbnails"]


def test_a_day_that_is_scored_has_its_thumbnails_and_one_that_is_scored_in_parts_all_of_them(
    facility: Facility,
) -> None:
    four = {**{f"{n}.jpg": photograph(n) for n in range(3)}, "bad.jpg": b"no image"}
    inspection = facility.add_plate("P1", {**four, "late.jpg": None})
    done = metadata(facility.score(), "raw_inspection_images")
    assert (done["thumbnails made"], done["images without a thumbnail"]) == (3, 2)
    first = of_facility(facility).read(DAY, inspection)
    assert len(first) == 5
    facility.add_plate("P1", {**four, "late.jpg": photograph(9), "later.jpg": photograph(10)})
    done = metadata(facility.score(), "raw_inspection_images")
    assert done["thumbnails made"] == 2
    both = of_facility(facility).read(DAY, inspection)
    assert [each.path for each in both if not each.webp] == ["P1/bad.jpg"]
    assert set(both) >= {each for each in first if each.webp}
    assert len(both) == 6


@pytest.mark.parametrize("days", [None, 30])
def test_pruning_removes_what_was_made_longer_ago_than_it_is_kept_and_nothing_where_no_time_is_set(
    make_facility: Callable[..., Facility], days: int | None
) -> None:
    facility = make_facility(thumbnails_days=days)
    made = {name: facility.add_plate(name, {"a.jpg": photograph(number)}) for number, name in enumerate(("P1", "P2"))}
    facility.score()
    (old,) = facility.settings.thumbnails.rglob(f"{made['P1']}.arrow")
    os.utime(old, (0, 0))
    now = datetime.now(UTC)
    would_go = prune(facility.instance, facility.settings, now, dry_run=True)
    assert (would_go.thumbnails.files, would_go.thumbnails_left.files) == (0 if days is None else 1, 2)
    done = prune(facility.instance, facility.settings, now)
    assert (done.thumbnails, done.thumbnails_left.files) == (would_go.thumbnails, 2 if days is None else 1)
    assert old.exists() is (days is None)
    assert len(of_facility(facility).read(DAY, made["P2"])) == 1


def test_an_image_that_another_model_fetches_again_is_not_made_again(
    facility: Facility, monkeypatch: pytest.MonkeyPatch
) -> None:
    facility.add_plate("P1", {f"{n}.jpg": photograph(n) for n in range(3)})
    facility.score()
    images = pending_images(facility.database, "another", 3, DAY)
    monkeypatch.setattr(fetched_thumbnails, "thumbnail_of", None)
    of_disk = {each.image_id: each for each in of_facility(facility).read(DAY, images[0].inspection_id)}
    with FetchedThumbnails(of_facility(facility)) as fetched:
        rows = [StagedImage(each, noon(0), b"x", None, of_disk[each.image_id].sha256) for each in images]
        assert list(fetched.passing(DAY, images[0].inspection_id, rows)) == rows
        assert fetched.settled().made == 0


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), ValueError("a fault of ours")])
def test_nothing_that_is_wrong_with_thumbnails_costs_a_score(
    facility: Facility, monkeypatch: pytest.MonkeyPatch, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    def raises(*_: object) -> None:
        raise error

    monkeypatch.setattr(Thumbnails, "add", raises)
    monkeypatch.setattr(Thumbnails, "read", raises)
    facility.add_plate("P1", {f"{n}.jpg": photograph(n) for n in range(3)})
    done = metadata(facility.score(), "raw_inspection_images")
    assert facility.progress().scored == 3
    assert (done["thumbnails made"], done["images without a thumbnail"]) == (0, 3)
    assert "the thumbnails of inspection 1 are not kept" in caplog.text


def test_the_asset_makes_what_is_missing_of_several_days_and_fetches_nothing_else(
    make_facility: Callable[..., Facility], tmp_path: Path
) -> None:
    facility = make_facility()
    inspections: dict[int, int] = {}
    for days_ago in (1, 2):
        files: dict[str, bytes | None] = {f"{n}.jpg": photograph(10 * days_ago + n) for n in range(3)}
        inspections[days_ago] = facility.add_plate(f"P{days_ago}", {**files, "gone.jpg": None}, noon(days_ago))
    facility.score(noon(1))
    counting = CountingStore(facility.images, tmp_path / "asked")
    resources = {**facility.resources, "image_store": counting}
    job = dg.Definitions(assets=[drop_thumbnails], resources=resources).resolve_implicit_global_asset_job_def()
    tags = {
        "dagster/asset_partition_range_start": noon(2).date().isoformat(),
        "dagster/asset_partition_range_end": noon(1).date().isoformat(),
    }
    shown = [
        {name: value.value for name, value in event.materialization.metadata.items()}
        for _ in range(2)
        for event in job.execute_in_process(instance=facility.instance, tags=tags).get_asset_materialization_events()
    ]
    assert counting.paths() == ["P2/0.jpg", "P2/1.jpg", "P2/2.jpg", "P2/gone.jpg"]
    assert [day["thumbnails made"] for day in shown] == [3, 0, 0, 0]
    assert [day["thumbnails there before"] for day in shown] == [0, 3, 3, 3]
    assert [day["images without a thumbnail"] for day in shown] == [1, 1, 1, 1]
    assert "is not in the image store" in str(shown[0]["why images have none"])
    assert "data:image/jpeg" in str(shown[0]["some of those that were made"])
    assert numbers(of_facility(facility).read(noon(2).date(), inspections[2])) != []
