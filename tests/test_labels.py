"""Labels through the weekly job: what people said, the checks that find fault with it, and what Ashes leaves out."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from c4_assets.checks.catalogue import checks_of
from c4_assets.labels.agreement import (
    cohens_kappa,
    crossed,
    fleiss_kappa,
    labeller_agreements,
    near_duplicates,
    newest,
    one_against_the_rest,
)
from c4_assets.labels.people import People
from resources.archive.label_archive import read_labels
from resources.archive.people import numbers_of
from resources.imaging_database.schema import score_classes, scores
from resources.records import CATEGORIES, HumanLabel
from tests.check_results import evaluations, failed, named
from tests.conftest import Facility, noon, photograph
from tests.test_graph import metadata

NOW = noon(0)
MONDAY = (NOW - timedelta(days=NOW.weekday())).replace(hour=0)
LABELLED = MONDAY + timedelta(hours=1)
PATHS = [f"P1/{n:02d}.jpg" for n in range(24)]

Classes = Mapping[str, str]


@pytest.fixture
def labelled(facility: Facility) -> Facility:
    """A facility with 24 scored images, imaged two weeks ago."""
    facility.add_plate("P1", {f"{n:02d}.jpg": photograph(n) for n in range(24)}, noon(14))
    facility.score(noon(14))
    return facility


def machine(facility: Facility) -> dict[str, str]:
    """What the machine says, by path."""
    query = (
        "select i.path, c.name from scores s join images i on i.id = s.image_id "
        "join score_classes c on c.id = s.score_class_id where s.scorer_version is not null order by i.path"
    )
    return {row.path: row.name for row in facility.rows(query)}


def label(facility: Facility, human: str, classes: Classes, at: datetime = LABELLED) -> None:
    """Enters scores as a site's own application does: one row each, whatever is there."""
    with facility.database.writing() as connection:
        class_ids = {row.name: row.id for row in connection.execute(score_classes.select())}
        image_ids = {row.path: row.id for row in connection.execute(text("select id, path from images"))}
        rows = [
            {"image_id": image_ids[p], "score_class_id": class_ids[name], "scorer": human, "scored_at": at}
            for p, name in classes.items()
        ]
        connection.execute(scores.insert(), rows)


def collect(facility: Facility) -> dg.ExecuteInProcessResult:
    return facility.run("collect_disagreements", MONDAY.date().isoformat())


def shifted(classes: Classes, paths: Sequence[str] = PATHS) -> dict[str, str]:
    """The next category for some of the images."""
    after: dict[str, str] = dict(zip(CATEGORIES, (*CATEGORIES[1:], CATEGORIES[0]), strict=True))
    return {path: after[name] if path in paths else name for path, name in classes.items()}


def test_sound_labels_pass_every_check_and_are_kept(labelled: Facility) -> None:
    for human in ("ana", "ben"):
        label(labelled, human, machine(labelled))
    result = collect(labelled)
    assert failed(result) == {}
    assert set(evaluations(result)) == {check.name for check in checks_of("human_labels")}
    kept = read_labels(labelled.archive, MONDAY.date())[MONDAY.date()]
    assert len(kept) == 48
    assert all(each.perceptual_hash and len(each.perceptual_hash) == 32 for each in kept)
    shown = metadata(result, "human_labels")
    assert (shown["people"], shown["people kappa"], shown["machine agreement"]) == (2, 1.0, 1.0)


def test_a_week_without_labels_passes(labelled: Facility) -> None:
    assert failed(collect(labelled)) == {}


def test_a_class_that_is_mapped_to_no_known_category_is_left_out_of_ashes(labelled: Facility) -> None:
    with labelled.database.writing() as connection:
        connection.execute(text("update score_classes set category = 'cristals' where name = 'needles'"))
    wrong = shifted({PATHS[0]: machine(labelled)[PATHS[0]]})
    label(labelled, "ana", {PATHS[3]: "needles", PATHS[4]: "bad image", **wrong})
    result = collect(labelled)
    assert result.success, "a label is left out, not the week"
    assert set(failed(result)) == {"label_class_known"}
    assert failed(result)["label_class_known"].severity == dg.AssetCheckSeverity.ERROR
    assert "needles" in named(failed(result)["label_class_known"])
    assert "bad image" not in named(failed(result)["label_class_known"])
    information = evaluations(result)["label_class_mapped"]
    assert information.passed, "information never fails"
    assert "bad image" in named(information)
    assert metadata(result, "human_labels")["labels left out"] == 1
    ashes = metadata(result, "ashes_disagreements")
    assert (ashes["images whose label is left out"], ashes["images of an unmapped class"]) == (0, 2)
    assert ashes["images compared"] == 1


