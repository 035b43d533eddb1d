"""Which message of Slack began the thread of an incident: one small file, read and written whole."""

import json
import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

from resources.atomic_write import atomic_write
from resources.errors import C4Error
from resources.file_lock import locked

log = logging.getLogger("c4.alerts")

THREAD_KEPT_FOR = timedelta(days=90)
"""How long a thread is remembered after its first message. An incident that lasts longer begins a new one."""

LOCK_S = 5


@dataclass(frozen=True)
class Threads:
    """Remembers threads in a file. A file that cannot be read or written costs threads, never a message."""

    file: Path

    def of(self, key: str) -> str | None:
        """The time-stamp of the message that began a thread, if one did."""
        return self._read().get(key, ("", ""))[0] or None

    def remember(self, key: str, ts: str, at: datetime) -> None:
        """Keeps the time-stamp of the message that began a thread, and forgets old ones."""
        moment = at if at.tzinfo else at.replace(tzinfo=UTC)
        oldest = (moment - THREAD_KEPT_FOR).astimezone(UTC).isoformat()
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with locked(self.file.with_suffix(".lock"), LOCK_S):
                known = {each: found for each, found in self._read().items() if found[1] >= oldest}
                known[key] = (ts, moment.astimezone(UTC).isoformat())
                with atomic_write(self.file) as temporary:
                    temporary.write_text(json.dumps(known, indent=0))
        except (OSError, C4Error) as error:
            log.warning("%s cannot be written, so Slack will not thread: %s", self.file, error)

    def _read(self) -> dict[str, tuple[str, str]]:
        try:
            found = json.loads(self.file.read_text())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            log.warning("%s cannot be read, so Slack's threads begin anew: %s", self.file, error)
            return {}
        if not isinstance(found, dict):
            return {}
        entries = cast("dict[str, Any]", found).items()
        return {key: (str(each[0]), str(each[1])) for key, each in entries if isinstance(each, list) and len(each) == 2}  # pyright: ignore[reportUnknownArgumentType]
