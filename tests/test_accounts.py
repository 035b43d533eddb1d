"""Who may log in to C4's pages, and for how long: people, passwords, sessions and tokens, on each kind of database."""

import io
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select, text

from resources.accounts import login, passwords
from resources.accounts.login import LogInRefused, TooManyAttempts, let_in, log_in, person_of_identity
from resources.accounts.passwords import refuse_weak
from resources.accounts.people import (
    Identity,
    add_alias,
    create_person,
    people,
    remove_alias,
    set_active,
    set_identity,
    set_password,
    set_role,
)
from resources.accounts.rights import RIGHTS, Right, Role
from resources.accounts.sessions import MAX_SESSION_TIME, SESSION_IDLE_TIME, NewSession, end_session, session_of
from resources.accounts.tokens import add_api_token, api_tokens, digest_of, person_of_api_token, revoke_api_tokens
from resources.errors import ConfigurationError
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.audit import Action, Actor, write_audit
from resources.imaging_database.people_tables import c4_audit, c4_people, c4_sessions
from tests.conftest import Facility

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
BY = Actor(None, "root@host")
HERE, THERE = "10.0.0.7", "2001:db8::7"
PASSWORD, OTHER = "correct horse battery", "another long password"


@pytest.fixture
def database(make_facility: Callable[..., Facility], database_url: str) -> ImagingDatabase:
    """A database of each kind, with one person."""
    made = make_facility(database={"url": database_url}).database
    create_person(made, BY, NOW, "ana", "Ana Okafor", Role.SCORER, password=PASSWORD)
    return made


def enter(database: ImagingDatabase, minutes: float = 0, former: str | None = None) -> NewSession:
    return log_in(database, "ana", PASSWORD, HERE, NOW + timedelta(minutes=minutes), former)


def refused(database: ImagingDatabase, name: str, password: str, minutes: float = 0, address: str = HERE) -> str:
    with pytest.raises(LogInRefused) as told:
        log_in(database, name, password, address, NOW + timedelta(minutes=minutes))
    return str(told.value)


def audited(database: ImagingDatabase) -> list[str]:
    with database.reading() as connection:
        return list(connection.scalars(select(c4_audit.c.action).order_by(c4_audit.c.id)))


def everything(database: ImagingDatabase) -> str:
    """All that the database keeps of people."""
    tables = ("c4_people", "c4_sessions", "c4_api_tokens", "c4_audit")
    with database.reading() as connection:
        return repr([connection.execute(text(f"select * from {table}")).all() for table in tables])


def test_whoever_gives_their_password_is_in_with_what_their_role_may_do(database: ImagingDatabase) -> None:
    session = session_of(database, enter(database).token, NOW)
    assert session
    assert (session.person.name, session.person.role) == ("ana", Role.SCORER)
    assert [right for right in Right if session.person.may(right)] == [Right.VIEW, Right.SCORE]
    assert audited(database) == ["add person", "log in"]


def test_each_role_may_do_what_the_one_before_may_and_more() -> None:
    assert all(RIGHTS[one] < RIGHTS[other] for one, other in pairwise(Role))
    assert RIGHTS[Role.ADMIN] == frozenset(Right)


def test_a_wrong_password_and_a_wrong_name_are_refused_in_the_same_words(database: ImagingDatabase) -> None:
    create_person(database, BY, NOW, "oidc", "No password", Role.SCORER, identity=Identity("https://id", "7"))
    create_person(database, BY, NOW, "gone", "Gone", Role.SCORER, password=PASSWORD)
    set_active(database, BY, NOW, "gone", False)
    tries = {"ana": OTHER, "Ana": PASSWORD, "nobody": PASSWORD, "oidc": "", "gone": PASSWORD, "a\0": PASSWORD, "": ""}
    assert {refused(database, name, password) for name, password in tries.items()} == {"Name or password are wrong."}
    assert audited(database).count(Action.LOG_IN_FAILED) == len(tries)


