"""Thumbnails on disk: one file an inspection, whole whenever a process dies, and whoever else writes meanwhile."""

import os
import random
import signal
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from resources.archive import thumbnails as module
from resources.archive.thumbnails import Space, Thumbnail, Thumbnails
from resources.atomic_write import NoRoom
from resources.errors import Unavailable
from resources.records import Image
from tests.test_crashes import count_writes, in_a_child
from tests.test_unreadable_files import DAMAGES, Damage, flips
from tests.test_watch_services import small_disk as small_disk

DAY, NOON = date(2026, 3, 2), datetime(2026, 3, 2, 12, tzinfo=UTC)


def thumbnail(number: int, size: int = 300, later: int = 0) -> Thumbnail:
    """That of an image, with another content each hour later."""
    at = NOON + timedelta(hours=later)
    webp = random.Random(number + 1000 * later).randbytes(size)
    return Thumbnail(number, f"P1/{number}.jpg", f"digest {number} {later}", 2560, 1920, webp, None, at)


def absent(number: int, later: int = 0) -> Thumbnail:
    """What an image has whose file did not come."""
    path, at = f"P1/{number}.jpg", NOON + timedelta(hours=later)
    return Thumbnail(number, path, None, None, None, None, f"{path} is not there", at)


SEVERAL = [thumbnail(1), thumbnail(2), absent(3), thumbnail(2**62)]


def test_what_was_added_is_read_in_whole_or_one_image_alone(tmp_path: Path) -> None:
    store = Thumbnails(tmp_path)
    assert store.read(DAY, -5) == []
    store.add(DAY, -5, reversed(SEVERAL))
    assert store.read(DAY, -5) == SEVERAL
    assert [store.read(DAY, -5, each.image_id) for each in SEVERAL] == [[each] for each in SEVERAL]
    assert store.read(DAY, -5, 99) == store.read(DAY, 5) == store.read(DAY.replace(day=3), -5) == []
    assert [file.name for file in (tmp_path / "2026-03-02").iterdir()] == ["-5.arrow"]


def test_parts_that_come_at_different_times_are_put_together(tmp_path: Path) -> None:
    store = Thumbnails(tmp_path)
    for part in (SEVERAL[:1], [], SEVERAL[2:], SEVERAL[1:3]):
        store.add(DAY, 1, part)
    assert store.read(DAY, 1) == SEVERAL


@pytest.mark.parametrize(
    ("there", "added", "kept"),
    [
        (thumbnail(1), thumbnail(1, later=1), thumbnail(1, later=1)),
        (thumbnail(1, later=1), thumbnail(1), thumbnail(1, later=1)),
        (thumbnail(1), absent(1, later=1), thumbnail(1)),
        (absent(1, later=1), thumbnail(1), thumbnail(1)),
        (absent(1), absent(1, later=1), absent(1, later=1)),
        (
            thumbnail(1),
            replace(absent(1, later=1), path="P2/other.jpg"),
            replace(absent(1, later=1), path="P2/other.jpg"),
        ),
    ],
)
def test_the_newest_file_counts_and_one_that_does_not_come_takes_nothing_away(
    tmp_path: Path, there: Thumbnail, added: Thumbnail, kept: Thumbnail
) -> None:
    store = Thumbnails(tmp_path)
    store.add(DAY, 1, [there, thumbnail(2)])
    store.add(DAY, 1, [added])
    assert store.read(DAY, 1) == [kept, thumbnail(2)]


def test_a_thumbnail_is_not_taken_for_that_of_another_file() -> None:
    shown, image = thumbnail(1), Image(1, 1, "P1", "A01", 1, "P1/1.jpg")
    assert shown.is_of(image)
    assert shown.is_of(image, "digest 1 0")
    assert not shown.is_of(image, "digest of what it was replaced by")
    assert not shown.is_of(replace(image, path="P2/1.jpg")), "a number that was used again"
    assert not shown.is_of(replace(image, image_id=2))


def test_many_who_add_at_once_lose_nothing(tmp_path: Path) -> None:
    def add_some(first: int) -> None:
        store = Thumbnails(tmp_path)
        with ThreadPoolExecutor(4) as threads:
            for added in [threads.submit(store.add, DAY, 1, [thumbnail(first + number)]) for number in range(12)]:
                added.result()

    children: list[int] = []
    for first in (100, 200, 300):
        child = os.fork()
        if not child:
            add_some(first)
            os._exit(0)
        children.append(child)
    add_some(0)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
    expected = [first + number for first in (0, 100, 200, 300) for number in range(12)]
    assert Thumbnails(tmp_path).read(DAY, 1) == [thumbnail(number) for number in expected]


