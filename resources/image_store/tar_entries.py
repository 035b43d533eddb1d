"""What is in a tar archive that a host sends, which may be anything.

Only what GNU tar writes when it is asked as in :func:`~resources.image_store.tar_stream.tar_command` is taken: headers,
with one for a long name and one for the long target of a link ahead of them, and the bytes of regular files. All of it
is bounded, and a file counts as arrived only when a good header, or the archive's end, follows it.
"""

import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from resources.errors import C4Error
from resources.image_store.base import MAX_IMAGE_BYTES
from resources.image_store.tar_stream import ArrivingTar, encoded
from resources.redaction import beginning

BLOCK_BYTES = tarfile.BLOCKSIZE

MAX_GREETING_BYTES = 64 * 1024
"""Most bytes ahead of an archive, as a login shell prints them that greets."""

MAX_TARGET_BYTES = 64 * 1024
"""Longest target of a link that is read past."""

MAGIC = tarfile.GNU_MAGIC
MAGIC_AT = 257
"""Where a header of GNU tar has its magic bytes."""

NAME_FIELD_BYTES = tarfile.LENGTH_NAME
"""A header has the first bytes of a name that is longer, which stands in a header of its own ahead of it."""

LONG = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
LINKS = (tarfile.SYMTYPE, tarfile.LNKTYPE)
OTHERS = (tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE)


class NoTar(C4Error):
    """The host runs no usable tar for this account. Raised before anything of an archive has arrived."""


class BrokenTar(C4Error):
    """What arrives is not the archive that was asked for. Every file that has certainly arrived was yielded."""


@dataclass(frozen=True)
class Entry:
    """A file, folder, link or anything else of an archive.

    Attributes:
        at: its index among the names that were requested.
        is_link: whether it is a symbolic link.
        size: in bytes; ``None`` for anything but a file.
        data: the content of a file; ``None`` if it is too large. Stop reading the archive then, or all of it is sent.
        sound: ``False`` if the bytes may not be those of the file. tar pads a file that shrinks while it is read with
            zeros, so every file that ends in a zero has to be checked.
    """

    at: int
    is_link: bool = False
    size: int | None = None
    data: bytes | None = None
    sound: bool = True

    @property
    def is_too_large(self) -> bool:
        """Whether the entry is a file larger than :data:`MAX_IMAGE_BYTES`."""
        return self.size is not None and self.data is None


def entries(tar: ArrivingTar, names: Sequence[str]) -> Iterator[Entry]:
    """Yields the entries that arrive, in the order of the names, without those that tar could not read.

    An entry is yielded when the next one begins, because tar has then reported whether its file changed.

    Raises:
        NoTar: no archive begins within the first :data:`MAX_GREETING_BYTES`.
        BrokenTar: the archive goes wrong later, or has what was not asked for.
        ConnectionLost: the connection broke.
    """
    archive = _Archive(tar.read)
    try:
        tar.greeting = archive.skip_greeting()
    except NoTar as error:
        tar.finish()
        lines = str(error).strip().splitlines()
        said = f"it prints «{beginning(lines[0], 80)}»; " if lines else ""
        raise NoTar(f"{said}{tar.exit_message}") from error
    longest = max(len(encoded(name)) for name in names) + len("/\0")
    at, held, changes = -1, None, 0
    while (header := archive.header(longest)) is not None:
        if held:
            yield replace(held, sound=held.sound and tar.changes == changes)
            held = None
        try:
            at, changes = names.index(header.name, at + 1), tar.changes
        except ValueError:
            raise BrokenTar(f"it has {header.name!r} where that was not asked for") from None
        if header.isreg() and header.size <= MAX_IMAGE_BYTES:
            data = archive.content(header.size)
            tar.file_has_come()
            held = Entry(at, size=header.size, data=data, sound=not data.endswith(b"\0"))
        else:
            yield Entry(at, header.type in LINKS, header.size if header.isreg() else None)
    tar.finish()
    if held:
        yield replace(held, sound=held.sound and tar.changes == changes)


class _Archive:
    """Reads an archive; ``read`` returns its next bytes, none at the end."""

    def __init__(self, read: Callable[[], bytes]) -> None:
        self._read, self._ahead = read, b""

    def skip_greeting(self) -> bytes:
        """Reads up to the first header, and returns what was ahead of it."""
        while True:
            found = self._ahead.find(MAGIC) - MAGIC_AT
            if found >= 0 and len(self._ahead) >= found + BLOCK_BYTES:
                greeting, self._ahead = self._ahead[:found], self._ahead[found:]
                return greeting
            # What is here has been looked through: only now may it be too much.
            too_much = len(self._ahead) > MAX_GREETING_BYTES + BLOCK_BYTES
            if too_much or not (data := self._read()):
                raise NoTar(self._ahead[:MAX_GREETING_BYTES].decode(errors="replace"))
            self._ahead += data

    def header(self, longest: int) -> tarfile.TarInfo | None:
        """The next header; ``None`` at the archive's end.

        Args:
            longest: most bytes of a name, with a slash and a zero byte at its end.
        """
        name: str | None = None
        for _ in range(len(LONG) + 1):
            block = self._bytes(BLOCK_BYTES)
            if not block.strip(b"\0"):
                return None
            header = self._parsed(block)
            if header.type not in LONG:
                if name is not None:
                    if header.isreg() and encoded(header.name) != encoded(name)[:NAME_FIELD_BYTES]:
                        raise BrokenTar(f"the name {name!r} in it stands before another file")
                    header.name = name
                return header
            if not 0 <= header.size <= (longest if header.type == tarfile.GNUTYPE_LONGNAME else MAX_TARGET_BYTES):
                raise BrokenTar(f"a name in it has {header.size:,} bytes")
            value = self.content(header.size)
            if header.type == tarfile.GNUTYPE_LONGNAME:
                name = value.rstrip(b"\0").decode("utf-8", "surrogateescape").removesuffix("/")
        raise BrokenTar("it has names without files")

    @staticmethod
    def _parsed(block: bytes) -> tarfile.TarInfo:
        try:
            header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except (tarfile.HeaderError, ValueError) as error:
            raise BrokenTar(f"a header in it is not good ({error})") from error
        has_content = header.type in (tarfile.REGTYPE, tarfile.AREGTYPE, *LONG)
        if header.size < 0 or not (has_content or (header.type in LINKS + OTHERS and header.size == 0)):
            raise BrokenTar(f"a header in it is of no kind that was asked for ({header.type!r})")
        return header

    def content(self, size: int) -> bytes:
        """The content that follows a header; what fills its last block up must be zeros."""
        data = self._bytes(size)
        if self._bytes(-size % BLOCK_BYTES).strip(b"\0"):
            raise BrokenTar("a file in it is longer than its header says")
        return data

    def _bytes(self, size: int) -> bytes:
        blocks: list[bytes] = []
        while True:
            blocks.append(self._ahead[:size])
            size, self._ahead = size - len(blocks[-1]), self._ahead[size:]
            if not size:
                return b"".join(blocks)
            if not (data := self._read()):
                raise BrokenTar("it ends early")
            self._ahead = data
