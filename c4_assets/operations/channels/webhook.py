"""Messages as JSON to any web server (docs/channels.md has the schema)."""

import hashlib
import hmac
import json
from dataclasses import dataclass, field
from datetime import UTC
from typing import Any
from urllib.parse import quote

from pydantic import SecretStr

from c4_assets.operations.alerts.records import Message
from c4_assets.operations.channels.sending import accepted, failures_named, post
from c4_assets.operations.channels.words import DEFAULT_PLACE, Place, cleaned

SCHEMA_VERSION = 1
"""Goes up when a field goes or changes its meaning; new fields may come without."""


@dataclass(frozen=True)
class Webhook:
    """A channel that posts JSON.

    Attributes:
        secret: with it each message is signed: ``X-C4-Signature: sha256=`` and the HMAC-SHA256 of the body.
        place: where its readers are.
    """

    name: str
    url: SecretStr
    secret: SecretStr | None = None
    place: Place = DEFAULT_PLACE
    timeout: float = field(default=10, repr=False)

    def send(self, message: Message) -> None:
        """Sends one message.

        Raises:
            ChannelAway: it did not go out, as far as one can know.
        """
        body = json.dumps(as_json(cleaned(message), self.place), ensure_ascii=False).encode()
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "User-Agent": "C4",
            "Idempotency-Key": quote(message.id),
        }
        if self.secret is not None:
            signature = hmac.new(self.secret.get_secret_value().encode(), body, hashlib.sha256)
            headers["X-C4-Signature"] = f"sha256={signature.hexdigest()}"
        with failures_named(self.name):
            accepted(self.name, post(self.url.get_secret_value(), body, headers, self.timeout))


def as_json(message: Message, place: Place) -> dict[str, Any]:
    """A cleaned message, without pictures, recipients and the address at which one of them unsubscribes."""
    at = message.at if message.at.tzinfo else message.at.replace(tzinfo=UTC)
    return {
        "version": SCHEMA_VERSION,
        "id": message.id,
        "thread": message.thread,
        "change": message.change.value,
        "event": message.event.value,
        "severity": message.severity.value,
        "at": at.astimezone(UTC).isoformat(),
        "title": message.title,
        "lines": list(message.lines),
        "advice": message.advice,
        "subjects": [{"name": each.name, "url": each.url} for each in message.subjects],
        "more": message.more,
        "facts": dict(message.facts),
        "page": message.page,
        "handbook": place.page(message.page),
    }
