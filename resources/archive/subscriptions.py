"""Who is told of new crystals on which plates, or plates of which projects, and what they have been told.

Two JSON files of this deployment, which its account alone may read: addresses are personal, and whoever knows a token
can end a subscription. They are no tables of the imaging database, because that is often a LIMS's: a new table there
waits for its administrator, and everybody who may read C4's tables would read the addresses.
"""

import hmac
import json
import re
import secrets
from collections.abc import Collection, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from resources.atomic_write import atomic_write
from resources.errors import ConfigurationError
from resources.file_lock import locked

ADDRESS = re.compile(
    r"(?!.*=\?)[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*"
)
"""An address of mail as HTML's own forms take it: no space, line break, comma or name around it, which a mail's head
would read as more than one address, and no ``=?``, with which they can be written there all the same."""

LONGEST_ADDRESS = 254
"""Of RFC 5321."""

LOCK_WAIT_S = 60

TOLD_FOR = timedelta(days=400)
"""How long is remembered what somebody was told: longer than ``subscriptions.days`` can be."""


@dataclass(frozen=True)
class Subscription:
    """What one person wants to hear of.

    Attributes:
        plates: patterns of barcodes, with ``*``, ``?`` and ``[…]``; capitals count.
        projects: patterns of projects' names, likewise.
        created: inspections that were scored before are not told.
        token: who knows it may end the subscription.
        added: when a pattern was added that was not there at first, by ``plates`` or ``projects`` and the pattern: of
            what fits it alone, nothing is told that was scored before.
    """

    address: str
    plates: tuple[str, ...]
    created: datetime
    token: str
    projects: tuple[str, ...] = ()
    added: Mapping[str, Mapping[str, datetime]] = field(default_factory=dict[str, Mapping[str, datetime]])

    def since(self, plate: str, projects: Collection[str]) -> datetime | None:
        """From when on a plate's scores are told: when the first pattern was added that fits it or one of its projects.

        Without such a pattern it is None.
        """
        fitting = [
            self.added.get(kind, {}).get(pattern, self.created)
            for kind, patterns, names in (("plates", self.plates, (plate,)), ("projects", self.projects, projects))
            for pattern in patterns
            if any(fnmatchcase(name, pattern) for name in names)
        ]
        return min(fitting, default=None)

    @property
    def wanted(self) -> str:
        """What it is about, as people read it: ``plates ABC*, XYZ1 and projects lysozyme``."""
        parts = [f"{what} {', '.join(names)}" for what, names in (("plates", self.plates), ("projects", self.projects))]
        return " and ".join(part for part in parts if not part.endswith(" "))


