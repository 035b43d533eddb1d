"""What a run that is over has to say: numbers of its materialisations, and why it failed."""

import dagster as dg
from dagster import DagsterEventType as Event


def numbers_of_run(instance: dg.DagsterInstance, run_id: str, asset: str) -> dict[str, int]:
    """The whole numbers among the metadata of what a run has materialised of an asset."""
    found: dict[str, int] = {}
    for entry in instance.all_logs(run_id, of_type=Event.ASSET_MATERIALIZATION):
        materialization = entry.asset_materialization
        if materialization and materialization.asset_key.path[-1] == asset:
            found |= {
                name: value.value for name, value in materialization.metadata.items() if isinstance(value.value, int)
            }
    return found


def failure_of_run(instance: dg.DagsterInstance, run_id: str) -> str:
    """The reason of a run's failure, in the words of the step that failed or of whoever ended the run."""
    reason = "see the run in Dagster's UI (`c4 ui`)"
    for entry in instance.all_logs(run_id, of_type={Event.STEP_FAILURE, Event.RUN_FAILURE, Event.RUN_CANCELED}):
        event = entry.dagster_event
        if event and event.is_step_failure:
            return failure_of_step(event)
        reason = (event and event.message) or reason
    return reason


def failure_of_step(event: dg.DagsterEvent) -> str:
    """The reason of a step's failure: the message for the operator or, if there is none, the error's."""
    data = event.step_failure_data
    if data.user_failure_data and data.user_failure_data.description:
        return data.user_failure_data.description
    cause = data.error and (data.error.cause or data.error)
    return f"{event.step_key}: {cause.message.strip()}" if cause else event.message or ""
