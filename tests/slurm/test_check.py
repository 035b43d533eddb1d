"""`c4 slurm check` finds what would otherwise fail in the middle of a night's run."""

import pytest
from typer.testing import CliRunner

from c4_assets.command.slurm import app
from resources.settings.keys import flat, variable_of
from tests.slurm.runs import Workplace


def variables(place: Workplace) -> dict[str, str]:
    """The variables that configure the place's site."""
    return {variable_of(key): str(value) for key, value in flat({"slurm": place.site}).items()}


def test_a_deployment_that_works_passes_every_line(place: Workplace) -> None:
    place.add_to_environment(C4_HOME=str(place.folder / "c4"))
    place.configure(backfill={"partition": "backlog", "nice": 100})
    answer = CliRunner().invoke(app, ["check"], env=variables(place))
    assert answer.exit_code == 0, answer.output
    assert "FIX" not in answer.output
    for line in ("partitions: main, gpu", "cpu node", "gpu node", "reaches the Dagster instance", "hands out GPU 0"):
        assert line in answer.output
    for line in (f"a {kind} job of a backfill would be taken (partition backlog, nice 100)" for kind in ("cpu", "gpu")):
        assert line in answer.output


def test_each_thing_that_is_wrong_has_a_line_that_says_what_to_fix(
    place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.add_to_environment(C4_HOME="/proc/nowhere", DAGSTER_HOME=str(place.folder))
    place.configure(gpu={"partition": "moon"}, backfill={"partition": "far-side"})
    answer = CliRunner().invoke(app, ["check"], env=variables(place))
    assert answer.exit_code == 1, answer.output
    for line in (
        "FIX   partition of slurm.gpu: There is no partition moon",
        "FIX   partition of slurm.backfill: There is no partition far-side",
        "FIX   a cpu job of a backfill: sbatch: error: invalid partition specified: far-side",
        "FIX   a gpu job: Slurm refused the job",
        "archive (C4_DATA): It is /proc/nowhere/archive there",
        "the Dagster instance: It is another one than here",
    ):
        assert line in answer.output, answer.output
