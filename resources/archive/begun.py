"""Notes of what a process has begun to classify. One that dies leaves its note behind, and so tells what it died of.

A process that was stopped from outside leaves a note as well, and so does one that is still at work elsewhere. So a
note is a reason to be careful and no proof.
"""

import uuid
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from resources.archive.unreadable import make_way
from resources.atomic_write import full_disk_named, sync
from resources.errors import C4Error


class Begun:
    """The notes in one folder, each an empty file ``<what>.<unique>.begun``. The folder is seen by all processes."""

    def __init__(self, folder: Path, root: Path) -> None:
        """Args:
        root: a folder of C4's own above it. What is in the way below it is set aside.
        """
        self._folder = folder
        self._root = root

    def count(self, what: str) -> int:
        """How many processes have begun this and have not come to its end."""
        return len(self._notes(what))

    @contextmanager
    def noted(self, what: str) -> Generator[None]:
        """Notes durably what the block is about to do. The note goes when the block ends, however it ends, unless an
        exception ends it of which nobody knows what it is: such a one comes again, as a death does.

        Raises:
            NoRoom: the disk is full.
        """
        note = self._folder / f"{what}.{uuid.uuid4().hex}.begun"
        make_way(note, self._root)
        with full_disk_named(note):
            self._folder.mkdir(parents=True, exist_ok=True)
            note.touch(exist_ok=False)
            sync(self._folder)
        try:
            yield
        except Exception as error:
            if isinstance(error, (C4Error, OSError)):
                note.unlink(missing_ok=True)
            raise
        except BaseException:  # somebody stops the process
            note.unlink(missing_ok=True)
            raise
        note.unlink(missing_ok=True)

    def forget(self, what: str) -> None:
        """Removes all notes of this."""
        for note in self._notes(what):
            note.unlink(missing_ok=True)

    def _notes(self, what: str) -> list[Path]:
        return list(self._folder.glob(f"{what}.*.begun"))