def test_a_label_older_than_its_image_is_left_out_of_ashes(facility: Facility) -> None:
    facility.add_plate("P1", {f"{n:02d}.jpg": photograph(n) for n in range(24)}, LABELLED + timedelta(minutes=30))
    facility.score(LABELLED)
    label(facility, "ana", shifted(machine(facility), PATHS[:1]))
    label(facility, "ben", {PATHS[5]: "clear"}, LABELLED + timedelta(minutes=40))
    result = collect(facility)
    assert set(failed(result)) == {"label_after_imaging"}
    assert failed(result)["label_after_imaging"].metadata["offending"].value == 24
    kept = read_labels(facility.archive, MONDAY.date())[MONDAY.date()]
    assert {each.left_out for each in kept if each.label.human == "ana"} == {"label_after_imaging"}
    assert metadata(result, "ashes_disagreements")["images compared"] == 1


def test_a_scorer_that_is_a_machine_or_nobody_is_named(labelled: Facility) -> None:
    seen = machine(labelled)
    label(labelled, labelled.scorer_version, {PATHS[0]: seen[PATHS[0]]})
    label(labelled, " ", {PATHS[1]: seen[PATHS[1]]})
    label(labelled, "ana", {PATHS[2]: seen[PATHS[2]]})
    result = collect(labelled)
    assert set(failed(result)) == {"label_scorer_known"}
    assert failed(result)["label_scorer_known"].metadata["offending"].value == 2


def test_two_labels_of_one_moment_by_one_person_are_named_and_a_newer_one_just_counts(labelled: Facility) -> None:
    seen = machine(labelled)
    once = {path: seen[path] for path in PATHS[:2]}
    label(labelled, "ana", shifted(once))
    label(labelled, "ana", {PATHS[0]: once[PATHS[0]]}, LABELLED + timedelta(minutes=1))
    label(labelled, "ana", {PATHS[1]: once[PATHS[1]]})
    result = collect(labelled)
    assert set(failed(result)) == {"labels_not_contradictory"}
    contradictory = failed(result)["labels_not_contradictory"]
    assert contradictory.metadata["offending"].value == 1
    assert "A02" in named(contradictory)
    assert metadata(result, "human_labels")["images labelled again otherwise"] == 2


def test_people_who_do_not_agree_are_a_warning(labelled: Facility) -> None:
    seen = machine(labelled)
    label(labelled, "ana", seen)
    label(labelled, "ben", shifted(seen, PATHS[:16]))
    label(labelled, "ana", seen, LABELLED + timedelta(minutes=1))
    result = collect(labelled)
    assert "people_agree" in failed(result)
    assert set(failed(result)) <= {"people_agree", "people_agree_with_the_machine"}


def test_people_who_agree_with_each_other_but_not_with_the_machine_are_a_warning(labelled: Facility) -> None:
    for human in ("ana", "ben"):
        label(labelled, human, shifted(machine(labelled), PATHS[:18]))
    result = collect(labelled)
    assert set(failed(result)) == {"people_agree_with_the_machine"}
    assert "0." in named(failed(result)["people_agree_with_the_machine"])


def test_somebody_who_labels_unlike_everybody_else_is_told_by_number(labelled: Facility) -> None:
    seen = machine(labelled)
    for human in ("ana", "ben", "cleo", "dan"):
        label(labelled, human, seen)
    label(labelled, "eve", shifted(seen, PATHS[:12]))
    result = collect(labelled)
    assert set(failed(result)) == {"nobody_labels_alone"}
    called = People(labelled.settings).called(["ana", "eve"])
    assert called["eve"] in named(failed(result)["nobody_labels_alone"])
    assert called["ana"] not in named(failed(result)["nobody_labels_alone"])


def test_a_category_that_nobody_labels_is_told(labelled: Facility) -> None:
    label(labelled, "ana", dict.fromkeys(PATHS, "clear"))
    result = collect(labelled)
    balance = evaluations(result)["categories_balanced"]
    assert balance.passed
    assert balance.metadata["offending"].value == 3


