"""Mails to those who subscribed to plates: who is told of what, once, and how they end it."""

import json
import re
import stat
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import text

from c4_assets.operations.alerts.records import Event, Message
from c4_assets.operations.channels.mail import compose
from c4_assets.operations.channels.words import DEFAULT_PLACE, cleaned
from c4_assets.operations.crystal_mails import Decider, Unsubscribing, message_of, news, tell
from resources.archive.subscriptions import Subscriptions
from resources.errors import ConfigurationError
from resources.imaging_database.contract import check
from resources.imaging_database.crystals import Crystal, crystals_of_inspection, decided_inspections
from resources.imaging_database.schema import plate_details
from resources.settings.subscriptions import Subscriptions as Choices
from tests.conftest import Facility, c4, noon, photograph

pytestmark = pytest.mark.usefixtures("judged_without_great_expectations")

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
WITHOUT_PICTURES = Choices()


@pytest.fixture
def subscriptions(tmp_path: Path) -> Subscriptions:
    """Nobody's yet."""
    return Subscriptions(tmp_path / "data")


def decider(facility: Facility) -> Decider:
    """As the deployment decides."""
    version = facility.models.current.version
    return Decider(version.name, version.crystal_threshold, facility.settings.runs.max_attempts)


def pictures_of_all(crystals: Sequence[Crystal]) -> list[bytes | None]:
    return [b"jpeg" for _ in crystals]


def told(
    facility: Facility,
    subscriptions: Subscriptions,
    choices: Choices = WITHOUT_PICTURES,
    now: datetime | None = None,
    pictures: Callable[[Sequence[Crystal]], list[bytes | None]] = pictures_of_all,
) -> list[Message]:
    """What is told now."""
    now, messages = now or datetime.now(UTC), list[Message]()
    found = news(subscriptions, facility.database, decider(facility), choices, now)
    tell(
        found,
        subscriptions,
        facility.database,
        decider(facility),
        choices,
        Unsubscribing(mailbox="c4@facility.org"),
        pictures,
        messages.append,
        now,
    )
    return messages


def scored(facility: Facility, plate: str, days_ago: int = 1, seeds: range = range(24)) -> int:
    """A plate whose inspection is scored; of 24 noisy pictures the stand-in calls some crystals."""
    number = facility.add_plate(plate, {f"{plate}-{seed}.jpg": photograph(seed) for seed in seeds}, noon(days_ago))
    facility.score(noon(days_ago))
    return number


def test_whoever_subscribed_to_a_plate_is_told_of_its_crystals_once_and_nobody_else_is(
    facility: Facility, subscriptions: Subscriptions
) -> None:
    subscriptions.add("ada@facility.org", ["ABC*"], LONG_AGO)
    subscriptions.add("bob@facility.org", ["XYZ*"], LONG_AGO)
    number = scored(facility, "ABC1")
    [message] = told(facility, subscriptions)
    assert (message.event, message.recipients) == (Event.CRYSTALS_FOUND, ("ada@facility.org",))
    expected = facility.rows("select count(*) from scores where crystal")[0][0]
    assert 1 < expected < 24
    assert message.title == f"{expected} likely crystals on plate ABC1"
    best = crystals_of_inspection(facility.database, facility.scorer_version, number, 24)
    assert len(best) == expected
    assert [picture.caption for picture in message.pictures] == [
        f"{each.image.well} drop 1: {each.probability:.2f}, {each.category}" for each in best[:12]
    ], "the likeliest come first"
    assert told(facility, subscriptions) == []
    facility.score()
    assert told(facility, subscriptions) == [], "a run that is repeated brings nothing new"


def test_whoever_subscribed_to_a_project_is_told_of_its_plates_where_the_site_has_a_view_of_projects(
    facility: Facility, subscriptions: Subscriptions
) -> None:
    subscriptions.add("ada@facility.org", [], LONG_AGO, ["lyso*"])
    scored(facility, "ABC1")
    assert told(facility, subscriptions) == [], "there is no such view"
    with facility.database.writing() as connection:
        plate_details.create(connection)
        connection.execute(text("create index of_plate on plate_details (plate_id)"))
        connection.execute(text("insert into plate_details (plate_id, project) select id, 'insulin' from plates"))
    assert told(facility, subscriptions) == []
    with facility.database.writing() as connection:
        connection.execute(text("insert into plate_details (plate_id, project) select id, 'lysozyme' from plates"))
    assert check(facility.database) == []
    [message] = told(facility, subscriptions)
    assert message.recipients == ("ada@facility.org",)
    assert told(facility, subscriptions) == []


