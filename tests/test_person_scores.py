"""What people say on C4's pages: entered once, never in the place of another's, and taken back for all who read.

Every test runs on each of the databases that ``tests/databases.py`` knows.
"""

import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from resources.errors import ConfigurationError, DataError
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.audit import Actor
from resources.imaging_database.human_scores import HumanScores, newest_human_scores
from resources.imaging_database.labels import human_labels
from resources.imaging_database.people_tables import c4_audit, c4_people, c4_person_aliases
from resources.imaging_database.person_scores import Entered, effective, said_of, score_images, undo
from resources.imaging_database.register import NewImage, record_human_scores, register_inspection
from resources.imaging_database.schema import images, score_classes, scores
from tests.conftest import Facility

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
LATER = NOW + timedelta(weeks=50)
ANA, BEN = Actor("ana", "10.0.0.7"), Actor("ben", "10.0.0.8")


@pytest.fixture
def database(make_facility: Callable[..., Facility], database_url: str) -> ImagingDatabase:
    """A database of each kind, with one plate of six images."""
    made = make_facility(database={"url": database_url}).database
    register_inspection(made, "P1", NOW, None, [NewImage("A01", n, f"P1/{n}.jpg") for n in range(1, 7)])
    return made


def a_request() -> str:
    return str(uuid.uuid4())


def class_of(database: ImagingDatabase, name: str) -> int:
    with database.reading() as connection:
        return connection.execute(select(score_classes.c.id).where(score_classes.c.name == name)).scalar_one()


def say(
    database: ImagingDatabase,
    who: Actor,
    image_id: int,
    name: str | None,
    minutes: float = 0,
    request_id: str | None = None,
) -> Entered:
    """Enters one score, ``minutes`` after noon."""
    classes = {image_id: class_of(database, name) if name else None}
    return score_images(database, who, classes, NOW + timedelta(minutes=minutes), request_id or a_request(), {})


def counting(database: ImagingDatabase) -> dict[int, tuple[str, str]]:
    """Who said what, of the score that counts, by image."""
    pairs = newest_human_scores(database, "v", NOW - timedelta(weeks=1), LATER)
    return {pair.image_id: (pair.human, pair.human_class) for pair in pairs}


def labels(database: ImagingDatabase) -> list[tuple[int, str, str]]:
    found = human_labels(database, "v", NOW - timedelta(weeks=1), LATER)
    return [(label.image_id, label.human, label.human_class) for label in found]


def rows(database: ImagingDatabase) -> int:
    with database.reading() as connection:
        return len(connection.execute(select(scores.c.id)).all())


def test_a_score_is_a_row_of_a_person_with_its_file_and_whoever_is_newest_counts(database: ImagingDatabase) -> None:
    say(database, ANA, 1, "clear")
    say(database, BEN, 1, "needles", 1)
    with database.reading() as connection:
        found = connection.execute(select(scores).order_by(scores.c.id)).all()
        audited = connection.execute(select(c4_audit.c.person, c4_audit.c.address, c4_audit.c.action)).all()
    assert [(row.scorer, row.scorer_version, row.image_path) for row in found] == [
        ("ana", None, "P1/1.jpg"),
        ("ben", None, "P1/1.jpg"),
    ]
    assert counting(database) == {1: ("ben", "needles")}
    assert sorted(audited) == [("ana", "10.0.0.7", "score"), ("ben", "10.0.0.8", "score")]


def test_a_request_that_is_sent_again_writes_nothing_and_answers_the_same(database: ImagingDatabase) -> None:
    request_id = a_request()
    first = say(database, ANA, 1, "clear", request_id=request_id)
    say(database, ANA, 1, "needles", 1)
    again = say(database, ANA, 1, "clear", 2, request_id=request_id.upper())
    assert (first.repeated, again.repeated) == (False, True)
    assert again.score_ids == first.score_ids
    assert rows(database) == 2
    assert counting(database) == {1: ("ana", "needles")}


def test_whoever_was_not_shown_another_ones_score_hears_of_it_and_both_rows_stand(database: ImagingDatabase) -> None:
    clear = class_of(database, "clear")
    shown = say(database, ANA, 1, "clear").score_ids[1]
    say(database, BEN, 2, "needles", 1)
    say(database, ANA, 3, "skin", 1)
    say(database, ANA, 3, None, 2)
    answer = score_images(
        database, BEN, {1: clear, 2: clear, 3: clear, 4: clear}, NOW + timedelta(minutes=9), a_request(),
        {1: shown, 2: None, 3: 4711, 4: None},
    )  # fmt: skip
    assert [(each.image_id, each.seen, each.now.person if each.now else None) for each in answer.changed] == [
        (2, None, "ben"),
        (3, 4711, None),
    ]
    assert counting(database) == dict.fromkeys((1, 2, 3, 4), ("ben", "clear"))
    assert len([label for label in labels(database) if label[0] == 1]) == 2


