"""What a step prints on a node is in Dagster's UI, whatever the machines share, and holds no secret."""

from pathlib import Path

import pytest
import yaml
from dagster import DagsterEventType
from dagster._core.events import ComputeLogsCaptureData

from resources.executors.slurm.client import SlurmClient
from resources.redaction import HIDDEN, register_secrets
from testing.sshd import Sshd
from tests.slurm import steps
from tests.slurm.runs import Run, Workplace

SECRET = "planted-3f2c9d77"


def shown(place: Workplace, run_id: str, step: str) -> list[tuple[str, str]]:
    """Of each attempt at a step, what the UI shows: standard output and standard error."""
    manager = place.instance.compute_log_manager
    found: list[tuple[str, str]] = []
    for entry in place.instance.all_logs(run_id, of_type=DagsterEventType.LOGS_CAPTURED):
        data = entry.dagster_event and entry.dagster_event.event_specific_data
        assert isinstance(data, ComputeLogsCaptureData)
        if step in data.step_keys:
            log_key = manager.build_log_key_for_run(run_id, data.file_key)
            assert manager.is_capture_complete(log_key)
            captured = manager.get_log_data(log_key)
            found.append(((captured.stdout or b"").decode(), (captured.stderr or b"").decode()))
    return found


def with_a_home_of_its_own(place: Workplace, folder: Path) -> None:
    """Gives nodes a DAGSTER_HOME that this machine does not look into; the event log is shared, as on PostgreSQL."""
    folder.mkdir()
    settings = {
        "telemetry": {"enabled": False},
        "storage": {"sqlite": {"base_dir": place.instance.root_directory}},
        "local_artifact_storage": {
            "module": "dagster._core.storage.root",
            "class": "LocalArtifactStorage",
            "config": {"base_dir": str(folder)},
        },
    }
    (folder / "dagster.yaml").write_text(yaml.safe_dump(settings))
    place.add_to_environment(DAGSTER_HOME=str(folder))


def test_output_on_a_shared_file_system_is_shown_without_secrets_and_not_fetched(
    place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[object] = []

    def read_ends(*what: object) -> list[bytes]:
        fetched.append(what)
        return [b"", b""]

    monkeypatch.setattr(SlurmClient, "read_ends", read_ends)
    register_secrets([SECRET])
    run = Run(place, steps.one_step, place.run_config("alone", says=f"hello {SECRET}"))
    assert run.status() == "SUCCESS", run.messages()
    [(out, err)] = shown(place, run.run_id, "alone")
    assert f"hello {HIDDEN}" in out
    assert f"hello {HIDDEN}" in err
    assert SECRET not in out + err
    assert fetched == []


def test_output_on_nodes_that_share_no_folder_with_the_ui_is_fetched_through_the_login_node(
    place: Workplace, login_node: Sshd, tmp_path: Path
) -> None:
    register_secrets([SECRET])
    ssh = {"host": "127.0.0.1", "port": login_node.port, "user": "root"}
    place.configure(login={**ssh, "key": str(login_node.key), "known_hosts": str(login_node.known_hosts)})
    with_a_home_of_its_own(place, tmp_path / "of_the_node")
    run = Run(place, steps.one_step, place.run_config("alone", says=f"hello {SECRET}"))
    assert run.status() == "SUCCESS", run.messages()
    assert list((tmp_path / "of_the_node").rglob("*.out")), "The step has captured its output where only it sees it."
    [(out, err)] = shown(place, run.run_id, "alone")
    assert f"hello {HIDDEN}" in out
    assert f"hello {HIDDEN}" in err


def test_output_of_a_job_in_which_dagster_never_began_is_shown(place: Workplace) -> None:
    place.configure(prologue=["echo the module is not there >&2", "exit 3"])
    run = Run(place, steps.one_step, place.run_config("alone"))
    assert run.status() == "FAILURE"
    [(out, err)] = shown(place, run.run_id, "alone")
    assert (out, err) == ("", "the module is not there\n")


def test_output_of_both_attempts_is_shown_and_that_of_a_killed_process_is_whole(place: Workplace) -> None:
    run = Run(place, steps.one_step_tried_twice, place.run_config("tried_twice", first="kill", says="hello"))
    assert run.status() == "SUCCESS", run.messages()
    (killed, said), (out, _) = shown(place, run.run_id, "tried_twice")
    assert "hello" in killed
    assert "Killed" in said, "What the job's own shell says of it."
    assert "hello" in out