def test_images_that_look_the_same_and_are_labelled_otherwise_are_named(facility: Facility) -> None:
    images = {f"{n:02d}.jpg": photograph(n) for n in range(23)}
    facility.add_plate("P1", {**images, "23.png": repacked(photograph(3))}, noon(14))
    facility.score(noon(14))
    label(facility, "ana", {PATHS[3]: "clear", "P1/23.png": "crystals", PATHS[4]: "clear", PATHS[5]: "crystals"})
    result = collect(facility)
    assert set(failed(result)) == {"near_duplicates_labelled_alike"}
    evaluation = failed(result)["near_duplicates_labelled_alike"]
    assert evaluation.metadata["offending"].value == 1
    assert "| P1 | A04 | 1 | P1 | A24 | 1 |" in named(evaluation)
    assert str(evaluation.metadata["pictures"].value).startswith("![contact sheet]")


def test_a_near_duplicate_of_a_held_out_image_among_earlier_labels_is_named(
    make_facility: type[Facility], tmp_path: Path
) -> None:
    facility = make_facility(checks={"labels": {"held_out_plates": ["HELD-*"]}})  # pyright: ignore[reportCallIssue]
    facility.add_plate("P1", {f"{n:02d}.jpg": photograph(n) for n in range(24)}, noon(21))
    facility.add_plate("HELD-1", {"a.png": repacked(photograph(3)), "b.jpg": photograph(50)}, noon(20))
    facility.score(noon(21))
    facility.score(noon(20))
    label(facility, "ana", {PATHS[3]: "clear"}, LABELLED - timedelta(weeks=1))
    facility.run("collect_disagreements", (MONDAY - timedelta(weeks=1)).date().isoformat())
    label(facility, "ana", {"HELD-1/a.png": "clear", "HELD-1/b.jpg": "clear"})
    result = collect(facility)
    assert set(failed(result)) == {"near_duplicates_on_one_side"}
    assert "HELD-1" in named(failed(result)["near_duplicates_on_one_side"])


def repacked(data: bytes) -> bytes:
    """The same picture in another file."""
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.open(io.BytesIO(data)).save(buffer, "PNG")
    return buffer.getvalue()


def texts(result: dg.ExecuteInProcessResult, docs: Path) -> str:
    """All that a run shows of itself: its metadata, its checks' and the pages that it wrote."""
    shown = [
        str(value.value)
        for event in result.get_asset_materialization_events()
        for value in event.materialization.metadata.values()
    ]
    shown += [str(value.value) for each in result.get_asset_check_evaluations() for value in each.metadata.values()]
    return "\n".join([*shown, *(page.read_text() for page in docs.rglob("*.html"))])


def test_nobody_is_named_on_a_page_and_everybody_keeps_a_number(make_facility: Callable[..., Facility]) -> None:
    people = ("Ana Example", "Ben Example", "Cleo Example", "Dan Example")
    facility = make_facility()
    facility.add_plate("P1", {f"{n:02d}.jpg": photograph(n) for n in range(24)}, noon(14))
    facility.score(noon(14))
    seen = machine(facility)
    for human in people[:3]:
        label(facility, human, seen)
    label(facility, people[3], shifted(seen))
    told = texts(collect(facility), facility.settings.data_docs)
    assert "Example" not in told
    assert {f"person {number}" for number in (1, 2, 3, 4)} <= set(re.findall(r"person \d+", told))
    file = facility.settings.data / "people.json"
    assert file.stat().st_mode & 0o777 == 0o600
    assert set(json.loads(file.read_text())) == set(people)
    (kept,) = read_labels(facility.archive, MONDAY.date()).values()
    assert {each.label.human for each in kept} == set(people), "the archive keeps who it was"


def test_a_site_may_have_people_named(make_facility: Callable[..., Facility]) -> None:
    facility = make_facility(ui={"show_names": True})
    facility.add_plate("P1", {f"{n:02d}.jpg": photograph(n) for n in range(24)}, noon(14))
    facility.score(noon(14))
    label(facility, "Ana Example", shifted(machine(facility)))
    told = texts(collect(facility), facility.settings.data_docs)
    assert "Ana Example" in told
    assert not re.findall(r"person \d", told)
    assert not (facility.settings.data / "people.json").exists()


def test_whoever_comes_later_gets_the_next_number(tmp_path: Path) -> None:
    file = tmp_path / "people.json"
    first = numbers_of(file, ["ana", "ben"])
    later = numbers_of(file, ["aaron", "ben", "ana"])
    assert sorted(first.values()) == [1, 2]
    assert {**later, **first} == later
    assert later["aaron"] == 3


