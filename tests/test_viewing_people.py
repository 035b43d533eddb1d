"""Which of all that people said of an image counts."""

from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from resources.imaging_database.human_scores import standing
from resources.imaging_database.schema import scores
from resources.imaging_database.viewing.people import effective_human_score, people_of, said_in
from resources.imaging_database.viewing.records import PersonScore
from resources.imaging_database.viewing.relations import site_relations
from tests.conftest import noon
from tests.viewed_site import AT, Site, new_site


def said(number: int, person: str, class_name: str, minute: int | None = None) -> PersonScore:
    at = AT + timedelta(minutes=number if minute is None else minute)
    return PersonScore(number, 1, person, class_name, None, at)


def counts(*rows: PersonScore) -> int | None:
    score = effective_human_score(rows)
    assert score == effective_human_score(reversed(rows)), "whatever their order"
    return score and score.score_id


def test_the_newest_score_of_any_person_counts() -> None:
    assert counts(said(1, "ana", "clear"), said(2, "ben", "skin")) == 2
    assert counts(said(1, "ana", "clear", 5), said(2, "ben", "skin", 4)) == 1
    assert counts(said(1, "ana", "clear", 5), said(2, "ben", "skin", 5)) == 2, "of one moment the one entered last"
    assert counts() is None


def test_a_withdrawal_takes_back_all_that_its_giver_said_before_and_nobody_elses() -> None:
    ana, again, ben, withdrawn = said(1, "ana", "clear"), said(2, "ana", "skin"), said(3, "ben", "needles"), "withdrawn"
    assert counts(ana, again, said(4, "ana", withdrawn)) is None
    assert counts(ana, ben, said(4, "ana", withdrawn)) == 3
    assert counts(ana, ben, said(4, "ben", withdrawn)) == 1
    assert counts(ana, said(4, "ana", withdrawn), said(5, "ana", "skin")) == 5, "what is said later counts again"
    assert counts(said(4, "ana", withdrawn)) is None


@pytest.fixture
def site(database_url: str) -> Site:
    made = new_site(database_url)
    made.image_plate("P1", noon(2), ["A01", "A02"])
    return made


EVENTS = st.lists(
    st.tuples(
        st.sampled_from([1, 2]),
        st.sampled_from(["ana", "ben"]),
        st.sampled_from(["clear", "needles", "withdrawn"]),
        st.integers(0, 3),
    ),
    max_size=8,
)


def test_the_database_leaves_out_exactly_what_python_leaves_out(site: Site) -> None:
    @settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.too_slow])
    @given(EVENTS)
    def holds(events: list[tuple[int, str, str, int]]) -> None:
        with site.database.writing() as connection:
            connection.execute(scores.delete())
        for image_id, person, class_name, minute in events:
            site.say(image_id, person, class_name, minute)
        with site.database.reading() as connection:
            relations = site_relations(site.database, connection)
            human = said_in(relations)
            counted = set(connection.scalars(select(human.rows.c.id).where(human.stands())))
            people = people_of(connection, relations, [1, 2])
        assert counted == {score.score_id for rows in people.values() for score in standing(rows)}
        assert sum(map(len, people.values())) == len(events)

    holds()
