"""Open incidents and messages that wait for a channel, from the folder in which C4 keeps its alerts."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from c4_assets.operations.alerts.state import alerts_folder, load, outbox_of
from c4_assets.operations.metrics.catalogue import Sample


def alert_samples(home: Path) -> Iterator[Sample]:
    """Incidents by event and severity, and how many messages wait since when."""
    folder = alerts_folder(home)
    incidents = load(folder).state.incidents
    held = Counter((each.condition.event, each.condition.severity) for each in incidents if each.ended is None)
    for (event, severity), number in held.items():
        yield Sample("c4_incidents_open", number, (event.value, severity.value))
    waiting = outbox_of(folder).waiting()
    yield Sample("c4_messages_waiting", len(waiting))
    if waiting:
        yield Sample("c4_oldest_message_timestamp_seconds", min(message.at for message in waiting).timestamp())