def test_numbers_do_not_follow_the_alphabet(tmp_path: Path) -> None:
    names = [f"{letter}{number}" for letter in "abcdefgh" for number in range(5)]
    numbers = numbers_of(tmp_path / "people.json", names)
    assert sorted(numbers.values()) == list(range(1, 41))
    assert sorted(names, key=numbers.__getitem__) != sorted(names)


def test_two_processes_give_nobody_the_same_number(tmp_path: Path) -> None:
    file = tmp_path / "people.json"
    program = "import sys; from pathlib import Path; from resources.archive.people import numbers_of\n"
    program += "for n in range(20): numbers_of(Path(sys.argv[1]), [f'{sys.argv[2]}{n}', 'both'])"
    command = [sys.executable, "-c", program, str(file)]
    started = [subprocess.Popen([*command, each], cwd=Path(__file__).parents[1]) for each in ("a", "b", "c")]
    assert [each.wait(60) for each in started] == [0, 0, 0]
    known = json.loads(file.read_text())
    assert sorted(known.values()) == list(range(1, 62))


@pytest.mark.parametrize("content", [b"", b"[1", b"[]", b'{"ana": "x"}', b"\xff\xfe"])
def test_a_file_of_numbers_that_cannot_be_read_is_kept_and_begun_anew(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "people.json"
    file.write_bytes(content)
    assert numbers_of(file, ["ana"]) == {"ana": 1}
    assert file.with_suffix(".unreadable").read_bytes() == content


def test_a_blank_name_is_nobodys(facility: Facility) -> None:
    assert People(facility.settings).called(["", " ", "ana"]) == {"": "", " ": " ", "ana": "person 1"}


def said(human: str, image: int, category: str, minute: int = 0, score_id: int = 0) -> HumanLabel:
    at = datetime(2026, 3, 2, 12, minute, tzinfo=UTC)
    return HumanLabel(score_id, image, 1, "P", at, "A01", 1, "p", human, category, True, category, at, "clear")


def test_the_newest_label_of_each_person_counts() -> None:
    labels = [said("ana", 1, "clear", 2), said("ana", 1, "other", 1), said("ben", 1, "crystals")]
    assert {(each.human, each.category) for each in newest(labels)} == {("ana", "clear"), ("ben", "crystals")}


def test_kappa_is_that_of_the_textbook() -> None:
    # Cohen's own example of the form: 20 + 15 agreements of 50, kappa 0.4.
    assert cohens_kappa([[20, 5], [10, 15]]) == pytest.approx(0.4)
    assert cohens_kappa([[7, 0], [0, 0]]) is None, "chance alone agrees as well"
    assert cohens_kappa([[0, 0], [0, 0]]) is None


categories = st.sampled_from(CATEGORIES)


@given(st.lists(st.tuples(categories, categories), min_size=1))
def test_kappa_knows_no_order_and_is_one_at_most(pairs: list[tuple[str, str]]) -> None:
    there, back = cohens_kappa(crossed(pairs)), cohens_kappa(crossed((b, a) for a, b in pairs))
    assert there == pytest.approx(back) if there is not None else back is None
    assert there is None or there <= 1 + 1e-12
    for category in range(4):
        (both, first), (second, neither) = one_against_the_rest(crossed(pairs), category)
        assert both + first + second + neither == len(pairs)
        assert min(both, first, second, neither) >= 0


@given(st.lists(st.dictionaries(st.sampled_from("abcde"), categories, min_size=1)))
def test_people_who_always_agree_have_no_kappa_below_one_and_nobody_stands_out(opinions: list[dict[str, str]]) -> None:
    alike = [dict.fromkeys(each, min(each.values())) for each in opinions]
    assert fleiss_kappa(alike) in (None, pytest.approx(1))
    assert {person.agreement for person in labeller_agreements(alike, 1)} <= {None, 1.0}


@given(st.dictionaries(st.integers(0, 50), st.binary(min_size=4, max_size=4), min_size=1), st.integers(0, 32))
def test_near_duplicates_are_all_pairs_within_the_bits(hashes: dict[int, bytes], bits: int) -> None:
    def apart(one: bytes, other: bytes) -> int:
        return (int.from_bytes(one) ^ int.from_bytes(other)).bit_count()

    expected = [(a, b, apart(hashes[a], hashes[b])) for a in hashes for b in hashes if a < b]
    assert near_duplicates(hashes, hashes, bits) == sorted(row for row in expected if row[2] <= bits)
