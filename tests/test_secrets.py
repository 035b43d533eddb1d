"""A secret that is planted in every setting, and in what drivers say, comes out nowhere.

The secret settings are found by walking over the model, so a new one is planted as well. A new output (a message, a
metric, a page) is one more entry of :data:`OUTPUTS`.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import typer
from dagster._core.scheduler.instigation import TickStatus
from dagster_shared.error import SerializableErrorInfo

from c4_assets.command import app
from c4_assets.runs.instance_health import OpenedInstance, storage
from c4_assets.runs.watch.daemons import look_at_ticks
from c4_assets.runs.watch.reasons import reason_of
from resources.redaction import HIDDEN, register_secrets
from resources.settings import Settings
from testing.dagster_types import ephemeral_instance
from tests.outputs_of_secrets import (
    CALLED_APART,
    NOT_CALLED,
    alerts,
    backup,
    called,
    commands,
    doctor,
    events,
    files,
    job_script,
    log_files,
    messages,
    metrics,
    pages,
    runs,
    spans,
    stored_reasons,
)
from tests.planted_secrets import IN_A_VARIABLE, IN_AN_ADDRESS, Trouble, planted, tick

pytest_plugins = ["tests.planted_secrets"]

OUTPUTS: dict[str, Callable[[Trouble], str]] = {
    "representation of the settings": lambda trouble: repr(Settings.from_environment(trouble.environment)),
    "job script": job_script,
    "alerts that the watch sends": alerts,
    "messages to operators": messages,
    "traces": spans,
    "metrics": metrics,
    "commands": commands,
    "doctor": doctor,
    "backup": backup,
    "served pages": pages,
    "errors and reasons": lambda trouble: "\n".join(trouble.spoken),
    "event log": events,
    "runs": runs,
    "stored reasons": stored_reasons,
    # Those before have written to these.
    "console": lambda trouble: trouble.printed.getvalue(),
    "log files": log_files,
    "files": files,
}

SOMETHING_TAKEN_OUT = (
    "alerts that the watch sends",
    "messages to operators",
    "commands",
    "doctor",
    "served pages",
    "errors and reasons",
    "event log",
    "stored reasons",
    "console",
    "log files",
)


@pytest.mark.usefixtures("judged_without_great_expectations")
def test_a_secret_of_any_setting_and_of_any_driver_comes_out_nowhere(trouble: Trouble) -> None:
    names = [value.strip('[]"').rpartition("/")[2] for value in planted().values()]
    came_out: list[str] = []
    for output, text_of in OUTPUTS.items():
        text = text_of(trouble)
        assert text.strip(), f"{output} says nothing, so that it shows nothing"
        came_out += [f"{name} in {output}" for name in (*names, IN_AN_ADDRESS, IN_A_VARIABLE) if name in text]
        if output in SOMETHING_TAKEN_OUT:
            assert HIDDEN in text, f"nothing was taken out of {output}: was anything planted there?"
    assert came_out == []


def test_every_command_is_called_where_secrets_are_planted() -> None:
    def names(command: Any, *before: str) -> Iterator[str]:
        within = command.list_commands(typer.Context(command)) if hasattr(command, "list_commands") else ()
        if before and (not within or command.invoke_without_command):
            yield " ".join(before)
        for name in within:
            yield from names(command.get_command(typer.Context(command), name), *before, name)

    every = set(names(typer.main.get_command(app)))
    assert len(every) > 30
    assert every - CALLED_APART - set(NOT_CALLED) <= called()
    assert set(NOT_CALLED) <= every


def test_a_secret_at_which_a_long_text_is_cut_is_recognised(tmp_path: Path) -> None:
    register_secrets(["planted-where-it-is-cut"])

    def said(characters: int) -> str:
        return "x" * (characters - 14) + " planted-where-it-is-cut"

    with ephemeral_instance() as instance:
        run = dg.DagsterRun(job_name="score_images", status=dg.DagsterRunStatus.STARTED)
        instance.add_run(run)
        instance.report_run_failed(run, said(500))
        reason = reason_of(instance, run.run_id).words
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        for _ in range(3):
            tick(instance, TickStatus.FAILURE, error=SerializableErrorInfo(said(500), [], "Wrong"))
        (failed,) = look_at_ticks(instance, datetime.now(UTC)).holding
        (tmp_path / "dagster.yaml").touch()

    def broken() -> dg.DagsterInstance:
        raise RuntimeError(said(300))

    seen = storage(tmp_path, OpenedInstance(broken)).fix
    for text in (reason, failed.summary, seen):
        assert "xxx" in text
        assert "planted" not in text
