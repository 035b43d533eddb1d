"""How a step fails: errors with a message for the operator become step failures or retries, and none holds a secret."""

import logging
from collections.abc import Generator, Mapping
from contextlib import contextmanager

import dagster as dg

from c4_assets.runs.log_lines import step_logged
from c4_assets.runs.watch.outages import SERVICE_KEY, answered_to_step, met_by_step
from resources.errors import C4Error, Unavailable
from resources.extras import naming_extras
from resources.redaction import redacted, without_secrets

log = logging.getLogger("c4.step")

RETRY_DELAY_S = 10.0
"""Wait before a step is tried again whose database or storage host did not answer; it doubles each time."""

CPU_RETRIES = dg.RetryPolicy(
    max_retries=3, delay=RETRY_DELAY_S, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS
)
"""Retries of steps on CPUs: a database or storage host that fails is usually back within a minute (10 + 20 + 40 s)."""


GPU_RETRIES = dg.RetryPolicy(max_retries=1, delay=RETRY_DELAY_S)
"""Retries of steps on GPUs: one, on another node. Finished inspections are not classified again."""

BACKFILL_TAG = "dagster/backfill"

WAITS_TAG = "c4/waits_for_services"
"""Tag of a run that nobody asks for again soon, such as a schedule's: its steps wait as those of a backfill do."""

WAITS = {WAITS_TAG: "true"}

MAX_RETRY_WAIT_S = 300
BACKFILL_ATTEMPTS = 2000
"""Retries of a step of a backfill or schedule while a database or storage host is down: a week, one every five minutes
at most. No sensor requests its runs again, as for hourly ones; a waiting run takes one place in the queue."""


def in_backfill(run_tags: Mapping[str, str]) -> bool:
    """Whether a run belongs to a backfill."""
    return BACKFILL_TAG in run_tags


def waits_for_services(run_tags: Mapping[str, str]) -> bool:
    """Whether the steps of a run wait for a service that does not answer, for a week at most."""
    return in_backfill(run_tags) or WAITS_TAG in run_tags


REPEAT_RUN_TAGS = {"dagster/retry_strategy": "ALL_STEPS", "dagster/max_retries": "100"}
"""Tags of a run that Dagster is to repeat from its first step on. What is done is not done again, and each time there
is room for one inspection at least."""


class RunRepeated(C4Error):
    """A backfill's run has left work that no later run would do, and Dagster repeats it from the first step on."""


def run_repeated(context: dg.AssetExecutionContext, reason: str) -> RunRepeated:
    """Has Dagster repeat the run when it has failed, and returns the error that makes it fail."""
    context.instance.add_run_tags(context.run.run_id, REPEAT_RUN_TAGS)
    return RunRepeated(f"{reason}: the run is repeated.")


@contextmanager
def translate_errors(context: dg.AssetExecutionContext | dg.OpExecutionContext) -> Generator[None]:
    """Turns an error with a message for the operator into a step failure that shows the message.

    The step is retried if that can help: for a database that is down, not for a wrong setting. A backfill is retried
    for a week, and so is a run of a schedule; other runs fail after the few retries of their asset. Of any other error,
    secrets are taken out: Dagster shows it with all its causes. What is logged in the block has the ids of the step.
    Which service did not answer, or does again, is noted for the alerts.
    """
    with step_logged(context):
        try:
            with naming_extras():
                yield
            answered_to_step(context.instance, context.op_def.pool)
        except C4Error as error:
            raise _step_failure(context, error) from (error if without_secrets(error) is error else None)
        except Exception as error:
            shown = without_secrets(error)
            if shown is error:
                raise
            if isinstance(error, dg.Failure):
                shown = dg.Failure(redacted(error.description or ""), error.metadata, error.allow_retries)
            raise shown from None


def _step_failure(context: dg.AssetExecutionContext | dg.OpExecutionContext, error: C4Error) -> Exception:
    log.warning("%s", error)
    if isinstance(error, Unavailable):
        met_by_step(context.instance, error.service, str(error))
    if error.retryable and waits_for_services(context.run.tags):
        wait = min(RETRY_DELAY_S * 2 ** min(context.retry_number, 10), MAX_RETRY_WAIT_S)
        return dg.RetryRequested(max_retries=BACKFILL_ATTEMPTS, seconds_to_wait=wait)
    service = error.service if isinstance(error, Unavailable) else None
    metadata = {SERVICE_KEY: service} if service else None
    return dg.Failure(description=str(error), metadata=metadata, allow_retries=error.retryable)
