"""What shells of login nodes say and lack must not be taken for what Slurm says."""

import time
from pathlib import Path

import pytest

from resources.errors import ConfigurationError, Unavailable
from resources.executors.slurm.client import SlurmClient, SubmissionRefused
from resources.executors.slurm.transport import LocalTransport, Transport, shell_line
from testing.slurm_cluster import Cluster
from tests.slurm import steps
from tests.slurm.cluster import job_script
from tests.slurm.login_nodes import GREETING, LoginNode, login_node_with
from tests.slurm.runs import Run, Workplace


def test_a_greeting_is_told_from_what_commands_print(greeting_node: LoginNode, tmp_path: Path) -> None:
    transport = greeting_node.transport()
    client = SlurmClient(transport)
    assert client.version().startswith("slurm")
    assert transport.greeting == GREETING
    assert {"main", "gpu"} <= set(client.partitions())
    script = tmp_path / "job.sh"
    client.write_file(script, f"#!/bin/sh\n#SBATCH -o /dev/null -J greeted-{time.time_ns()}\nsleep 20\n")
    job_id = client.submit(script)
    assert set(client.poll([job_id]).jobs) == {job_id}
    client.cancel([job_id])
    (tmp_path / "x.exit").write_text("4711 0\n")
    assert client.read_files([tmp_path / "x.exit"]) == {tmp_path / "x.exit": "4711 0"}
    with pytest.raises(SubmissionRefused) as refused:
        client.submit(job_script(tmp_path, "true", "--partition=moon", name="no-partition"))
    assert "Quota" not in str(refused.value)
    transport.close()


@pytest.mark.parametrize("out", ["", "no line end", "one\ntwo\n", "\n\n"])
def test_output_and_exit_code_of_a_command_are_its_own(greeting_node: LoginNode, out: str) -> None:
    transport = greeting_node.transport()
    done = transport.run(["sh", "-c", f"cat; printf '{out}' >&2; exit 3"], stdin=out)
    assert (done.code, done.out, done.err) == (3, out, out)
    transport.close()


def test_a_shell_that_runs_no_command_is_quoted(cluster: Cluster, tmp_path: Path) -> None:
    with login_node_with(tmp_path / "node", "echo 'This account is currently not available.'; exit 1") as node:
        transport = node.transport()
        with pytest.raises(Unavailable, match=r"root@127\.0\.0\.1 ran no command.*currently not available"):
            transport.run(["sbatch", "--version"])
        transport.close()


def test_slurm_that_is_not_in_the_path_is_named_and_the_setting_finds_it(bare_node: LoginNode, tmp_path: Path) -> None:
    transport = bare_node.transport()
    client = SlurmClient(transport)
    for question in (client.version, client.partitions, lambda: client.find("x"), lambda: client.poll(["1"])):
        with pytest.raises(
            ConfigurationError, match=r"is not in the PATH of an ssh session on root@127.*slurm.commands"
        ):
            question()
    transport.close()
    transport = bare_node.transport(bare_node.commands)
    assert SlurmClient(transport).version().startswith("slurm")
    transport.close()


def test_a_step_whose_login_node_has_no_slurm_in_its_path_fails_at_once(place: Workplace, bare_node: LoginNode) -> None:
    place.configure(login=bare_node.login)
    run = Run(place, steps.one_step_tried_twice, place.run_config("tried_twice"))
    assert run.status(60) == "FAILURE", run.messages()
    assert "sbatch is not in the PATH of an ssh session on root@127.0.0.1" in run.messages()
    assert "asking again" not in run.messages()


def test_slurm_that_is_not_in_the_path_of_this_machine_is_named_and_the_setting_finds_it(
    bare_node: LoginNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ConfigurationError, match=r"sinfo is not in the PATH.*slurm.commands"):
        SlurmClient(LocalTransport()).version()
    assert SlurmClient(LocalTransport(bare_node.commands)).version().startswith("slurm")


def test_a_job_that_a_wrapper_gives_to_another_cluster_is_cancelled_there_and_refused(tmp_path: Path) -> None:
    for name, body in {
        "sbatch": "echo Submitted; echo '12;second'",
        "scancel": f'echo "$@" >{tmp_path}/cancelled',
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    transport: Transport = LocalTransport(tmp_path)
    with pytest.raises(SubmissionRefused, match="the cluster second"):
        SlurmClient(transport).submit(tmp_path / "job.sh")
    assert (tmp_path / "cancelled").read_text() == "--clusters=second 12\n"


def test_words_around_the_number_of_a_job_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "sbatch").write_text(
        "#!/bin/sh\necho '12 projects end this year'; echo 4711; echo 'See our news page'\n"
    )
    (tmp_path / "sbatch").chmod(0o755)
    assert SlurmClient(LocalTransport(tmp_path)).submit(tmp_path / "job.sh") == "4711"


def test_the_line_for_a_shell_has_nothing_that_only_some_shells_know() -> None:
    """The login shell may be csh or fish: what it is given is one program with quoted words."""
    line = shell_line(["sh", "-c", "echo it's"], "mark", Path("/opt/slurm bin"))
    assert line.startswith("/bin/sh -c '")
    assert "\n" not in line