def test_a_score_that_was_taken_back_is_no_label_and_another_persons_counts_again(database: ImagingDatabase) -> None:
    say(database, BEN, 1, "skin")
    say(database, ANA, 1, "clear", 1)
    say(database, ANA, 1, "needles", 2)
    say(database, ANA, 2, "clear", 2)
    for number in (1, 2):
        say(database, ANA, number, None, 3)
    assert counting(database) == {1: ("ben", "skin")}
    assert labels(database) == [(1, "ben", "skin")]
    say(database, ANA, 2, "needles", 4)
    assert counting(database)[2] == ("ana", "needles")


def test_a_week_does_not_change_by_what_is_taken_back_later_and_a_label_goes(database: ImagingDatabase) -> None:
    say(database, ANA, 1, "clear")
    week = timedelta(weeks=1)
    say(database, ANA, 1, None, minutes=8 * 24 * 60)
    assert [pair.human_class for pair in newest_human_scores(database, "v", NOW, NOW + week)] == ["clear"]
    assert newest_human_scores(database, "v", NOW + week, NOW + 2 * week) == []
    assert human_labels(database, "v", NOW, NOW + week) == []


def test_undoing_goes_back_through_all_that_a_person_said(database: ImagingDatabase) -> None:
    say(database, BEN, 1, "skin")
    requests = [a_request() for _ in range(3)]
    for minute, (request_id, name) in enumerate(zip(requests, ("clear", "needles", "plates"), strict=True), start=1):
        say(database, ANA, 1, name, minute, request_id)
    at = NOW + timedelta(hours=1)
    for request_id, left in zip(reversed(requests), ("needles", "clear", None), strict=True):
        undo(database, ANA, request_id, [1], at, a_request())
        assert counting(database)[1] == (("ana", left) if left else ("ben", "skin"))
    written = rows(database)
    assert undo(database, ANA, requests[0], [1], at, a_request()).repeated
    assert rows(database) == written, "once is enough"


def test_an_image_that_its_person_has_scored_since_is_not_undone(database: ImagingDatabase) -> None:
    request_id = a_request()
    clear = class_of(database, "clear")
    score_images(database, ANA, {1: clear, 2: clear}, NOW, request_id, {})
    say(database, ANA, 1, "needles", 1)
    done = undo(database, ANA, request_id, [1, 2], NOW + timedelta(minutes=2), a_request())
    assert list(done.score_ids) == [2]
    assert counting(database) == {1: ("ana", "needles")}


def test_a_clock_that_was_set_back_does_not_put_an_undo_before_its_score(database: ImagingDatabase) -> None:
    say(database, ANA, 1, "clear", minutes=5)
    say(database, ANA, 1, None, minutes=-60)
    assert counting(database) == {}


def test_a_number_that_is_another_images_by_now_takes_nothing_back(database: ImagingDatabase) -> None:
    say(database, ANA, 1, "clear")
    say(database, ANA, 1, None, 1)
    with database.writing() as connection:
        connection.execute(images.update().where(images.c.id == 1).values(path="P1/new.jpg"))
        row = {"image_id": 1, "score_class_id": class_of(database, "skin"), "scorer": "ana", "scored_at": NOW}
        connection.execute(scores.insert().values(row))  # as a LIMS enters it: without a path
    assert counting(database) == {1: ("ana", "skin")}
    with database.reading() as connection:
        (said,) = said_of(connection, HumanScores(False), [1])[1]
    assert said.score_class_id == class_of(database, "skin")


@pytest.mark.parametrize(
    ("classes", "message"), [({4711: 1}, "no image 4711"), ({1: 4711}, "no class 4711"), ({1: 1, 4711: 1}, "no image")]
)
def test_of_a_request_with_something_unknown_nothing_is_entered_and_it_may_come_again(
    database: ImagingDatabase, classes: dict[int, int], message: str
) -> None:
    request_id = a_request()
    with pytest.raises(DataError, match=message):
        score_images(database, ANA, dict(classes), NOW, request_id, {})
    assert rows(database) == 0
    assert not say(database, ANA, 1, "clear", request_id=request_id).repeated


