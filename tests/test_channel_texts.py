"""How a message looks on each channel, whatever stands in it."""

import email
import email.policy
import json
import re
from datetime import UTC, datetime
from typing import Any, cast
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slack_sdk.models.attachments import Attachment
from slack_sdk.models.blocks import Block

from c4_assets.operations.alerts.incident import Incident
from c4_assets.operations.alerts.records import Change, Event, Message, Picture, Severity, Subject
from c4_assets.operations.alerts.rules import Rules
from c4_assets.operations.alerts.wording import message_of
from c4_assets.operations.channels.apprise_channel import text_for_services
from c4_assets.operations.channels.mail import as_html, compose, subject
from c4_assets.operations.channels.slack_blocks import slack_payload
from c4_assets.operations.channels.webhook import as_json
from c4_assets.operations.channels.words import DEFAULT_PLACE, Place, as_text, clean, cleaned, cut, web_address
from resources.redaction import register_secrets
from testing.alerts import START, condition

AT = datetime(2026, 3, 1, 8, tzinfo=UTC)
PLACE = Place("https://docs.facility.org/handbook")
NASTY = "<!channel> <@U123> <https://evil.example|plate> https://evil.example & *bold* ```x @everyone"


def message(**changes: Any) -> Message:
    facts: dict[str, Any] = {
        "id": "m1",
        "thread": "run-failed",
        "change": Change.OPENED,
        "event": Event.RUN_FAILED,
        "severity": Severity.ERROR,
        "at": AT,
        "title": "3 runs failed",
        "lines": ("The step marco_probabilities failed.",),
        "advice": "Look at the GPU node.",
        "subjects": (Subject("2026-02-28", "https://c4.facility.org/runs/1?a=1&b=2"),),
        "more": 2,
        "page": "run-failed",
    }
    return Message(**(facts | changes))


texts = st.text(max_size=40) | st.sampled_from([NASTY, "&" * 4000, "<" * 700, "😀" * 2000, "a\r\nBcc: x@y.z", "\ud800"])
messages = st.builds(
    Message,
    id=texts,
    thread=texts,
    change=st.sampled_from(Change),
    event=st.sampled_from(Event),
    severity=st.sampled_from(Severity),
    at=st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)),
    title=texts,
    lines=st.lists(texts, max_size=12).map(tuple),
    advice=texts,
    subjects=st.lists(st.builds(Subject, texts, texts | st.just("https://c4/runs/1")), max_size=7).map(tuple),
    more=st.integers(0, 5000),
    page=texts | st.just("run-failed"),
    facts=st.dictionaries(texts, texts, max_size=12),
    unsubscribe=texts,
)


def objects(value: Any) -> list[dict[str, Any]]:
    """All objects in a payload."""
    if isinstance(value, dict):
        one = cast("dict[str, Any]", value)
        return [one, *(each for inner in one.values() for each in objects(inner))]
    return [each for inner in cast("list[Any]", value) for each in objects(inner)] if isinstance(value, list) else []


def slack_texts(payload: Any) -> list[str]:
    found = (each.get(name) for each in objects(payload) for name in ("text", "fallback"))
    return [text for text in found if isinstance(text, str)]


