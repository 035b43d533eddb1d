"""Slack, by an incoming webhook or by a bot's token. With a token, messages of one incident share a thread."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from pydantic import SecretStr

from c4_assets.operations.alerts.records import ChannelAway, Message
from c4_assets.operations.channels.sending import Answer, accepted, failures_named, post
from c4_assets.operations.channels.slack_blocks import slack_payload, stays_visible
from c4_assets.operations.channels.threads import Threads
from c4_assets.operations.channels.words import DEFAULT_PLACE, Place, clean, cleaned, cut

log = logging.getLogger("c4.alerts")

API = "https://slack.com/api/"

REFUSED_FORM = frozenset({"invalid_blocks", "invalid_blocks_format", "invalid_attachments", "msg_blocks_too_long"})
"""Slack's words for a message whose looks it does not take. It is sent as text, so that it stops none behind it."""

GONE_THREAD = frozenset({"thread_not_found", "message_not_found", "cannot_reply_to_message", "invalid_thread_ts"})
"""Slack's words for a thread that somebody has deleted. The message begins a new one."""

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

    def _post(self, payload: Mapping[str, Any]) -> Answer:
        return _post_json(self.url.get_secret_value(), payload, {}, self.timeout)


@dataclass(frozen=True)
class SlackBot:
    """A channel of Slack in which a bot writes. It needs the scope ``chat:write`` and to be in the channel.

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
        """Sends one message, into the thread of its incident.

        Raises:
            ChannelAway: it did not go out, as far as one can know.
        """
        with failures_named(self.name):
            payload = {**_AS_IT_IS, **slack_payload(cleaned(message), self.place), "channel": self.channel}
            thread = self.threads.of(self._key(message)) if self.threads else None
            if thread:
                payload |= {"thread_ts": thread, "reply_broadcast": stays_visible(message)}
            begun = self._say(payload, message)
        if self.threads and begun:
            self.threads.remember(self._key(message), begun, message.at)

    def _say(self, payload: dict[str, Any], message: Message) -> str:
        """The time-stamp by which Slack knows the message that it took, if it begins a thread."""
        said = self._ask(payload)
        if said.get("error") in GONE_THREAD:
            payload = {name: value for name, value in payload.items() if name not in ("thread_ts", "reply_broadcast")}
            said = self._ask(payload)
        if said.get("error") in REFUSED_FORM:
            log.warning("%s does not take the form of message %s (%s).", self.name, message.id, said.get("error"))
            said = self._ask({name: value for name, value in payload.items() if name not in ("blocks", "attachments")})
        if said.get("ok") is not True:
            error = cut(clean(str(said.get("error", "no reason given"))), 100)
            raise ChannelAway(f"{self.name}: Slack refuses: {error}.{HELP.get(error, '')}")
        return "" if "thread_ts" in payload else str(said.get("ts", ""))

    def _ask(self, payload: Mapping[str, Any]) -> dict[str, Any]:
        url = f"{self.api.rstrip('/')}/chat.postMessage"
        headers = {"Authorization": f"Bearer {self.token.get_secret_value()}"}
        answer = accepted(self.name, _post_json(url, payload, headers, self.timeout))
        try:
            said = json.loads(answer.body)
        except ValueError:
            said = None
        if not isinstance(said, dict):
            raise ChannelAway(f"{self.name}: what answered is not Slack. Is a proxy or a login in between?")
        return cast("dict[str, Any]", said)

    def _key(self, message: Message) -> str:
        return f"{self.name}\n{self.channel}\n{message.thread}"


HELP = {
    "not_in_channel": " Invite the bot: /invite in the channel.",
    "channel_not_found": " Is the channel's name right, and is the bot in it?",
    "invalid_auth": " Is the token right?",
    "token_revoked": " Make a new token.",
    "missing_scope": " Give the bot the scope chat:write.",
}
"""What to do about Slack's errors."""


def _post_json(url: str, payload: Mapping[str, Any], headers: Mapping[str, str], timeout: float) -> Answer:
    content = {"Content-Type": "application/json; charset=utf-8", "User-Agent": "C4"}
    return post(url, json.dumps(payload).encode(), {**headers, **content}, timeout)


def thread_file(folder: Path) -> Path:
    """Where the threads of a deployment's incidents are remembered."""
    return folder / "slack-threads.json"
