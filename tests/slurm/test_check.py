"""`c4 slurm check` finds what would otherwise fail in the middle of a night's run."""

import errno
import os
import re
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import pytest
from typer.testing import CliRunner

from c4_assets.command.doctor import look_around
from c4_assets.command.slurm import app, used_on_nodes
from resources.errors import ConfigurationError
from resources.executors.slurm.check import check_site
from resources.imaging_database import ImagingDatabase
from resources.settings import Settings, Site
from tests.slurm import steps
from tests.slurm.login_nodes import GREETING, LoginNode
from tests.slurm.runs import Workplace


@pytest.fixture
def filled(place: Workplace) -> Workplace:
    """The place with an imaging database and a folder of images, all of which nodes are told of."""
    home = place.folder / "c4"
    (home / "images").mkdir(parents=True)
    (home / "images" / "A01_1.jpg").touch()  # an empty folder looks like a mount that is gone
    ImagingDatabase(f"sqlite:///{home / 'imaging.db'}").upgrade()
    place.add_to_environment(C4_HOME=str(home))
    return place


def test_a_deployment_that_works_passes_every_line(filled: Workplace) -> None:
    place = filled
    place.configure(prologue=["echo Loading modules"], gpu={"partition": "gpu,main"})
    place.configure(backfill={"partition": "backlog", "nice": 100})
    answer = CliRunner().invoke(app, ["check"])
    assert answer.exit_code == 0, answer.output
    assert "✗" not in answer.output
    for line in ("partitions: main, gpu", "cpu node", "gpu node", "reaches the Dagster instance", "hands out GPU 0"):
        assert line in answer.output
    for line in (
        "is nobody else's",
        f"archive (C4_DATA) {place.folder}/c4/archive, and sees the locks of this machine",
        f"reaches the image store {place.folder}/c4/images",
        f"reaches the imaging database sqlite:///{place.folder}/c4/imaging.db",
    ):
        assert line in answer.output
    assert list((place.folder / "c4").rglob("*.lock")) == []
    for line in (f"a {kind} job of a backfill would be taken (partition backlog, nice 100)" for kind in ("cpu", "gpu")):
        assert line in answer.output


