"""Who may see what: of a plate that one may not see, every query answers as of one that does not exist."""

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from sqlalchemy import text

from resources.errors import C4Error
from resources.imaging_database import ImagingDatabase, viewing
from resources.imaging_database.schema import plate_access
from resources.imaging_database.viewing import relations
from resources.imaging_database.viewing.best import best_over_time
from resources.imaging_database.viewing.drops import drop_over_time, image, inspection
from resources.imaging_database.viewing.find_plates import PlateSearch, find_plates
from resources.imaging_database.viewing.inspections import newest_inspections, plate
from resources.imaging_database.viewing.lists import likeliest_crystals, missed_crystals, scores_of_person
from resources.imaging_database.viewing.relations import EVERYTHING, Viewer
from tests.conftest import noon
from tests.viewed_site import AT, VERSION, Site, new_site

SPAN = AT - timedelta(hours=1), AT + timedelta(hours=1)

Ask = Callable[[ImagingDatabase, Viewer], Any]

QUERIES: Mapping[Callable[..., Any], Ask] = {
    newest_inspections: lambda database, who: newest_inspections(database, VERSION, 2, who).rows,
    plate: lambda database, who: plate(database, VERSION, 2, "P1", who),
    find_plates: lambda database, who: find_plates(database, PlateSearch(), who).rows,
    inspection: lambda database, who: inspection(database, 1, who),
    image: lambda database, who: image(database, 1, who),
    drop_over_time: lambda database, who: drop_over_time(database, "P1", "A01", 1, who),
    best_over_time: lambda database, who: best_over_time(database, 1, VERSION, who),
    likeliest_crystals: lambda database, who: likeliest_crystals(database, VERSION, *SPAN, who).rows,
    missed_crystals: lambda database, who: missed_crystals(database, VERSION, *SPAN, who, "people").rows,
    scores_of_person: lambda database, who: scores_of_person(database, ["ana"], VERSION, who).rows,
}

MEMBER, STRANGER, NOBODY = Viewer(frozenset({"eva", "ana"})), Viewer(frozenset({"ben", ""})), Viewer(frozenset())

query = pytest.mark.parametrize("ask", QUERIES.values(), ids=[function.__name__ for function in QUERIES])


def test_every_query_of_pages_is_asked_for_somebody_and_is_tested_here() -> None:
    functions: set[Callable[..., Any]] = set()
    for module in pkgutil.iter_modules(viewing.__path__, f"{viewing.__name__}."):
        for name, function in inspect.getmembers(importlib.import_module(module.name), inspect.isfunction):
            arguments = inspect.signature(function).parameters
            if function.__module__ == module.name and "database" in arguments and not name.startswith("_"):
                functions.add(function)
    assert functions - {relations.site_relations} == set(QUERIES)
    assert all("who" in inspect.signature(function).parameters for function in QUERIES)


@pytest.fixture
def site(database_url: str) -> Site:
    """One plate that answers every query, and no rules."""
    made = new_site(database_url)
    made.image_plate("P1", noon(2), ["A01"])
    made.score({1: 0.9})
    made.say(1, "ana", "clear")
    return made


@query
def test_where_a_site_has_no_rules_everybody_sees_every_plate(site: Site, ask: Ask) -> None:
    assert ask(site.database, EVERYTHING)
    assert ask(site.database, STRANGER) == ask(site.database, NOBODY) == ask(site.database, EVERYTHING)


@query
def test_where_a_site_has_rules_a_plate_is_seen_by_its_members_alone(site: Site, ask: Ask) -> None:
    rows = [{"plate_id": 1, "member": "ana"}, {"plate_id": 1, "member": "eva"}, {"plate_id": 99, "member": "ben"}]
    site.add_relation(plate_access, rows)
    seen = ask(site.database, MEMBER)
    assert seen
    assert seen == ask(site.database, EVERYTHING), "two names of one person give each row once"
    nothing = ask(site.database, STRANGER)
    assert not nothing
    assert ask(site.database, NOBODY) == nothing
    with site.database.writing() as connection:
        for table in ("scores", "c4_image_failures", "images", "inspections", "plates"):
            connection.execute(text(f"delete from {table}"))
    assert ask(site.database, EVERYTHING) == nothing, "as if there were no such plate"


@pytest.mark.parametrize("kind", ["sqlite"])
def test_a_person_with_thousands_of_names_is_asked_for_in_lists_that_oracle_takes(site: Site) -> None:
    site.add_relation(plate_access, [{"plate_id": 1, "member": "name 2500"}])
    names = frozenset(f"name {number}" for number in range(3000))
    assert inspection(site.database, 1, Viewer(names)) is not None


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_rules_that_a_site_adds_are_obeyed_a_minute_later_and_are_not_forgotten_when_the_view_goes(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = partial(inspection, site.database, 1, STRANGER)
    assert ask() is not None
    site.add_relation(plate_access, [{"plate_id": 1, "member": "ana"}])
    assert ask() is not None
    monkeypatch.setattr(relations, "LOOK_AGAIN_S", 0.0)
    assert ask() is None
    with site.database.writing() as connection:
        plate_access.drop(connection)
    with pytest.raises(C4Error):
        ask()
