"""A message as Slack shows it: Block Kit, made and checked with Slack's own models.

Slack takes 3,000 characters a section, 50 blocks, and about 13,000 characters in all
(https://docs.slack.dev/reference/block-kit/blocks, slackapi/bolt-js#2509). What is longer is cut, and the message says
so.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

from c4_assets.operations.alerts.records import Change, Message, Subject
from c4_assets.operations.channels.words import Place, look_of, more, state_of

if TYPE_CHECKING:
    from slack_sdk.models.basic_objects import JsonObject
    from slack_sdk.models.blocks import Block

SECTION_CHARACTERS = 2900
"""Characters of a section's text: 3,000, less what joins and marks lines."""

BLOCKS_A_MESSAGE = 50
ALL_CHARACTERS = 12_000
FIELDS_A_SECTION = 10
"""Fields of a section."""

SUBJECTS_NAMED = 5
"""Subjects that are named, as many as a message has (:class:`Message`)."""

_CUT = "… _({} characters more)_"


def slack_payload(message: Message, place: Place, pictures: bool = False) -> dict[str, Any]:
    """The parts ``text``, ``blocks`` and ``attachments`` of a message for a webhook or ``chat.postMessage``.

    The title stands above a bar in the colour of what has happened, beside which all else is. ``text`` is what
    notifications and readers of the screen say. Nothing in it mentions anybody, and only C4's own addresses are links.

    Args:
        message: cleaned (:func:`c4_assets.operations.channels.words.cleaned`).
        pictures: whether its pictures follow.
    """
    from slack_sdk.models.attachments import BlockAttachment
    from slack_sdk.models.blocks import SectionBlock

    look = look_of(message)
    title = SectionBlock(text=_text(f"{look.symbol} *{escaped(message.title.replace('*', '∗'), 250)}*"))
    blocks, dropped = _within_limits(*_body(message, place, pictures), ALL_CHARACTERS)
    if dropped:
        blocks.append(_small(f"{dropped} parts of this message are left out: it is too long for Slack."))
    bar = BlockAttachment(blocks=blocks, color=look.color, fallback=f"{look.word}: {escaped(message.title, 250)}")
    attachment = {name: value for name, value in as_dict(bar).items() if value not in ("", [])}
    return {
        "text": f"{look.symbol} {look.word}: {escaped(message.title, 250)}",
        "blocks": [as_dict(title)],
        "attachments": [attachment],
    }


def as_dict(made: "JsonObject") -> dict[str, Any]:
    """What a model sends, after it has checked it.

    Raises:
        SlackObjectFormationError: Slack would refuse it.
    """
    return cast("dict[str, Any]", made.to_dict())  # pyright: ignore[reportUnknownMemberType]


def escaped(text: str, limit: int) -> str:
    """The text with Slack's three characters escaped, so that nothing in it is a link or a mention.

    What would be longer than the limit is cut between characters, and the text says so.
    """
    while "```" in text:
        text = text.replace("```", "`")  # else all that follows is shown as code
    parts = [_ESCAPES.get(char, char) for char in text]
    if _length(parts) <= limit:
        return "".join(parts)
    room = limit - len(_CUT.format(len(parts)))
    kept = 0
    while kept < len(parts) and (room := room - _length(parts[kept])) >= 0:
        kept += 1
    return "".join(parts[:kept]) + _CUT.format(len(parts) - kept)


_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def _length(parts: Iterable[str]) -> int:
    """Characters as the strictest counts them: those of UTF-16."""
    return sum(2 if char > "\uffff" else 1 for part in parts for char in part)


def _body(message: Message, place: Place, pictures: bool) -> tuple[list["Block"], list["Block"], list["Block"]]:
    """What stands before the account of what happened, that account, and what stands below it."""
    from slack_sdk.models.blocks import SectionBlock

    lines = [
        SectionBlock(text=_text(text))
        for text in _sections(escaped(line, SECTION_CHARACTERS) for line in message.lines)
    ]
    facts = [_text(f"*{escaped(name, 200)}*\n{escaped(value, 500)}") for name, value in message.facts.items()]
    fields = [
        SectionBlock(fields=facts[start : start + FIELDS_A_SECTION]) for start in range(0, len(facts), FIELDS_A_SECTION)
    ]
    below: list[Block] = []
    if message.advice:
        below.append(SectionBlock(text=_text(f"*What to do:* {escaped(message.advice, SECTION_CHARACTERS - 20)}")))
    named = [f"• {_linked(each)}" for each in message.subjects[:SUBJECTS_NAMED]] + [
        f"• {each}" for each in more(message)
    ]
    below += [SectionBlock(text=_text(text)) for text in _sections(named)]
    if message.pictures:
        where = "follow in the thread" if pictures else "are not shown here: a webhook cannot send them"
        below.append(_small(f"{len(message.pictures)} pictures {where}."))
    if page := place.page(message.page):
        below.append(_small(f"<{_href(page)}|Handbook: what it means, and what to do>"))
    elif message.page:
        below.append(_small(f"Handbook: {escaped(message.page, 100)}"))
    return [_small(escaped(state_of(message, place), 200))], [*lines, *fields], below


def _within_limits(
    head: list["Block"], account: list["Block"], below: list["Block"], room: int
) -> tuple[list["Block"], int]:
    """The blocks that Slack takes, and how many were left out. What to do is not cut off by a long account."""
    room -= sum(_size(as_dict(block)) for block in (*head, *below))
    most = BLOCKS_A_MESSAGE - 2 - len(head) - len(below)  # the title and the note of what is left out are two
    kept: list[Block] = []
    for block in account[:most]:
        room -= _size(as_dict(block))
        if room < 0:
            break
        kept.append(block)
    return [*head, *kept, *below], len(account) - len(kept)


def _size(value: Any) -> int:
    """Characters of all texts in a block."""
    if isinstance(value, Mapping):
        found = cast("Mapping[str, Any]", value)
        return sum(
            _length([each]) if isinstance(each, str) else _size(each) for name, each in found.items() if name != "type"
        )
    return sum(map(_size, cast("list[Any]", value))) if isinstance(value, list) else 0


def _sections(lines: Iterable[str]) -> list[str]:
    """Lines put together to as few texts as Slack allows."""
    texts: list[str] = []
    for line in lines:
        if texts and _length([texts[-1], line]) < SECTION_CHARACTERS:
            texts[-1] += f"\n{line}"
        else:
            texts.append(line)
    return texts


def _linked(subject: Subject) -> str:
    name = escaped(subject.name, 400)
    return f"<{_href(subject.url)}|{name}>" if subject.url and len(subject.url) < 1000 else name


def _href(url: str) -> str:
    return url.replace("&", "&amp;")


def _text(text: str) -> Any:
    """Marked up by C4 alone: ``verbatim`` keeps Slack from making links of addresses and names of channels."""
    from slack_sdk.models.blocks import MarkdownTextObject

    return MarkdownTextObject(text=text, verbatim=True)


def _small(text: str) -> "Block":
    from slack_sdk.models.blocks import ContextBlock

    return ContextBlock(elements=[_text(text)])


def stays_visible(message: Message) -> bool:
    """Whether a message of a thread is to be seen in the channel, too: that it is over, and that it grew."""
    return message.change in (Change.RECOVERED, Change.GREW)