def test_each_thing_that_is_wrong_has_a_line_that_says_what_to_fix(
    place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.add_to_environment(C4_HOME="/proc/nowhere", DAGSTER_HOME=str(place.folder))
    place.configure(gpu={"partition": "moon"}, backfill={"partition": "far-side"})
    Path(place.site["environment_file"]).chmod(0o644)
    answer = CliRunner().invoke(app, ["check"])
    assert answer.exit_code == 1, answer.output
    said = " ".join(answer.output.split())
    for line in (
        "✗ partition of slurm.gpu There is no partition moon",
        "✗ partition of slurm.backfill There is no partition far-side",
        "✗ a cpu job of a backfill sbatch: error: invalid partition specified: far-side",
        "✗ a gpu job Slurm refused the job",
        "✗ environment_file Others may read or change it (mode 644), and it holds passwords: chmod g-w,o-rwx",
        "archive (C4_DATA) It is /proc/nowhere/archive there",
        "the image store It is /proc/nowhere/images there",
        "the imaging database It is sqlite:////proc/nowhere/imaging.db there",
        "the Dagster instance It is another one than here",
    ):
        assert line in said, answer.output


def lines_of(place: Workplace, *kinds: str) -> str:
    """What the check says, a line each."""
    settings = Settings.from_environment()
    assert settings.slurm
    needs = used_on_nodes(settings.slurm)
    findings = check_site(settings.slurm, settings, place.instance, kinds, 60, needs)
    return "\n".join(f"FIX {each.what}: {each.fix}" if each.fix else f"pass {each.what}" for each in findings)


def test_a_node_without_what_its_steps_need_to_reach_store_and_database_is_found(
    filled: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    addresses = {"C4_STORE_URL": "ssh://c4@127.0.0.1:1/images", "C4_DATABASE_URL": "postgresql://c4@127.0.0.1:1/lims"}
    for name, value in addresses.items():
        monkeypatch.setenv(name, value)
    said = lines_of(filled, "cpu")
    for what, there, here in (
        ("image store", f"{filled.folder}/c4/images", "ssh://c4@127.0.0.1:1/images"),
        ("imaging database", f"sqlite:///{filled.folder}/c4/imaging.db", "postgresql://c4@127.0.0.1:1/lims"),
    ):
        assert f"the {what}: It is {there} there and {here} here." in said
    (filled.folder / "known_hosts").touch()
    filled.add_to_environment(**addresses, C4_STORE_KNOWN_HOSTS=f"{filled.folder}/known_hosts")
    said = lines_of(filled, "cpu")
    assert "the image store: The image store c4@127.0.0.1 does not answer" in said
    assert "the imaging database: " in said
    assert said.count('where = "here"') == 2
    filled.configure(steps={name: {"where": "here"} for name in ("raw_inspection_images", "drop_thumbnails")})
    assert "image store" not in lines_of(filled, "cpu"), "No step that runs on a node uses it."


def test_folders_that_are_not_shared_and_locks_that_do_not_hold_are_found(
    filled: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock that a node must see is taken on another file, or is gone."""

    @contextmanager
    def elsewhere(file: Path) -> Generator[None]:
        if file.parent.name == "staging":
            file.touch()
        yield

    monkeypatch.setattr("resources.executors.slurm.check.locked", elsewhere)
    said = lines_of(filled, "cpu")
    home = filled.folder / "c4"
    assert f"staging (C4_SCRATCH): {home}/staging: A lock on one machine does not hold on another: mount it" in said
    assert f"archive (C4_DATA): {home}/archive: It is not the same folder as on the machine that checks." in said


def test_a_file_system_without_locks_is_refused_by_the_check_and_when_a_run_starts(
    filled: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_: object, __: int) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr("fcntl.flock", refused)
    assert "FIX archive (C4_DATA) on this machine: The file system of" in lines_of(filled, "cpu")
    job = dg.reconstructable(steps.one_step)
    with pytest.raises(ConfigurationError, match="has no locks that other machines see"):
        dg.execute_job(job, instance=filled.instance, run_config=filled.run_config("alone"))
    assert not filled.starts("alone")


def test_the_doctor_has_the_same_lines_from_here_and_from_nodes(filled: Workplace) -> None:
    found = {each.check.id: each for each in look_around(nodes=True, patience=30)}
    assert found["slurm"].holds, found["slurm"]
    lines = [line.what for line in found["slurm.nodes"].findings]
    assert found["slurm.nodes"].holds, lines
    for line in ("gpu node", "reaches the Dagster instance", "hands out GPU 0"):
        assert any(line in each for each in lines), lines


def test_a_shell_that_greets_is_named_and_does_not_disturb_the_check(
    filled: Workplace, greeting_node: LoginNode
) -> None:
    filled.configure(login=greeting_node.login)
    said = lines_of(filled, "cpu")
    assert "FIX" not in said
    assert f"greets every session, which C4 leaves out: {GREETING}" in said


def test_a_login_node_without_slurm_in_its_path_ends_the_check_with_what_to_set(
    filled: Workplace, bare_node: LoginNode
) -> None:
    filled.configure(login=bare_node.login)
    said = lines_of(filled, "cpu")
    assert said.startswith("FIX Slurm: sinfo is not in the PATH of an ssh session on root@127.0.0.1")
    assert "slurm.commands" in said
    filled.configure(commands=str(bare_node.commands))
    assert "FIX" not in lines_of(filled, "cpu")


def test_a_dagster_home_that_was_never_used_is_made_and_one_that_cannot_be_used_is_named(
    filled: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DAGSTER_HOME")
    answer = CliRunner().invoke(app, ["check", "--no-gpu"])
    assert answer.exit_code == 0, answer.output
    assert (filled.folder / "c4" / "dagster" / "dagster.yaml").exists()
    broken = filled.folder / "broken"
    broken.mkdir()
    (broken / "dagster.yaml").write_text("storage:\n  postgres:\n    postgres_url: {env: NO_SUCH_VARIABLE}\n")
    monkeypatch.setenv("DAGSTER_HOME", str(broken))
    answer = CliRunner().invoke(app, ["check", "--no-gpu"])
    assert answer.exit_code == 1
    said, fix = answer.output.splitlines()
    assert said == f"✗ the Dagster instance in {broken}"
    assert "See runs.dagster_storage" in fix


def test_a_nodes_clock_that_differs_is_named(filled: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "pass the clock of the cpu node" in lines_of(filled, "cpu")
    ahead = SimpleNamespace(time=lambda: time.time() + 90, monotonic=time.monotonic, sleep=time.sleep)
    monkeypatch.setattr("resources.executors.slurm.check.time", ahead)
    said = [line for line in lines_of(filled, "cpu").splitlines() if "the clock of the cpu node" in line]
    assert re.match(r"FIX .* is \d\d s behind this machine's: Let both keep their time by NTP", said[0]), said


def test_what_steps_use_on_nodes_follows_from_where_they_run() -> None:
    site = Site.model_validate({"folder": "/s"})
    assert used_on_nodes(site) == {"cpu": {"image_store", "imaging_database"}, "gpu": set()}
    here = {name: {"where": "here"} for name in ("raw_inspection_images", "drop_thumbnails")}
    moved = {"db_scores": {"where": "cluster"}, **here}
    assert used_on_nodes(
        site.model_copy(update={"steps": Site.model_validate({"folder": "/s", "steps": moved}).steps})
    )["cpu"] == {"imaging_database"}