def test_an_inspection_is_told_when_its_last_image_is_decided(facility: Facility, subscriptions: Subscriptions) -> None:
    subscriptions.add("ada@facility.org", ["*"], LONG_AGO)
    files = {f"{seed}.jpg": photograph(seed) for seed in range(8)}
    number = facility.add_plate("P1", {**files, "late.jpg": None})
    facility.score()
    assert told(facility, subscriptions) == [], "one file is still waited for"
    (facility.images / "P1" / "late.jpg").write_bytes(b"no image")
    for _ in range(3):
        facility.score()
    assert decided_inspections(facility.database, facility.scorer_version, 3, [number])[number].scored == 8
    [message] = told(facility, subscriptions)
    assert "of 8 images that were scored" in message.lines[0]


def test_history_and_what_was_scored_before_somebody_subscribed_are_no_news(
    facility: Facility, subscriptions: Subscriptions
) -> None:
    scored(facility, "NEW")
    scored(facility, "OLD", days_ago=9)
    subscriptions.add("late@facility.org", ["*"], datetime.now(UTC) + timedelta(seconds=1))
    assert told(facility, subscriptions) == []
    subscriptions.add("early@facility.org", ["*"], LONG_AGO)
    assert [message.title.rpartition(" ")[2] for message in told(facility, subscriptions)] == ["NEW"]
    far = Choices(days=10)
    assert [message.title.rpartition(" ")[2] for message in told(facility, subscriptions, far)] == ["OLD"]


def test_an_inspection_without_a_crystal_above_the_least_probability_is_not_told(
    facility: Facility, subscriptions: Subscriptions
) -> None:
    subscriptions.add("ada@facility.org", ["*"], LONG_AGO)
    scored(facility, "P1")
    assert told(facility, subscriptions, Choices(least_probability=0.999)) == []
    best = facility.rows("select max(p_crystals) from scores")[0][0]
    [message] = told(facility, subscriptions, Choices(least_probability=best))
    assert message.title == "1 likely crystal on plate P1"


def test_who_unsubscribes_while_pictures_are_fetched_gets_no_mail_and_is_forgotten(
    facility: Facility, subscriptions: Subscriptions
) -> None:
    subscriptions.add("ada@facility.org", ["*"], LONG_AGO)
    scored(facility, "P1")

    def fetched(shown: Sequence[Crystal]) -> list[bytes | None]:
        subscriptions.remove("ada@facility.org")
        return [None for _ in shown]

    assert told(facility, subscriptions, pictures=fetched) == []
    assert subscriptions.told() == {}


def test_a_withheld_inspection_is_told_only_when_it_is_released(
    facility: Facility, subscriptions: Subscriptions
) -> None:
    subscriptions.add("ada@facility.org", ["*"], LONG_AGO)
    number = scored(facility, "P1")
    with facility.database.writing() as connection:
        connection.execute(
            text(
                "insert into c4_withheld_inspections (inspection_id, scorer_version, check_name, reason, images, "
                "withheld_at) values (:id, :version, 'seen', 'looks wrong', 24, '2026-01-01 00:00:00.000000')"
            ),
            {"id": number, "version": facility.scorer_version},
        )
    assert told(facility, subscriptions) == []
    with facility.database.writing() as connection:
        connection.execute(text("update c4_withheld_inspections set released_at = '2026-01-02 00:00:00.000000'"))
    assert len(told(facility, subscriptions)) == 1


def test_two_that_tell_at_once_tell_each_subscriber_once(facility: Facility, subscriptions: Subscriptions) -> None:
    for number in range(5):
        subscriptions.add(f"person{number}@facility.org", ["*"], LONG_AGO)
    scored(facility, "P1")
    with ThreadPoolExecutor(4) as threads:
        answers = [threads.submit(partial(told, facility, subscriptions)) for _ in range(4)]
        addresses = [message.recipients[0] for answer in answers for message in answer.result()]
    assert sorted(addresses) == [f"person{number}@facility.org" for number in range(5)]


def test_pictures_are_read_once_an_inspection_whatever_the_number_of_subscribers(
    facility: Facility, subscriptions: Subscriptions
) -> None:
    for number in range(3):
        subscriptions.add(f"person{number}@facility.org", ["*"], LONG_AGO)
    read: list[int] = []

    def pictures(crystals: Sequence[Crystal]) -> list[bytes | None]:
        read.extend(each.image.image_id for each in crystals)
        return pictures_of_all(crystals)

    scored(facility, "P1")
    assert len(told(facility, subscriptions, pictures=pictures)) == 3
    assert len(read) == len(set(read)) > 0


