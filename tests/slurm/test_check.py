"""`c4 slurm check` finds what would otherwise fail in the middle of a night's run."""

import pytest
from typer.testing import CliRunner

from c4_assets.command.slurm import app
from tests.slurm.runs import Workplace


def test_a_deployment_that_works_passes_every_line(place: Workplace) -> None:
    place.add_to_environment(C4_HOME=str(place.folder / "c4"))
    place.configure(backfill={"defaults": {"partition": "backlog", "nice": 100}})
    answer = CliRunner().invoke(app, ["check", "--config", str(place.site_file)])
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
    place.configure(kinds={"gpu": {"partition": "moon"}}, backfill={"defaults": {"partition": "far-side"}})
    answer = CliRunner().invoke(app, ["check", "--config", str(place.site_file)])
    assert answer.exit_code == 1, answer.output
    for line in (
        "FIX   partition of gpu: There is no partition moon",
        "FIX   partition of backfill.defaults: There is no partition far-side",
        "FIX   a cpu job of a backfill: sbatch: error: invalid partition specified: far-side",
        "FIX   a gpu job: Slurm refused the job",
        "C4_ARCHIVE: It is /proc/nowhere/archive there",
        "the Dagster instance: It is another one than here",
    ):
        assert line in answer.output, answer.output
