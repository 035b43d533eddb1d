"""Slack, by an incoming webhook or by a bot's token. With a token, messages of one incident share a thread."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlencode

from pydantic import SecretStr

from c4_assets.operations.alerts.records import ChannelAway, Message, Picture
from c4_assets.operations.channels.sending import HttpAnswer, accepted, failures_named, post, within
from c4_assets.operations.channels.slack_blocks import slack_payload, stays_visible
from c4_assets.operations.channels.threads import Threads
from c4_assets.operations.channels.words import DEFAULT_PLACE, Place, clean, cleaned, cut

log = logging.getLogger("c4.alerts")

API = "https://slack.com/api/"

REFUSED_FORM = frozenset({"invalid_blocks", "invalid_blocks_format", "invalid_attachments", "msg_blocks_too_long"})
"""Slack's words for a message whose looks it does not take. It is sent as text, so that it stops none behind it."""

GONE_THREAD = frozenset({"thread_not_found", "message_not_found", "cannot_reply_to_message", "invalid_thread_ts"})
"""Slack's words for a thread that somebody has deleted. The message begins a new one."""

PICTURES, PICTURES_S = 10, 20
"""Pictures of a message that are shown, and seconds for all of them."""

_AS_IT_IS = {"mrkdwn": False, "parse": "none", "link_names": False, "unfurl_links": False, "unfurl_media": False}
"""Slack makes no links, mentions or previews of what stands in a text."""


@dataclass(frozen=True)
class SlackWebhook:
    """A channel of Slack, or of a service that takes what Slack takes. A webhook cannot thread.

    Attributes:
        url: ``https://hooks.slack.com/services/…``.
        place: where its readers are.
    """

    name: str
    url: SecretStr
    place: Place = DEFAULT_PLACE
    timeout: float = field(default=10, repr=False)

    def send(self, message: Message) -> None:
        """Sends one message.

        Raises:
            ChannelAway: it did not go out, as far as one can know.
        """
        with failures_named(self.name):
            payload = {**_AS_IT_IS, **slack_payload(cleaned(message), self.place)}
            answer = self._post(payload)
            if answer.status == 400 and answer.text in REFUSED_FORM:
                log.warning("%s does not take the form of message %s (%s).", self.name, message.id, answer.text)
                answer = self._post({**_AS_IT_IS, "text": payload["text"]})
            accepted(self.name, answer)
            if answer.text.startswith("<"):
                raise ChannelAway(f"{self.name}: a page answered, not Slack. Is a proxy or a login in between?")

    def _post(self, payload: Mapping[str, Any]) -> HttpAnswer:
        return _post_json(self.url.get_secret_value(), payload, {}, self.timeout)


@dataclass(frozen=True)
class _Said:
    """A message that Slack took: the id of its channel, its time-stamp, and the thread that it is in, if it is."""

    channel: str
    ts: str
    thread: str

    @property
    def begins_thread(self) -> bool:
        return bool(self.ts and not self.thread)