def test_a_message_that_could_not_be_put_down_is_told_the_next_time_under_the_same_id(
    facility: Facility, subscriptions: Subscriptions
) -> None:
    subscriptions.add("ada@facility.org", ["*"], LONG_AGO)
    scored(facility, "P1")
    now, tried = datetime.now(UTC), list[str]()

    def full(message: Message) -> None:
        tried.append(message.id)
        raise OSError(28, "No space left on device")

    found = news(subscriptions, facility.database, decider(facility), WITHOUT_PICTURES, now)
    arguments = (found, subscriptions, facility.database, decider(facility), WITHOUT_PICTURES, Unsubscribing())
    with pytest.raises(OSError, match="No space left"):
        tell(*arguments, lambda crystals: [None] * len(crystals), full, now)
    assert [message.id for message in told(facility, subscriptions)] == tried


def test_crystals_without_a_picture_are_named_below_those_that_have_one_and_are_likelier(
    facility: Facility, subscriptions: Subscriptions
) -> None:
    subscriptions.add("ada@facility.org", ["*"], LONG_AGO)
    scored(facility, "P1")
    [message] = told(facility, subscriptions, Choices(pictures=2))
    assert len(message.pictures) == 2
    assert len(message.subjects) == int(message.title.split()[0]) - 2
    mail = compose(message, "c4@facility.org", message.recipients, LONG_AGO, DEFAULT_PLACE)
    for kind in ("plain", "html"):
        body = mail.get_body((kind,))
        assert body is not None
        shown = [float(found) for found in re.findall(r" drop 1: (\d\.\d\d), \w+\b(?!\")", body.get_content())]
        assert len(shown) == int(message.title.split()[0])
        assert shown == sorted(shown, reverse=True)


def test_the_address_that_ends_a_subscription_is_a_page_or_a_mail_with_the_token() -> None:
    assert Unsubscribing("https://c4.facility.org/", "c4@facility.org").address("t-k_1") == (
        "https://c4.facility.org/c4/unsubscribe?token=t-k_1"
    )
    assert Unsubscribing(mailbox="c4@facility.org").address("t-k_1") == (
        "mailto:c4@facility.org?subject=unsubscribe%20t-k_1"
    )


def test_a_pattern_that_is_added_later_brings_nothing_that_was_scored_before(
    facility: Facility, subscriptions: Subscriptions
) -> None:
    subscriptions.add("ada@facility.org", ["abc*"], LONG_AGO)
    scored(facility, "ABC1")
    grown = subscriptions.add("ada@facility.org", ["ABC*"], datetime.now(UTC))
    assert grown.created == LONG_AGO
    assert subscriptions.all() == [grown]
    assert told(facility, subscriptions) == []
    scored(facility, "ABC2")
    assert [message.title.rpartition(" ")[2] for message in told(facility, subscriptions)] == ["ABC2"]


def test_a_mail_leads_to_the_day_in_the_ui_and_begins_with_what_it_tells(
    facility: Facility, subscriptions: Subscriptions
) -> None:
    made = subscriptions.add("ada@facility.org", ["ABC*"], LONG_AGO)
    number = scored(facility, "ABC1")
    [found] = news(subscriptions, facility.database, decider(facility), Choices(), datetime.now(UTC))
    crystals = crystals_of_inspection(facility.database, facility.scorer_version, number, 24)
    jpegs = [b"jpeg" for _ in crystals]
    at = Unsubscribing("https://c4.facility.org/")
    message = message_of(found, crystals, jpegs, made, decider(facility), Choices(), at, noon(0))
    day = f"{found.plate.imaged_at:%Y-%m-%d}"
    link = f"https://c4.facility.org/assets/class_predictions?view=partitions&partition={day}"
    assert [subject.url for subject in message.subjects] == [link]
    mail = compose(cleaned(message), "c4@facility.org", ("ada@facility.org",), noon(0), DEFAULT_PLACE)
    plain = mail.get_body(("plain",))
    assert plain is not None
    assert link in plain.get_content()
    assert "Progress" not in mail.as_string()