@settings(max_examples=30, deadline=None)
@given(messages)
def test_slack_takes_any_message_and_nothing_in_it_is_a_mention_or_a_foreign_link(made: Message) -> None:
    payload = slack_payload(cleaned(made), PLACE)
    blocks = payload["blocks"] + payload["attachments"][0]["blocks"]
    for block in Block.parse_all(blocks):  # pyright: ignore[reportUnknownMemberType]
        block.validate_json()
    Attachment(text="", color=payload["attachments"][0]["color"]).validate_json()
    assert len(blocks) <= 50
    found = slack_texts(payload)
    assert all(len(text.encode("utf-16-le")) // 2 <= 3000 for text in found)
    assert sum(len(text) for text in found) <= 13_500
    own = {each.url.replace("&", "&amp;") for each in cleaned(made).subjects} | {PLACE.page(made.page)}
    for text in found:
        assert set(re.findall(r"<([^|>]*)\|[^<>]*>", text)) <= own
        assert not re.search(r"[<>]", re.sub(r"<[^|<>]*\|[^<>]*>", "", text))
    assert "link_names" not in json.dumps(payload)


def test_a_sentence_that_was_cut_for_the_title_stands_once_in_a_plain_mail() -> None:
    summary = "The imaging database does not answer: " + "it is away, " * 20
    incident = Incident.of(condition(Event.DATABASE_AWAY, summary=summary), True, START)
    told = cleaned(message_of(incident, Change.OPENED, Rules(), START))
    assert told.title.endswith("…")
    plain = compose(told, "c4@facility.org", ("ops@facility.org",), START, DEFAULT_PLACE).get_body(("plain",))
    assert plain is not None
    assert plain.get_content().count("The imaging database does not answer") == 1


def test_slack_makes_no_links_of_what_it_is_not_told_to_link() -> None:
    payload = slack_payload(cleaned(message(title=NASTY, lines=(NASTY,))), PLACE)

    marked = [each for each in objects(payload) if each.get("type") in ("mrkdwn", "plain_text")]
    assert len(marked) > 4
    assert all(each == {**each, "type": "mrkdwn", "verbatim": True} for each in marked)


def test_what_is_too_long_for_slack_is_cut_and_the_message_says_so_but_keeps_what_to_do() -> None:
    made = message(lines=("&" * 5000, *["x" * 2800] * 9), facts={str(number): "1" for number in range(200)})
    found = "\n".join(slack_texts(slack_payload(cleaned(made), PLACE)))
    assert "characters more)" in found
    assert re.search(r"\d+ parts of this message are left out", found)
    assert "Look at the GPU node." in found
    assert "https://docs.facility.org/handbook/run-failed" in found


@pytest.mark.parametrize(
    ("change", "severity", "symbol", "color"),
    [
        (Change.OPENED, Severity.ERROR, "🔴", "#c62828"),
        (Change.GREW, Severity.WARNING, "⚠️", "#b26a00"),
        (Change.TOLD, Severity.PROGRESS, "🔵", "#1f6fb2"),
        (Change.RECOVERED, Severity.ERROR, "🟢", "#2e8b57"),
    ],
)
def test_errors_warnings_progress_and_recovery_are_told_apart(
    change: Change, severity: Severity, symbol: str, color: str
) -> None:
    payload = slack_payload(message(change=change, severity=severity), PLACE)
    assert payload["text"].startswith(symbol)
    assert payload["blocks"][0]["text"]["text"].startswith(f"{symbol} *3 runs failed*")
    assert payload["attachments"][0]["color"] == color
    assert color in as_html(message(change=change, severity=severity), PLACE)


def test_links_lead_to_the_run_and_to_the_handbook() -> None:
    found = "\n".join(slack_texts(slack_payload(message(), PLACE)))
    assert "<https://c4.facility.org/runs/1?a=1&amp;b=2|2026-02-28>" in found
    assert "<https://docs.facility.org/handbook/run-failed|" in found
    html = as_html(message(), PLACE)
    assert 'href="https://c4.facility.org/runs/1?a=1&amp;b=2"' in html
    assert 'href="https://docs.facility.org/handbook/run-failed"' in html
    assert "and 2 more" in found
    assert "and 2 more" in html


def test_without_a_handbooks_address_its_page_is_named_and_with_a_pattern_the_page_stands_in_it() -> None:
    nowhere = Place()
    assert "Handbook: run-failed" in "\n".join(slack_texts(slack_payload(message(), nowhere)))
    assert "Handbook: run-failed" in as_text(message(), nowhere)
    assert Place("https://git/{page}.md?plain=1").page("run-failed") == "https://git/run-failed.md?plain=1"
    assert Place("https://git/").page("../../etc") == ""


@settings(max_examples=30, deadline=None)
@given(messages)
def test_any_message_is_one_mail_without_a_header_that_it_did_not_have(made: Message) -> None:
    mail = compose(cleaned(made), "C4 <c4@facility.org>", ["operators@facility.org"], AT, PLACE)
    read = email.message_from_bytes(mail.as_bytes(), policy=email.policy.default)
    allowed = {"From", "To", "Subject", "Date", "Message-ID", "In-Reply-To", "References", "Auto-Submitted"}
    assert set(read.keys()) <= allowed | {"List-Unsubscribe", "Importance", "MIME-Version", "Content-Type"}
    assert [part.get_content_type() for part in read.walk()] == ["multipart/alternative", "text/plain", "text/html"]
    html = read.get_body(("html",))
    assert html is not None
    links = re.findall(r'href="([^"]*)"', html.get_content())
    assert all(re.match(r"(https?://|mailto:)[^\s<>]+$", link) for link in links)
    assert "<script" not in html.get_content()
    assert "<!channel>" not in html.get_content()


def test_a_mail_has_the_ids_by_which_programs_group_and_recognise_it() -> None:
    first = compose(message(), "c4@facility.org", ["a@b.org"], AT, PLACE)
    again = compose(message(), "c4@facility.org", ["a@b.org"], AT.replace(year=2027), PLACE)
    later = compose(message(id="m2", change=Change.RECOVERED), "c4@facility.org", ["a@b.org"], AT, PLACE)
    other = compose(message(id="m3", thread="database-away"), "c4@facility.org", ["a@b.org"], AT, PLACE)
    assert first["Message-ID"] == again["Message-ID"] != later["Message-ID"]
    assert first["Message-ID"].endswith("@facility.org>")
    assert first["References"] == first["In-Reply-To"] == later["References"] != other["References"]
    assert first["Auto-Submitted"] == "auto-generated"
    assert (first["Importance"], later["Importance"]) == ("high", None)
    assert "List-Unsubscribe" not in first


def test_a_subscribers_mail_says_how_to_end_it_and_has_its_pictures() -> None:
    made = message(
        event=Event.CRYSTALS_FOUND,
        change=Change.TOLD,
        severity=Severity.PROGRESS,
        title="2 likely crystals",
        pictures=(Picture("A1.jpg", b"\xff\xd8one", "A1: 0.97"), Picture("A2.webp", b"two", kind="image/webp")),
        unsubscribe="https://c4.facility.org/unsubscribe?token=abc&p=1",
    )
    mail = compose(cleaned(made), "c4@facility.org", ["a@b.org"], AT, PLACE)
    read = email.message_from_bytes(mail.as_bytes(), policy=email.policy.default)
    assert read["Subject"] == "C4: 2 likely crystals"
    by_mail = "<mailto:c4@facility.org?subject=unsubscribe%20abc%26p%3D1>"
    raw = mail.as_bytes().replace(b"\r\n ", b" ")
    assert f"List-Unsubscribe: <https://c4.facility.org/unsubscribe?token=abc&p=1>, {by_mail}\r\n".encode() in raw
    assert read["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    pictures = [part for part in read.walk() if part.get_content_maintype() == "image"]
    assert [(part.get_content_type(), part.get_content()) for part in pictures] == [
        ("image/jpeg", b"\xff\xd8one"),
        ("image/webp", b"two"),
    ]
    html, plain = read.get_body(("html",)), read.get_body(("plain",))
    assert html is not None
    assert plain is not None
    cids = [part["Content-ID"].strip("<>") for part in pictures]
    assert re.findall(r'src="cid:([^"]+)"', html.get_content()) == cids
    assert "A1: 0.97" in html.get_content()
    assert 'href="https://c4.facility.org/unsubscribe?token=abc&amp;p=1"' in html.get_content()
    assert "https://c4.facility.org/unsubscribe?token=abc&p=1" in plain.get_content()


def test_a_subject_says_how_bad_it_is_in_one_line() -> None:
    assert subject(message()) == "C4 error: 3 runs failed"
    assert subject(message(change=Change.RECOVERED)) == "C4 recovered: 3 runs failed"
    assert len(subject(message(title="x" * 900))) == 150


def test_a_webhook_gets_what_its_schema_says_and_neither_pictures_nor_recipients() -> None:
    made = message(
        pictures=(Picture("a.jpg", b"x"),), recipients=("a@b.org",), unsubscribe="https://c4/u", facts={"images": "3"}
    )
    assert as_json(cleaned(made), PLACE) == {
        "version": 1,
        "id": "m1",
        "thread": "run-failed",
        "change": "opened",
        "event": "run-failed",
        "severity": "error",
        "at": "2026-03-01T08:00:00+00:00",
        "title": "3 runs failed",
        "lines": ["The step marco_probabilities failed."],
        "advice": "Look at the GPU node.",
        "subjects": [{"name": "2026-02-28", "url": "https://c4.facility.org/runs/1?a=1&b=2"}],
        "more": 2,
        "facts": {"images": "3"},
        "page": "run-failed",
        "handbook": "https://docs.facility.org/handbook/run-failed",
    }


def test_services_behind_apprise_get_no_mentions_and_no_links_but_c4s_own() -> None:
    text = text_for_services(cleaned(message(lines=(NASTY, "[x](https://evil.example)"))), PLACE)
    assert "@everyone" not in text
    assert "<@U123>" not in text
    assert "https://evil.example" not in text
    assert "[x](" not in text
    assert "https://c4.facility.org/runs/1?a=1&b=2" in text
    assert "https://docs.facility.org/handbook/run-failed" in text


def test_a_text_that_is_too_long_for_services_is_cut_and_keeps_what_to_do() -> None:
    text = text_for_services(cleaned(message(lines=("x" * 3000, "y" * 3000))), PLACE)
    assert len(text) < 3600
    assert "characters more)" in text
    assert "Look at the GPU node." in text
    assert "https://docs.facility.org/handbook/run-failed" in text


def test_no_secret_leaves_in_any_part_of_a_message() -> None:
    register_secrets(["planted-4711-secret"])
    secret = "postgresql://c4:planted-4711-secret@lims/imaging"
    made = message(
        title=secret,
        lines=(secret,),
        advice=secret,
        subjects=(Subject(secret, "https://c4:planted-4711-secret@facility.org/"),),
        facts={secret: secret},
        pictures=(Picture(secret, b"x", secret),),
    )
    plain = cleaned(made)
    mail = compose(plain, "c4@facility.org", ["a@b.org"], AT, PLACE)
    for text in (
        json.dumps(slack_payload(plain, PLACE)),
        mail.as_string(),
        json.dumps(as_json(plain, PLACE)),
        as_text(plain, PLACE),
    ):
        assert "planted" not in text
        assert "lims" in text


def test_times_are_said_in_the_zone_of_the_readers() -> None:
    assert Place(zone=ZoneInfo("Europe/London")).minute(datetime(2026, 7, 1, 8, tzinfo=UTC)) == "2026-07-01 09:00 BST"
    assert Place().minute(datetime(2026, 7, 1, 8)) == "2026-07-01 08:00 UTC"


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "https://a b", "https://x|y", 'https://x"', "file:///etc", "", "https://[", "data:x"]
)
def test_only_addresses_of_web_pages_become_links(url: str) -> None:
    assert web_address(url) == ""


@given(st.text(), st.integers(60, 400))
def test_a_cut_text_is_as_long_as_allowed_and_says_what_is_missing(text: str, limit: int) -> None:
    shown = cut(text, limit)
    assert len(shown) <= limit
    assert shown == text or shown.endswith("characters more)")


def test_control_characters_and_turned_writing_do_not_leave() -> None:
    assert clean("plate\r\nBcc: a\x00b\u202egnp.exe \ud800") == "plate Bcc: a bgnp.exe ?"