@dataclass(frozen=True)
class SlackBot:
    """A channel of Slack in which a bot writes. It needs the scope ``chat:write``, for pictures
    ``files:write``, and to be in the channel.

    Attributes:
        token: ``xoxb-…``.
        channel: ``#alerts`` or the channel's id.
        threads: where the threads of incidents are remembered; without, there are none.
        api: where Slack's API is.
    """

    name: str
    token: SecretStr
    channel: str
    place: Place = DEFAULT_PLACE
    threads: Threads | None = None
    api: str = API
    timeout: float = field(default=10, repr=False)

    def send(self, message: Message) -> None:
        """Sends one message, into the thread of its incident, and its pictures behind it.

        Raises:
            ChannelAway: it did not go out, as far as one can know. Pictures that did not are a warning in the log.
        """
        plain = cleaned(message)
        with failures_named(self.name):
            payload = {**_AS_IT_IS, **slack_payload(plain, self.place, pictures=True), "channel": self.channel}
            thread = self.threads.of(self._key(message)) if self.threads else None
            if thread:
                payload |= {"thread_ts": thread, "reply_broadcast": stays_visible(message)}
            said = self._say(payload, message)
        if self.threads and said.begins_thread:
            self.threads.remember(self._key(message), said.ts, message.at)
        if plain.pictures:
            self._show(plain.pictures, said)

    def _say(self, payload: dict[str, Any], message: Message) -> "_Said":
        said = self._ask(payload)
        if said.get("error") in GONE_THREAD:
            payload = {name: value for name, value in payload.items() if name not in ("thread_ts", "reply_broadcast")}
            said = self._ask(payload)
        if said.get("error") in REFUSED_FORM:
            log.warning("%s does not take the form of message %s (%s).", self.name, message.id, said.get("error"))
            said = self._ask({name: value for name, value in payload.items() if name not in ("blocks", "attachments")})
        self._refuse(said)
        return _Said(str(said.get("channel", "")), str(said.get("ts", "")), str(payload.get("thread_ts", "")))

    def _refuse(self, said: Mapping[str, Any]) -> None:
        if said.get("ok") is not True:
            error = cut(clean(str(said.get("error", "no reason given"))), 100)
            raise ChannelAway(f"{self.name}: Slack refuses: {error}.{HELP.get(error, '')}")

    def _ask(self, payload: Mapping[str, Any], method: str = "chat.postMessage", form: bool = False) -> dict[str, Any]:
        url = f"{self.api.rstrip('/')}/{method}"
        headers = {"Authorization": f"Bearer {self.token.get_secret_value()}"}
        if form:
            content = {"Content-Type": "application/x-www-form-urlencoded", "User-Agent": "C4"}
            answer = post(url, urlencode(payload).encode(), {**headers, **content}, self.timeout)
        else:
            answer = _post_json(url, payload, headers, self.timeout)
        try:
            said = json.loads(accepted(self.name, answer).body)
        except ValueError:
            said = None
        if not isinstance(said, dict):
            raise ChannelAway(f"{self.name}: what answered is not Slack. Is a proxy or a login in between?")
        return cast("dict[str, Any]", said)

    def _show(self, pictures: Sequence[Picture], said: "_Said") -> None:
        """Puts pictures into the thread of a message that was sent. They never make it go out again."""
        try:
            with failures_named(self.name):
                within(PICTURES_S, lambda: self._upload(pictures[:PICTURES], said))
        except ChannelAway as error:
            log.warning("The pictures of a message were not sent. %s", error)

    def _upload(self, pictures: Sequence[Picture], said: "_Said") -> None:
        files: list[dict[str, str]] = []
        for number, each in enumerate(pictures, 1):
            name = each.name or f"picture-{number}"
            place = self._ask({"filename": name, "length": len(each.data)}, "files.getUploadURLExternal", form=True)
            self._refuse(place)
            headers = {"Content-Type": "application/octet-stream", "User-Agent": "C4"}
            accepted(self.name, post(str(place["upload_url"]), each.data, headers, self.timeout))
            files.append({"id": str(place["file_id"]), "title": cut(each.caption or name, 200)})
        shown = {"files": json.dumps(files), "channel_id": said.channel, "thread_ts": said.thread or said.ts}
        self._refuse(self._ask(shown, "files.completeUploadExternal", form=True))

    def _key(self, message: Message) -> str:
        return f"{self.name}\n{self.channel}\n{message.thread}"


HELP = {
    "not_in_channel": " Invite the bot: /invite in the channel.",
    "channel_not_found": " Is the channel's name right, and is the bot in it?",
    "invalid_auth": " Is the token right?",
    "token_revoked": " Make a new token.",
    "missing_scope": " Give the bot the scopes chat:write and files:write.",
}
"""What to do about Slack's errors."""


def _post_json(url: str, payload: Mapping[str, Any], headers: Mapping[str, str], timeout: float) -> HttpAnswer:
    content = {"Content-Type": "application/json; charset=utf-8", "User-Agent": "C4"}
    return post(url, json.dumps(payload).encode(), {**headers, **content}, timeout)


def thread_file(folder: Path) -> Path:
    """Where the threads of a deployment's incidents are remembered."""
    return folder / "slack-threads.json"