@pytest.mark.parametrize("kind", ["sqlite"])
def test_a_wrong_password_takes_as_long_as_the_name_of_nobody(database: ImagingDatabase) -> None:
    def cost(name: str) -> float:
        began = time.thread_time()
        refused(database, name, OTHER)
        return time.thread_time() - began

    cost("ana")
    wrong, nobody = (min(cost(name) for _ in range(4)) for name in ("ana", "nobody"))
    assert 0.7 < wrong / nobody < 1.4
    assert nobody > 0.05, "64 MiB are filled"


def test_the_token_that_a_browser_had_before_the_log_in_is_worth_nothing_after_it(database: ImagingDatabase) -> None:
    planted = "A" * 43
    entered = enter(database, former=planted)
    assert entered.token != planted
    assert session_of(database, planted, NOW) is None
    again = enter(database, former=entered.token)
    assert session_of(database, entered.token, NOW) is None, "a new log-in is a new token"
    assert session_of(database, again.token, NOW)


def test_a_session_goes_on_while_it_is_used_and_ends_after_twelve_hours_without_or_seven_days(
    database: ImagingDatabase,
) -> None:
    entered = enter(database)
    unused = enter(database)
    at = NOW
    while at < NOW + MAX_SESSION_TIME - SESSION_IDLE_TIME:
        at += SESSION_IDLE_TIME - timedelta(minutes=1)
        assert session_of(database, entered.token, at), at
    assert session_of(database, unused.token, NOW + SESSION_IDLE_TIME) is None
    assert session_of(database, entered.token, NOW + MAX_SESSION_TIME) is None


def test_the_database_is_told_once_a_minute_that_a_session_is_used(database: ImagingDatabase) -> None:
    token = enter(database).token

    def seen(seconds: int) -> datetime:
        session_of(database, token, NOW + timedelta(seconds=seconds))
        with database.reading() as connection:
            return connection.execute(select(c4_sessions.c.last_seen_at)).scalar_one()

    assert [seen(59), seen(60), seen(100)] == [NOW, NOW + timedelta(seconds=60), NOW + timedelta(seconds=60)]


def test_sessions_end_by_logging_out_a_new_password_or_being_disabled(database: ImagingDatabase) -> None:
    ends: list[Callable[[str], None]] = [
        lambda token: end_session(database, Actor("ana", HERE), NOW, token),
        lambda _: set_password(database, BY, NOW, "ana", PASSWORD),
        lambda _: set_active(database, BY, NOW, "ana", False),
    ]
    tokens: list[str] = []
    for end in ends:
        tokens.append(enter(database).token)
        assert session_of(database, tokens[-1], NOW)
        end(tokens[-1])
        assert session_of(database, tokens[-1], NOW) is None
    set_active(database, BY, NOW, "ana", True)
    assert not any(session_of(database, token, NOW) for token in tokens), "none comes back"


def test_a_role_that_changes_counts_for_the_next_request(database: ImagingDatabase) -> None:
    token = enter(database).token
    set_role(database, BY, NOW, "ana", Role.VIEWER)
    session = session_of(database, token, NOW)
    assert session
    assert not session.person.may(Right.SCORE)


