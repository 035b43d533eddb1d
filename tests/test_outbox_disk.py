"""An outbox on its disk: files that cannot be read, several processes, no room, and no secrets."""

import multiprocessing
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from c4_assets.operations.alerts.records import Change, Event, Observation, Picture
from c4_assets.operations.alerts.rules import Rules
from c4_assets.operations.alerts.state import alerts_folder, load, outbox_of, tell
from resources.atomic_write import NoRoom
from resources.file_lock import locked
from testing.alerts import START, Listener, condition
from tests.outboxes import HOUR, MINUTE, Post, message, titles
from tests.outboxes import post as post
from tests.small_disks import small_file_system


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
    assert post.outbox.count() == 1
    [file] = (post.folder / "outbox" / "waiting").iterdir()
    assert file.stat().st_mode & 0o077 == 0


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


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 128 kB."""
    with small_file_system(tmp_path / "small", "128k", inodes=0) as folder:
        yield folder


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
