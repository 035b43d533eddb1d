"""What holds of incidents and their messages, whatever a site observes."""

from collections import Counter
from dataclasses import replace
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from c4_assets.operations.alerts.incidents import INHIBITS, State
from c4_assets.operations.alerts.records import Change, Event, Message, Severity
from c4_assets.operations.alerts.stored import from_json, to_json
from testing.alerts import DATABASE, FULL, RUN, START, Site, condition, failed

HOUR = timedelta(hours=1)

CAUSES = [DATABASE, condition(Event.STORE_AWAY), condition(Event.SLURM_AWAY)]
HOLDING = [*CAUSES, FULL, replace(FULL, severity=Severity.ERROR), condition(Event.ASSET_STALE, "db_scores")]
OCCURRED = [failed("a"), failed("b", "c"), condition(Event.IMAGES_GIVEN_UP, subjects=["plate 1"])]

LOOKS = st.lists(
    st.tuples(
        st.sampled_from([0, 10, 30, 60, 300, 900, 3600, 20_000]),
        st.sets(st.sampled_from(range(len(HOLDING))), max_size=4),
        st.booleans(),
        st.sets(st.sampled_from(range(len(OCCURRED))), max_size=2),
        st.booleans(),
    ),
    max_size=40,
)


def played(looks: list[tuple[int, set[int], bool, set[int], bool]]) -> tuple[Site, list[tuple[Message, set[Event]]]]:
    """A site after these looks and a quiet fortnight, and each message with the causes that held when it was made."""
    site = Site()
    told: list[tuple[Message, set[Event]]] = []
    for seconds, holding, looked, occurred, recovered in looks:
        site.now += timedelta(seconds=seconds)
        held = [HOLDING[index] for index in sorted(holding)]
        messages = site.look(
            *held,
            looked_at=[each.key for each in HOLDING] if looked else [],
            occurred=[OCCURRED[index] for index in sorted(occurred)],
            recovered=[RUN.key] if recovered else [],
        )
        told += [(message, {each.event for each in held}) for message in messages]
    for _ in range(15 * 24):
        site.now += HOUR
        told += [(message, set[Event]()) for message in site.look(looked_at=[each.key for each in HOLDING])]
    return site, told


@given(LOOKS)
@settings(max_examples=300, deadline=None)
def test_whatever_happens_each_incident_is_opened_once_first_and_recovers_once_last(
    looks: list[tuple[int, set[int], bool, set[int], bool]],
) -> None:
    site, told = played(looks)
    assert site.state == State()
    threads: dict[str, list[Change]] = {}
    for message, _ in told:
        threads.setdefault(message.thread, []).append(message.change)
    for thread, changes in threads.items():
        assert changes[0] is Change.OPENED, thread
        assert Counter(changes)[Change.OPENED] == 1, thread
        assert Change.RECOVERED not in changes[:-1], thread
        happens = thread.startswith(("run-failed", "images-given-up"))
        assert happens or changes[-1] is Change.RECOVERED, thread
    assert len({message.id for message, _ in told}) == len(told)


@given(LOOKS)
@settings(max_examples=60, deadline=None)
def test_a_restart_after_each_look_changes_no_message(
    looks: list[tuple[int, set[int], bool, set[int], bool]],
) -> None:
    through, over = Site(), Site()
    for seconds, holding, _, occurred, recovered in looks:
        for site in (through, over):
            site.now += timedelta(seconds=seconds)
            site.look(
                *(HOLDING[index] for index in sorted(holding)),
                looked_at=[each.key for each in HOLDING],
                occurred=[OCCURRED[index] for index in sorted(occurred)],
                recovered=[RUN.key] if recovered else [],
            )
        over.state = from_json(State, to_json(over.state))
        assert over.state == through.state
    assert over.messages == through.messages
    assert [from_json(Message, to_json(message)) for message in over.messages] == over.messages


@given(LOOKS)
@settings(max_examples=300, deadline=None)
def test_whatever_happens_nothing_is_told_of_what_follows_from_what_holds(
    looks: list[tuple[int, set[int], bool, set[int], bool]],
) -> None:
    _, told = played(looks)
    for message, causes in told:
        silent = {event for cause in causes for event in INHIBITS.get(cause, ())}
        assert message.change is Change.RECOVERED or message.event not in silent


@given(LOOKS)
@settings(max_examples=300, deadline=None)
def test_whatever_happens_the_number_of_messages_is_bounded(
    looks: list[tuple[int, set[int], bool, set[int], bool]],
) -> None:
    site, told = played(looks)
    quarters = (site.now - START) / timedelta(minutes=15) + 1
    span = sum(look[0] for look in looks) / 900 + 1
    for key, count in Counter(message.thread.partition("@")[0] for message, _ in told).items():
        # One that opens and recovers in each quarter of an hour, gets worse once, and the last one's end.
        assert count <= 3 * min(span, quarters) + 12, key