def test_a_password_that_changes_while_somebody_logs_in_with_the_old_one_lets_them_not_in(
    database: ImagingDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_right = passwords.is_right

    def slow(password: str, stored: str | None) -> bool:
        set_password(database, BY, NOW, "ana", OTHER)
        return is_right(password, stored)

    monkeypatch.setattr(login, "is_right", slow)
    assert refused(database, "ana", PASSWORD) == "Name or password are wrong."
    with database.reading() as connection:
        assert connection.execute(select(c4_sessions)).all() == []


def test_after_ten_wrong_passwords_the_right_one_is_not_looked_at_for_a_while(database: ImagingDatabase) -> None:
    for _ in range(10):
        assert "wrong." in refused(database, "ana", OTHER)
    with pytest.raises(TooManyAttempts):
        enter(database)
    assert log_in(database, "ana", PASSWORD, THERE, NOW), "from elsewhere she comes in"
    for _ in range(10):
        refused(database, "nobody", OTHER, address="10.0.0.9")
    assert "Too many" in refused(database, "nobody", OTHER, address="10.0.0.9"), "nobody is treated as somebody"
    assert enter(database, minutes=16)


def test_one_address_may_not_try_many_names_nor_many_addresses_one_name(database: ImagingDatabase) -> None:
    name = "log in failed"
    with database.writing() as connection:
        for number in range(50):
            write_audit(connection, Action(name), Actor(None, THERE), NOW, f"name {number}")
    assert "Too many" in refused(database, "ana", OTHER, address=THERE)
    refused(database, "ana", OTHER)
    with database.writing() as connection:
        subject = connection.scalars(select(c4_audit.c.subject).where(c4_audit.c.address == HERE)).one()
        for number in range(100):
            write_audit(connection, Action(name), Actor(None, f"10.1.0.{number}"), NOW, subject)
    assert "Too many" in refused(database, "ana", OTHER, address="10.2.0.1")


@pytest.mark.parametrize("kind", ["sqlite"])
def test_two_passwords_are_computed_at_once(database: ImagingDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    computing, most = [0], [0]
    lock = threading.Lock()

    def slow(_password: str, _stored: str | None) -> bool:
        with lock:
            computing[0] += 1
            most[0] = max(most[0], computing[0])
        time.sleep(0.05)
        with lock:
            computing[0] -= 1
        return False

    monkeypatch.setattr(login, "is_right", slow)
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(partial(refused, database, password=OTHER), [f"somebody {number}" for number in range(6)]))
    assert most == [2]


@pytest.mark.parametrize(
    ("password", "name"),
    [("short", "ana"), ("aaaaaaaaaaaaaaaa", "ana"), ("abcabcabcabc", "ana"), ("I am Ben Franklin", "ben")],
)
def test_a_password_that_is_soon_guessed_is_refused(password: str, name: str) -> None:
    with pytest.raises(ConfigurationError, match="A password"):
        refuse_weak(password, name)


@given(st.text(max_size=300))
def test_any_text_is_taken_or_refused_and_then_hashed_or_found_wrong(password: str) -> None:
    try:
        refuse_weak(password, "ana")
    except ConfigurationError:
        return
    assert len(password) >= 6


@pytest.mark.parametrize("kind", ["sqlite"])
def test_a_password_is_the_same_however_a_keyboard_writes_its_letters(database: ImagingDatabase) -> None:
    set_password(database, BY, NOW, "ana", "Zürich ist schön")
    assert log_in(database, "ana", "Zu\u0308rich ist scho\u0308n", HERE, NOW)


@pytest.mark.parametrize("kind", ["sqlite"])
def test_a_password_that_was_stored_with_a_lower_cost_is_stored_anew_when_it_is_used(database: ImagingDatabase) -> None:
    from argon2 import PasswordHasher

    cheap = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1).hash(PASSWORD)
    with database.writing() as connection:
        connection.execute(c4_people.update().values(password_hash=cheap))
    enter(database)
    with database.reading() as connection:
        stored = connection.execute(select(c4_people.c.password_hash)).scalar_one()
    assert stored.startswith("$argon2id$v=19$m=65536,t=3,p=1$")
    assert enter(database)


def test_secrets_are_neither_kept_nor_shown(database: ImagingDatabase) -> None:
    entered = enter(database)
    made = add_api_token(database, BY, NOW, "ana", "notebook", 7)
    log = io.StringIO()
    handler = logging.StreamHandler(log)
    logging.getLogger().addHandler(handler)
    try:
        refused(database, PASSWORD, OTHER)
        session_of(database, entered.token, NOW)
    finally:
        logging.getLogger().removeHandler(handler)
    shown = repr((entered, made)) + everything(database) + log.getvalue()
    for secret in (PASSWORD, OTHER, entered.token, made.token, made.token[3:]):
        assert secret not in shown
    assert str(digest_of(entered.token)) in shown


