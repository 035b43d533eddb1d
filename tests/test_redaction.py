"""Secrets are taken out of texts, and nothing else is."""

import json
import random
from urllib.parse import quote_plus

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from resources.redaction import HIDDEN, SHORTEST_SECRET_CHARACTERS, Redactor, passwords_in, redacted

SECRETS = st.text(st.characters(codec="utf-8", exclude_characters="*"), min_size=SHORTEST_SECRET_CHARACTERS).filter(
    lambda secret: len(secret.strip()) >= SHORTEST_SECRET_CHARACTERS
)
WORDS = st.text("abcdefghij 0123456789.,;()[]{}<>/-_\n\N{ACUTE ACCENT}", max_size=60)


@given(st.lists(SECRETS, min_size=1, max_size=4), st.lists(WORDS, min_size=1, max_size=5), st.integers())
def test_a_planted_secret_never_survives_and_a_second_time_changes_nothing(
    secrets: list[str], words: list[str], order: int
) -> None:
    redactor = Redactor(secrets)
    parts = [*words, *secrets, *map(quote_plus, secrets), *(json.dumps(each) for each in secrets), *map(repr, secrets)]
    random.Random(order).shuffle(parts)
    left = redactor.redacted("".join(parts))
    assert not [secret for secret in secrets if secret in left]
    assert redactor.redacted(left) == left


@given(st.text(), SECRETS)
def test_any_text_is_redacted_once_and_for_all(text: str, secret: str) -> None:
    redactor = Redactor([secret])
    left = redactor.redacted(text)
    assert redactor.redacted(left) == left
    assert secret not in left


@given(WORDS, st.text("KLMNOP%+&", min_size=SHORTEST_SECRET_CHARACTERS))
def test_a_text_without_secrets_is_unchanged(words: str, secret: str) -> None:
    assert Redactor([secret]).redacted(words) == words


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="@:/'\"*?#"), min_size=1))
def test_the_password_of_any_address_is_taken_out(password: str) -> None:
    assume(not password.isdigit())
    assert (
        redacted(f"at postgresql://c4:{password}@lims/imaging: no") == f"at postgresql://c4:{HIDDEN}@lims/imaging: no"
    )


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("(oracle://c4:pass/word@lims/x)", f"(oracle://c4:{HIDDEN}@lims/x)"),
        ("redis://:hunter@cache", f"redis://:{HIDDEN}@cache"),
        ("ssh://c4:p@ss@host:22/x", f"ssh://c4:{HIDDEN}@host:22/x"),
        ("host=lims password=hunter2 user=c4", f"host=lims password={HIDDEN} user=c4"),
        ("password='two words' user=c4", f"password={HIDDEN} user=c4"),
        ("DAGSTER_POSTGRES_PASSWORD=hunter2", f"DAGSTER_POSTGRES_PASSWORD={HIDDEN}"),
        ("?wallet_location=/w&wallet_password=x1&a=b", f"?wallet_location=/w&wallet_password={HIDDEN}&a=b"),
        ("{'user': 'c4', 'password': 'hunter2'}", f"{{'user': 'c4', 'password': '{HIDDEN}'}}"),
        ("Authorization: Basic YzQ6aHVudGVy", f"Authorization: Basic {HIDDEN}"),
        ("a Bearer eyJhbGciOiJIUzI1NiJ9.eyJz was refused", f"a Bearer {HIDDEN} was refused"),
        ("https://hooks.slack.com/services/T0/B0/XyZ: 404", f"https://hooks.slack.com/services/{HIDDEN} 404"),
        ("token xoxb-123456789-abcdef is revoked", f"token xoxb-{HIDDEN} is revoked"),
        (f"the token c4_{'aB3-' * 10}xyZ is none", f"the token c4_{HIDDEN} is none"),
        ("{'hash': '$argon2id$v=19$m=65536,t=3,p=1$c2FsdA$aGFzaA'}", f"{{'hash': '$argon2id${HIDDEN}'}}"),
        ("https://bucket/key?X-Amz-Signature=ab12&x=1", f"https://bucket/key?X-Amz-Signature={HIDDEN}&x=1"),
    ],
)
def test_what_is_a_secret_by_its_looks_is_taken_out(text: str, left: str) -> None:
    assert redacted(text) == left
    assert redacted(left) == left


@pytest.mark.parametrize(
    "text",
    [
        "see http://localhost:3000/runs/4f2a?mail=a@b.org",
        "ssh://c4@storage.facility.org:22/images does not answer",
        "database.password: a site's file should not have it",
        'password authentication failed for user "c4"',
        "Database(password=None)",
        "basic authentication, or bearer tokens that are long enough",
        "image 17 (plates/2009/a@b.jpg): it is empty",
        "postgresql://c4:********@lims/imaging",
        "sbatch --signal=B:TERM@60 was killed, signal=9",
        "the index c4_superseded_scores_image_id_scorer_version_2 is missing",
        "sigma=0.3 sign=-1 assignment=P7 design=new",
    ],
)
def test_what_only_speaks_of_secrets_is_left_as_it_is(text: str) -> None:
    assert redacted(text) == text


def test_the_token_of_an_address_is_taken_out_where_an_error_names_it_alone() -> None:
    redactor = Redactor(
        ["https://relay.facility.org/services/a1b2c3d4e5", "http://localhost:8080/x", "tgram://123456789aa/42"]
    )
    text = "Max retries exceeded with url: /services/a1b2c3d4e5 (bot 123456789aa), see services of localhost:8080"
    left = f"Max retries exceeded with url: /services/{HIDDEN} (bot {HIDDEN}), see services of localhost:8080"
    assert redactor.redacted(text) == left


def test_secrets_that_overlap_leave_no_end_behind() -> None:
    assert Redactor(["abcdef", "defghi"]).redacted("xabcdefghix") == f"x{HIDDEN}x"


def test_a_short_password_hides_no_words_but_is_taken_out_of_addresses() -> None:
    redactor = Redactor(["c4"])
    assert redactor.redacted("c4 run at oracle://lims:c4@host") == f"c4 run at oracle://lims:{HIDDEN}@host"


def test_passwords_are_found_in_addresses() -> None:
    assert passwords_in("postgresql://c4:p%40ss@lims/imaging?sslpassword=key") == ("p%40ss", "key", "p@ss")
    assert passwords_in("ssh://c4@host:22/images") == passwords_in("/images") == ()


def test_an_address_whose_password_is_hidden_already_stays_as_it_is() -> None:
    shown = "postgresql+psycopg2://c4:***@lims.facility.org/imaging does not answer"
    assert redacted(shown) == shown