def test_killed_at_any_point_of_a_write_the_file_is_the_old_one_or_the_new_one(tmp_path: Path) -> None:
    def write(root: Path, point: int) -> None:
        writes = 0

        def reached() -> None:
            nonlocal writes
            if writes == point:
                os.kill(os.getpid(), signal.SIGKILL)
            writes += 1

        count_writes(reached)
        Thumbnails(root).add(DAY, 1, [thumbnail(1, later=1), thumbnail(9)])

    old, new = SEVERAL, [thumbnail(1, later=1), *SEVERAL[1:3], thumbnail(9), SEVERAL[3]]
    seen: list[list[Thumbnail]] = []
    for point in range(10):
        root = tmp_path / str(point)
        Thumbnails(root).add(DAY, 1, SEVERAL)
        status = in_a_child(lambda root=root, point=point: write(root, point))
        seen.append(Thumbnails(root).read(DAY, 1))
        assert seen[-1] in (old, new)
        Thumbnails(root).add(DAY, 1, [thumbnail(1, later=1), thumbnail(9)])
        assert Thumbnails(root).read(DAY, 1) == new, "the locks of who was killed are gone"
        if not os.WIFSIGNALED(status):
            break
    assert len(seen) > 3
    assert old in seen
    assert seen[-1] == new


@pytest.mark.parametrize("is_read_first", [True, False])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_file_that_cannot_be_read_is_set_aside_and_made_again(
    tmp_path: Path, damage: Damage, is_read_first: bool
) -> None:
    store = Thumbnails(tmp_path)
    store.add(DAY, 1, SEVERAL)
    damage(tmp_path / "2026-03-02" / "1.arrow")
    if is_read_first:
        assert store.read(DAY, 1) == []
    store.add(DAY, 1, [thumbnail(7)])
    assert store.read(DAY, 1) == [thumbnail(7)]
    assert len(list(tmp_path.rglob("_*unreadable*"))) == 1, "what stood there is not removed"


def test_no_bit_that_the_disk_changes_shows_another_picture(tmp_path: Path) -> None:
    store, two = Thumbnails(tmp_path), [thumbnail(1, 40), absent(2)]
    store.add(DAY, 1, two)
    file = tmp_path / "2026-03-02" / "1.arrow"
    lost = 0
    for changed in flips(file.read_bytes())[::3]:
        file.write_bytes(changed)
        found = store.read(DAY, 1)
        assert all(each in two for each in found)
        lost += len(found) < 2
        for aside in tmp_path.rglob("_*"):
            aside.unlink()
    assert lost > 50
    store.add(DAY, 1, two)
    assert store.read(DAY, 1) == two


def test_a_full_disk_leaves_what_was_there(small_disk: Path) -> None:
    store = Thumbnails(small_disk / "thumbnails")
    store.add(DAY, 1, SEVERAL)
    with pytest.raises(NoRoom):
        store.add(DAY, 1, [thumbnail(9, 2_000_000)])
    assert store.read(DAY, 1) == SEVERAL
    assert [file.name for file in (small_disk / "thumbnails" / "2026-03-02").iterdir()] == ["1.arrow"]
    store.add(DAY, 1, [thumbnail(9)])
    assert len(store.read(DAY, 1)) == 5


def test_one_who_never_lets_go_of_an_inspection_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAKING_WAIT_S", 0.1)
    store = Thumbnails(tmp_path)
    with store.making(1):
        with pytest.raises(Unavailable, match=r"thumbnails of inspection 1 .* is locked"), store.making(1):
            pass
        with store.making(2):
            store.add(DAY, 1, SEVERAL)
    with store.making(1):
        assert store.read(DAY, 1) == SEVERAL


def test_old_files_are_removed_by_when_they_were_made_and_those_that_were_set_aside_as_well(tmp_path: Path) -> None:
    store = Thumbnails(tmp_path)
    for number in (1, 2):
        store.add(DAY, number, SEVERAL)
        torn = tmp_path / "2026-03-02" / f"{number}.arrow"
        torn.write_bytes(b"torn")
        assert store.read(DAY, number) == []
        store.add(DAY, number, SEVERAL)
    foreign = tmp_path / "2026-03-02" / "notes.txt"
    foreign.touch()
    old = (NOON - timedelta(days=30)).timestamp()
    for file in (foreign, *tmp_path.rglob("*1.arrow*")):
        os.utime(file, (old, old))
    everything = store.space()
    assert everything.files == 4
    would_go = store.remove_older(NOON - timedelta(days=10), dry_run=True)
    assert store.space() == everything
    assert store.remove_older(NOON - timedelta(days=10)) == would_go
    assert would_go.files == 2
    assert store.space() == Space(2, everything.bytes - would_go.bytes)
    assert store.read(DAY, 1) == []
    assert store.read(DAY, 2) == SEVERAL
    assert foreign.exists()
    assert store.remove_older(NOON - timedelta(days=10)) == Space(0, 0)
