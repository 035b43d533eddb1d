"""Where a list goes on: after the last row that was shown, whatever has been added since."""

from dataclasses import dataclass
from datetime import UTC, datetime
from math import isfinite
from typing import Any

from sqlalchemy import ColumnElement, and_, or_, true

from resources.records import LARGEST_NUMBER


@dataclass(frozen=True)
class Cursor:
    """The place of a row in a list that is ordered by a value, highest first, and then by a number, highest first.

    ``str`` of it goes into an address, and :meth:`parse` reads it.
    """

    value: datetime | float
    number: int

    def __str__(self) -> str:
        value = self.value.astimezone(UTC).isoformat() if isinstance(self.value, datetime) else repr(self.value)
        return f"{value.replace('+00:00', 'Z')}_{self.number}"

    @classmethod
    def parse(cls, text: str) -> "Cursor":
        """Reads what ``str`` has written.

        Raises:
            ValueError: it is something else.
        """
        before, _, after = text.rpartition("_")
        value = datetime.fromisoformat(before) if before.endswith("Z") else float(before)
        number = int(after)
        if not -LARGEST_NUMBER <= number <= LARGEST_NUMBER or (isinstance(value, float) and not isfinite(value)):
            raise ValueError(f"{text} is no place in a list")
        return cls(value, number)


def beyond(cursor: Cursor | None, value: ColumnElement[Any], number: ColumnElement[int]) -> ColumnElement[bool]:
    """The rows after a cursor, where a list is ordered by ``value`` and ``number``, both descending."""
    if cursor is None:
        return true()
    # The first condition is for the index; not every database sees that the second implies it.
    later = or_(value < cursor.value, number < cursor.number)
    return and_(value <= cursor.value, later)