def test_another_persons_request_is_neither_answered_nor_undone(database: ImagingDatabase) -> None:
    request_id = a_request()
    say(database, ANA, 1, "clear", request_id=request_id)
    with pytest.raises(DataError, match="another person's"):
        say(database, BEN, 1, "clear", request_id=request_id)
    with pytest.raises(DataError, match="another person's"):
        undo(database, BEN, request_id, [1], NOW, a_request())
    with pytest.raises(DataError, match="no UUID"):
        say(database, ANA, 1, "clear", request_id="1; drop table")
    assert counting(database) == {1: ("ana", "clear")}


def test_without_a_class_for_it_taking_back_is_refused_with_what_to_do(database: ImagingDatabase) -> None:
    with database.writing() as connection:
        connection.execute(score_classes.delete().where(score_classes.c.name == "withdrawn"))
    say(database, ANA, 1, "clear")
    with pytest.raises(ConfigurationError, match="seed-classes"):
        say(database, ANA, 1, None, 1)
    assert counting(database) == {1: ("ana", "clear")}


def test_eight_browsers_at_once_lose_no_score_and_double_none(database: ImagingDatabase) -> None:
    clear, skin = class_of(database, "clear"), class_of(database, "skin")
    requests = [(ANA if n % 2 else BEN, a_request(), {1: clear if n % 2 else skin, 1 + n % 6: skin}) for n in range(24)]
    answers: list[Entered] = []

    def send(number: int) -> None:
        who, request_id, classes = requests[number % 24]  # each is sent twice, as by an impatient browser
        answers.append(score_images(database, who, dict(classes), NOW, request_id, {}))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(send, [number for n in range(24) for number in (n, n)]))
    assert rows(database) == sum(len(classes) for _, _, classes in requests)
    assert sum(answer.repeated for answer in answers) == 24
    written = [frozenset(answer.score_ids.values()) for answer in answers]
    assert len(set(written)) == 24, "the second answer is the first one's"


@dataclass(frozen=True)
class Step:
    """Somebody says something, on a page or in the LIMS, which calls Ana «A. Okafor»."""

    who: str
    image_id: int
    name: str | None
    minutes: int


steps = st.lists(
    st.builds(
        Step,
        who=st.sampled_from(["ana", "ben", "A. Okafor"]),
        image_id=st.integers(1, 2),
        name=st.sampled_from(["clear", "needles", None]),
        minutes=st.integers(0, 3),
    ),
    max_size=9,
)


def expected(said: Sequence[Step]) -> dict[int, tuple[str, str]]:
    """The score that counts of each image: of all that was said, the newest that its person said after taking back."""
    ordered = sorted(enumerate(said), key=lambda each: (each[1].minutes, each[0]))
    standing_rows: dict[int, list[tuple[str, str]]] = {}
    for _, step in ordered:
        who = "ana" if step.who == "A. Okafor" else step.who
        of_image = standing_rows.setdefault(step.image_id, [])
        if step.name is None:
            of_image[:] = [each for each in of_image if each[0] != who]
        else:
            of_image.append((who, step.name))
    return {image_id: each[-1] for image_id, each in standing_rows.items() if each}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(said=steps)
def test_whatever_is_said_and_taken_back_sql_and_python_agree_with_the_model(
    database: ImagingDatabase, said: list[Step]
) -> None:
    numbers = {each: class_of(database, each) for each in ("clear", "needles", "withdrawn")}
    with database.writing() as connection:
        connection.execute(scores.delete())
        if connection.execute(select(c4_people.c.name)).first() is None:
            ana = {"name": "ana", "display_name": "Ana", "role": "scorer", "active": True, "created_at": NOW}
            connection.execute(c4_people.insert().values(ana))
            connection.execute(c4_person_aliases.insert().values(scorer="A. Okafor", person="ana"))
        for step in said:
            row = {
                "image_id": step.image_id,
                "score_class_id": numbers[step.name or "withdrawn"],
                "scorer": step.who,
                "scored_at": NOW + timedelta(minutes=step.minutes),
            }
            connection.execute(scores.insert().values(row))
    assert counting(database) == expected(said)
    names = {number: name for name, number in numbers.items()}
    with database.reading() as connection:
        found = {number: effective(each) for number, each in said_of(connection, HumanScores(False), [1, 2]).items()}
    assert {n: (each.person, names[each.score_class_id]) for n, each in found.items() if each} == expected(said)
    newest_labels = {image_id: (who, name) for image_id, who, name in labels(database)}
    assert newest_labels == expected(said)


def test_an_import_does_not_bring_back_what_was_taken_back(database: ImagingDatabase) -> None:
    record_human_scores(database, 1, "ana", NOW, {"P1/1.jpg": "clear"})
    say(database, ANA, 1, None, 1)
    assert record_human_scores(database, 1, "ana", NOW, {"P1/1.jpg": "clear"}) == 0
    assert counting(database) == {}