class Subscriptions:
    """The subscriptions of a deployment, in a folder of its data. Every change is whole, and one at a time.

    Raises (from all methods):
        ConfigurationError: a file is damaged; nothing is written over it.
        OSError: the folder cannot be read or written.
    """

    def __init__(self, data: Path) -> None:
        self._folder = data / "subscriptions"
        self._people, self._told = self._folder / "subscriptions.json", self._folder / "told.json"

    def all(self) -> list[Subscription]:
        """Every subscription, by address."""
        found = _read(self._people)
        try:
            known = [
                Subscription(
                    str(address),
                    tuple(each["plates"]),
                    datetime.fromisoformat(each["created"]),
                    each["token"],
                    tuple(each.get("projects", ())),  # an earlier release wrote none, and nothing of when one was added
                    {
                        kind: {pattern: datetime.fromisoformat(at) for pattern, at in patterns.items()}
                        for kind, patterns in each.get("added", {}).items()
                    },
                )
                for address, each in found.items()
            ]
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise _damaged(self._people) from error
        return sorted(known, key=lambda each: each.address)

    def add(self, address: str, plates: Sequence[str], now: datetime, projects: Sequence[str] = ()) -> Subscription:
        """Adds patterns to what somebody has subscribed to. Doing it again changes nothing.

        Raises:
            ConfigurationError: this is no address, or there is no pattern.
        """
        if len(address) > LONGEST_ADDRESS or not ADDRESS.fullmatch(address):
            raise ConfigurationError(f"{address!r} is no address of mail like name@facility.org.")
        of_plates, of_projects = (
            [pattern.strip() for pattern in patterns if pattern.strip()] for patterns in (plates, projects)
        )
        if not of_plates and not of_projects:
            raise ConfigurationError(
                "Say which plates or projects: --plates 'ABC*', --projects lysozyme, or --plates '*' for all."
            )
        with self._changing():
            known = {each.address.casefold(): each for each in self.all()}
            before = known.get(address.casefold())
            was = before or Subscription(address, tuple(of_plates), now, secrets.token_urlsafe(24), tuple(of_projects))
            made = replace(
                was,
                plates=tuple(dict.fromkeys((*was.plates, *of_plates))),
                projects=tuple(dict.fromkeys((*was.projects, *of_projects))),
                added={
                    "plates": {**dict.fromkeys(set(of_plates) - set(was.plates), now), **was.added.get("plates", {})},
                    "projects": {
                        **dict.fromkeys(set(of_projects) - set(was.projects), now),
                        **was.added.get("projects", {}),
                    },
                },
            )
            self._write([*(each for each in known.values() if each != before), made])
        return made

    def remove(self, address: str) -> Subscription | None:
        """Ends what somebody has subscribed to, and forgets what they were told. None if there is nothing to end."""
        with self._changing():
            known = self.all()
            gone = next((each for each in known if each.address.casefold() == address.casefold()), None)
            if gone:
                self._write([each for each in known if each != gone])
                told = _read(self._told)
                if told.pop(gone.address, None) is not None:
                    _write(self._told, told)
        return gone

    def of_token(self, token: str) -> Subscription | None:
        """The subscription that a token ends."""
        given = token.encode(errors="replace")
        return next((each for each in self.all() if hmac.compare_digest(each.token.encode(), given)), None)

    def told(self) -> Mapping[str, Mapping[str, str]]:
        """By address, the inspections that somebody was told of, as :func:`key_of` names them, and when."""
        return _read(self._told)

    @contextmanager
    def telling(self, now: datetime) -> Generator["Telling"]:
        """Holds what was told while more is told: two that tell at once do so one after the other."""
        with self._changing():
            telling = Telling(_read(self._told), {each.token for each in self.all()}, now)
            try:
                yield telling
            finally:
                if telling.changed:
                    _write(self._told, telling.remembered())

    @contextmanager
    def _changing(self) -> Generator[None]:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with locked(self._folder / "subscriptions.lock", LOCK_WAIT_S):
            yield

    def _write(self, known: Iterable[Subscription]) -> None:
        _write(
            self._people,
            {
                each.address: {
                    "plates": list(each.plates),
                    "projects": list(each.projects),
                    "created": each.created.isoformat(),
                    "token": each.token,
                    "added": {
                        kind: {pattern: at.isoformat() for pattern, at in sorted(patterns.items())}
                        for kind, patterns in each.added.items()
                    },
                }
                for each in known
            },
        )


class Telling:
    """What has been told, while it grows."""

    def __init__(self, told: dict[str, Any], tokens: Collection[str], now: datetime) -> None:
        self._told, self._tokens, self._now = told, tokens, now
        self.changed = False

    def is_due(self, subscription: Subscription, key: str) -> bool:
        """Whether somebody is still to be told of an inspection: they were not, and have not unsubscribed meanwhile."""
        return subscription.token in self._tokens and key not in self._told.get(subscription.address, {})

    def add(self, address: str, key: str) -> None:
        """Remembers that somebody is told of an inspection."""
        self._told.setdefault(address, {})[key] = self._now.isoformat()
        self.changed = True

    def remembered(self) -> dict[str, Any]:
        """What is still to be remembered."""
        oldest = (self._now - TOLD_FOR).isoformat()
        return {address: {key: at for key, at in keys.items() if at >= oldest} for address, keys in self._told.items()}


def unmatched(patterns: Iterable[str], names: Collection[str]) -> dict[str, list[str]]:
    """The patterns that fit none of the names, each with the names that it would fit if capitals did not count."""
    return {
        pattern: sorted(name for name in names if fnmatchcase(name.casefold(), pattern.casefold()))
        for pattern in patterns
        if not any(fnmatchcase(name, pattern) for name in names)
    }


def key_of(inspection_id: int, plate: str) -> str:
    """What tells an inspection from others. After a restored backup its number alone may be another one's."""
    return f"{inspection_id}:{plate}"


def _read(file: Path) -> dict[str, Any]:
    try:
        found: Any = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise _damaged(file) from error
    if not isinstance(found, dict):
        raise _damaged(file)
    return found  # pyright: ignore[reportUnknownVariableType]


def _damaged(file: Path) -> ConfigurationError:
    return ConfigurationError(
        f"{file} cannot be read as what C4 writes: take it from the last backup, or remove it. Without "
        "subscriptions.json nobody is subscribed; without told.json, mails of the last days may come twice."
    )


def _write(file: Path, content: Mapping[str, Any]) -> None:
    with atomic_write(file) as temporary:
        temporary.touch(mode=0o600)
        temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")
