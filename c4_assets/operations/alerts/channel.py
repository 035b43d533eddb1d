"""A way on which messages leave."""

from typing import Protocol

from c4_assets.operations.alerts.records import Message


class Channel(Protocol):
    """One way on which messages leave, such as Slack.

    Attributes:
        name: its kind as in :data:`resources.settings.alerts.CHANNELS`, with a number where there are several of a
            kind: ``slack``, ``apprise-2``.
    """

    @property
    def name(self) -> str: ...

    def send(self, message: Message) -> None:
        """Sends a message, and returns when it was taken.

        Raises:
            ChannelAway: the channel takes no message now. The outbox asks it again later.
            MessagePostponed: those whom it is for take nothing now. The outbox tries this message again later.
            Exception: the channel will never take this message. The outbox gives it to the next channel.
        """
        ...