def test_a_token_of_the_api_is_its_person_until_it_is_over_revoked_or_they_are_disabled(
    database: ImagingDatabase,
) -> None:
    day = timedelta(days=1)
    first, second, third = (add_api_token(database, BY, NOW, "ana", name, 7).token for name in "abb")
    person = person_of_api_token(database, first, NOW + 6 * day)
    assert person
    assert person.name == "ana"
    assert person_of_api_token(database, first, NOW + 7 * day) is None
    assert revoke_api_tokens(database, BY, NOW, "ana", "b") == 2
    assert person_of_api_token(database, second, NOW) is person_of_api_token(database, third, NOW) is None
    for odd in ("", "c4_", first[3:], first + "x", "c4_" + "é" * 43):
        assert person_of_api_token(database, odd, NOW) is None
    assert {each.name: each.last_used_at for each in api_tokens(database, "ana")} == {"a": NOW + 6 * day, "b": None}
    set_active(database, BY, NOW, "ana", False)
    set_active(database, BY, NOW, "ana", True)
    assert person_of_api_token(database, first, NOW) is None
    with pytest.raises(ConfigurationError, match="1 to 366 days"):
        add_api_token(database, BY, NOW, "ana", "for ever", 4000)
    with pytest.raises(ConfigurationError, match="Nobody"):
        add_api_token(database, BY, NOW, "ben", "b", 7)


def test_a_provider_tells_a_person_by_its_own_name_for_them_and_never_takes_over_another(
    database: ImagingDatabase,
) -> None:
    def come(subject: str, name: str, create: bool = True) -> str:
        identity = Identity("https://id.facility.org", subject)
        return person_of_identity(database, identity, HERE, NOW, name=name, display_name=name, create=create).name

    with pytest.raises(LogInRefused, match="does not know you"):
        come("7", "ben", create=False)
    assert come("7", "ben") == "ben"
    assert come("7", "renamed by the provider") == "ben"
    for taken in ("ana", "ANA", "ben", "a\nb", ""):
        with pytest.raises(LogInRefused, match=r"(?i)an administrator"):
            come("8", taken)
    set_identity(database, BY, NOW, "ana", Identity("https://id.facility.org", "8"))
    assert come("8", "whoever") == "ana"
    with pytest.raises(ConfigurationError, match="of ana already"):
        set_identity(database, BY, NOW, "ben", Identity("https://id.facility.org", "8"))
    found = {person.name: person for person in people(database)}
    assert (found["ben"].role, found["ben"].has_password) == (Role.VIEWER, False)
    assert session_of(database, let_in(database, "ben", HERE, NOW).token, NOW)
    set_active(database, BY, NOW, "ben", False)
    with pytest.raises(LogInRefused, match="may not log in"):
        let_in(database, "ben", HERE, NOW)


def test_four_browsers_of_somebody_new_at_once_make_one_person(database: ImagingDatabase) -> None:
    identity = Identity("https://id.facility.org", "7")

    def come(_: int) -> str:
        return person_of_identity(database, identity, HERE, NOW, name="ben", display_name="", create=True).name

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(come, range(8))) == {"ben"}
    assert audited(database).count(Action.ADD_PERSON) == 2, "ana and ben"


def test_a_person_has_other_names_in_the_lims_and_no_two_have_the_same(database: ImagingDatabase) -> None:
    create_person(database, BY, NOW, "ben", "Ben", Role.SCORER, password=PASSWORD)
    for _ in range(2):
        add_alias(database, BY, NOW, "ana", "A. Okafor")
    with pytest.raises(ConfigurationError, match="what the LIMS calls ana"):
        add_alias(database, BY, NOW, "ben", "A. Okafor")
    with pytest.raises(ConfigurationError, match="a person of their own"):
        add_alias(database, BY, NOW, "ana", "ben")
    with pytest.raises(ConfigurationError, match=r"there is 'A\. Okafor' already"):
        create_person(database, BY, NOW, "A. Okafor", "", Role.VIEWER)
    assert {person.name: aliases for person, aliases in people(database).items()} == {"ana": ("A. Okafor",), "ben": ()}
    remove_alias(database, BY, NOW, "A. Okafor")
    with pytest.raises(ConfigurationError, match="nobody's other name"):
        remove_alias(database, BY, NOW, "A. Okafor")


@pytest.mark.parametrize("kind", ["sqlite"])
@pytest.mark.parametrize("name", ["", " ana", "a\tb", "a" * 65, "ANA"])
def test_a_name_that_is_odd_or_like_anothers_is_no_new_persons(database: ImagingDatabase, name: str) -> None:
    with pytest.raises(ConfigurationError, match="name"):
        create_person(database, BY, NOW, name, "", Role.SCORER, password=PASSWORD)