def test_who_subscribes_to_a_pattern_that_fits_no_plate_is_told_which_would_fit_in_other_capitals(
    facility: Facility, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facility.add_plate("PLATE-01", {"a.jpg": photograph(1)}, noon(1))
    monkeypatch.setenv("C4_DATABASE_URL", facility.settings.database.url)
    patterns = ("--plates", "plate-*", "--plates", "PLATE*", "--plates", "XYZ*")
    said = c4(tmp_path / "other", "subscribe", "ada@facility.org", *patterns, models=tmp_path).stderr
    assert "No plate fits plate-* yet. Capitals count: without them it would fit PLATE-01." in said
    assert "No plate fits XYZ* yet.\n" in said
    assert "PLATE*" not in said


def test_a_subscription_grows_is_ended_by_its_token_and_begins_anew(subscriptions: Subscriptions) -> None:
    first = subscriptions.add("Ada@facility.org", ["ABC*"], LONG_AGO)
    second = subscriptions.add("ada@FACILITY.org", ["XYZ1", "ABC*"], datetime.now(UTC))
    assert (second.plates, second.token, second.created) == (("ABC*", "XYZ1"), first.token, first.created)
    third = subscriptions.add("ada@facility.org", [], datetime.now(UTC), ["lysozyme"])
    assert third.wanted == "plates ABC*, XYZ1 and projects lysozyme"
    assert subscriptions.of_token(first.token) == third
    assert subscriptions.of_token("") is None
    assert subscriptions.of_token(first.token[:-1]) is None
    assert subscriptions.remove("ADA@facility.org") == third
    assert subscriptions.remove("ada@facility.org") is None
    assert subscriptions.add("ada@facility.org", ["*"], LONG_AGO).token != first.token


@pytest.mark.parametrize(
    "address",
    [
        "",
        "ada",
        "a da@f.org",
        "ada@f.org\nBcc: all@f.org",
        "Ada <ada@f.org>",
        "a@b.org,c@d.org",
        "a@" + "b" * 300,
        "a@-",
        "=?utf-8?q?a=2cb=40c.org?=@d.org",
    ],
)
def test_what_is_no_address_is_refused(subscriptions: Subscriptions, address: str) -> None:
    with pytest.raises(ConfigurationError, match="no address"):
        subscriptions.add(address, ["*"], LONG_AGO)


def test_addresses_and_tokens_are_for_this_account_alone(subscriptions: Subscriptions, tmp_path: Path) -> None:
    subscriptions.add("ada@facility.org", ["*"], LONG_AGO)
    [file] = (tmp_path / "data").rglob("subscriptions.json")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("content", ["{", "[]", '{"ada@facility.org": {"plates": ["*"]}}'])
def test_a_damaged_file_is_named_and_never_written_over(
    subscriptions: Subscriptions, tmp_path: Path, content: str
) -> None:
    subscriptions.add("ada@facility.org", ["*"], LONG_AGO)
    [file] = (tmp_path / "data").rglob("subscriptions.json")
    file.write_text(content)
    with pytest.raises(ConfigurationError, match=r"subscriptions\.json cannot be read"):
        subscriptions.add("bob@facility.org", ["*"], LONG_AGO)
    assert file.read_text() == content


def test_what_was_told_is_remembered_for_longer_than_it_could_be_told_again(
    subscriptions: Subscriptions, tmp_path: Path
) -> None:
    now = datetime.now(UTC)
    for age in (500, 399, 0):
        with subscriptions.telling(now - timedelta(days=age)) as telling:
            telling.add("ada@facility.org", f"{age}:P1")
    assert subscriptions.told()["ada@facility.org"].keys() == {"399:P1", "0:P1"}
    [file] = (tmp_path / "data").rglob("told.json")
    assert set(json.loads(file.read_text())["ada@facility.org"]) == {"399:P1", "0:P1"}


def test_the_commands_subscribe_list_and_end(tmp_path: Path) -> None:
    home = tmp_path / "home"
    c4(home, "subscribe", "ada@facility.org", "--plates", "ABC*", "--plates", "X[ab]", models=tmp_path)
    assert " X[ab] " in c4(home, "subscriptions", models=tmp_path).stdout
    listed = json.loads(c4(home, "subscriptions", "--json", models=tmp_path).stdout)
    assert [(each["address"], each["plates"]) for each in listed] == [("ada@facility.org", ["ABC*", "X[ab]"])]
    c4(home, "db", "upgrade", models=tmp_path)
    refused = c4(home, "subscribe", "ada@facility.org", "--projects", "lysozyme", models=tmp_path, check=False)
    assert refused.returncode == 1
    assert "no view plate_details" in " ".join((refused.stdout + refused.stderr).split())
    token = Subscriptions(home).all()[0].token
    link = Unsubscribing("https://c4.facility.org").address(token)
    assert "ada@facility.org is told no more" in c4(home, "unsubscribe", link, models=tmp_path).stdout
    gone = c4(home, "unsubscribe", "ada@facility.org", models=tmp_path, check=False)
    assert gone.returncode == 1
    assert "has not subscribed" in gone.stdout + gone.stderr
