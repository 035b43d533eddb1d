"""What sensors and ``c4 status`` ask looks rows up and reads no table through: what the databases say themselves."""

import re
import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event, text

from resources.imaging_database import ImagingDatabase
from resources.imaging_database.crystals import decided_inspections, imaged_plates
from resources.imaging_database.labels import human_labels
from resources.imaging_database.work import newest_days, pending_by_day, pending_images, progress_by_day
from testing.postgresql import Server
from testing.scored_history import fill
from tests.conftest import Facility

NOW = datetime.now(UTC)

QUESTIONS: dict[str, Callable[[ImagingDatabase], object]] = {
    "poll": lambda database: pending_by_day(database, "v", 3, NOW - timedelta(days=30), due_only=True),
    "pending images": lambda database: pending_images(database, "v", 3, NOW.date()),
    "status": lambda database: progress_by_day(database, "v", 3, newest_days(database, 30)),
    "mails of crystals": lambda database: decided_inspections(
        database, "v", 3, [each.inspection_id for each in imaged_plates(database, NOW - timedelta(days=7), NOW)]
    ),
    "labels": lambda database: human_labels(database, "v", NOW - timedelta(days=7), NOW),
}

question = pytest.mark.parametrize("ask", QUESTIONS.values(), ids=QUESTIONS)


def plans(database: ImagingDatabase, ask: Callable[[ImagingDatabase], object], explain: str) -> Iterator[Sequence[Any]]:
    """The plan of every statement that a question needs, as rows."""
    asked: list[tuple[str, Any]] = []
    engine = database.engine

    def remember(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        asked.append((statement, parameters))

    event.listen(engine, "before_cursor_execute", remember)
    ask(database)
    event.remove(engine, "before_cursor_execute", remember)
    with engine.connect() as connection:
        for statement, parameters in asked:
            if re.search(r"\b(from|join) (images|inspections|scores)\b", statement, re.IGNORECASE):
                yield connection.exec_driver_sql(f"{explain} {statement}", parameters).all()


@pytest.fixture(scope="module")
def history(postgresql_server: Server) -> ImagingDatabase:
    """Two years of 250 images a day, scored."""
    name = f"history-{uuid.uuid4().hex}"
    database = ImagingDatabase(postgresql_server.address(name, "upgraded"))
    fill(database, images=180_000, a_day=250, scorer="v")
    return database


@question
def test_postgresql_reads_no_table_through(history: ImagingDatabase, ask: Callable[[ImagingDatabase], object]) -> None:
    seen = 0
    for plan in plans(history, ask, "EXPLAIN"):
        lines = "\n".join(str(row[0]) for row in plan)
        assert "Index" in lines
        for table in ("scores", "images", "inspections"):
            assert f"Seq Scan on {table}" not in lines, lines
        seen += 1
    assert seen >= 1


@question
def test_sqlite_reads_no_table_through(facility: Facility, ask: Callable[[ImagingDatabase], object]) -> None:
    with facility.database.writing() as connection:  # whatever statistics say, these lookups have an index
        connection.execute(text("insert into plates (id, barcode) values (1, 'P')"))
        row = {"at": (NOW - timedelta(days=1)).replace(tzinfo=None)}
        connection.execute(text("insert into inspections (id, plate_id, imaged_at) values (1, 1, :at)"), row)
    seen = 0
    for plan in plans(facility.database, ask, "EXPLAIN QUERY PLAN"):
        for *_, step in plan:
            assert not step.startswith("SCAN"), plan
        seen += 1
    assert seen >= 1
