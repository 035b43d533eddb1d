"""What Slurm's commands say must never be misread: each answer here comes from a real controller."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from resources.errors import ConfigurationError, Unavailable
from resources.executors.slurm.client import SlurmClient, SubmissionRefused
from resources.executors.slurm.transport import LocalTransport, SshTransport, Transport
from resources.ssh import SshAccess
from testing.slurm_cluster import Cluster
from testing.sshd import Sshd
from tests.slurm.cluster import alive, job_script, running_cluster, wait_until


def wait_for_end(client: SlurmClient, job_id: str, within: float = 60) -> str:
    def ended() -> bool:
        job = client.poll([job_id]).jobs.get(job_id)
        return job is not None and job.ended

    wait_until(ended, within, f"job {job_id} has ended")
    return client.poll([job_id]).jobs[job_id].state


@pytest.fixture(params=["here", "over ssh"])
def transport(request: pytest.FixtureRequest, cluster: Cluster) -> Iterator[Transport]:
    if request.param == "here":
        yield LocalTransport()
        return
    node: Sshd = request.getfixturevalue("login_node")
    transport = SshTransport("127.0.0.1", "root", node.port, SshAccess(node.key, node.known_hosts))
    yield transport
    transport.close()


def test_a_job_is_submitted_found_by_its_name_polled_and_read(transport: Transport, tmp_path: Path) -> None:
    client = SlurmClient(transport)
    script = tmp_path / "deep" / "er" / "job.sh"
    name = f"found-{time.time_ns()}"
    client.write_file(
        script, f'#!/bin/bash\n#SBATCH -J {name} -o /dev/null\necho "$SLURM_JOB_ID 0" >{script}.exit\nexit 3\n'
    )
    job_id = client.submit(script)
    assert [job.job_id for job in client.find(name)] == [job_id]
    assert wait_for_end(client, job_id) == "FAILED"
    assert client.read_files([Path(f"{script}.exit"), Path("/no/such/file")]) == {Path(f"{script}.exit"): f"{job_id} 0"}
    end = client.ends([job_id])[job_id]
    assert (end.exit_code, end.signal, end.describe()) == (3, None, "it ended with exit code 3")
    assert end.elapsed_seconds is not None
    assert end.queue_seconds is not None


def test_one_question_brings_many_jobs_and_leaves_out_those_that_slurm_does_not_know(
    client: SlurmClient, tmp_path: Path
) -> None:
    ids = [client.submit(job_script(tmp_path, "sleep 2", name=f"many-{number}")) for number in range(5)]
    client.calls = 0
    poll = client.poll([*ids, "4000000"])
    assert (set(poll.jobs), poll.unreachable, client.calls) == (set(ids), None, 1)
    assert client.poll(["4000000"]) == client.poll([]), "Only unknown jobs: no job, and no failure."
    client.cancel(ids)


def test_a_refusal_says_why_and_leaves_no_job(client: SlurmClient, tmp_path: Path) -> None:
    with pytest.raises(SubmissionRefused, match="configuration is not available"):
        client.submit(job_script(tmp_path, "true", "--gres=gpu:9", name="too-many-gpus"))
    with pytest.raises(SubmissionRefused, match=r"[Ii]nvalid partition"):
        client.submit(job_script(tmp_path, "true", "--partition=moon", name="no-partition"))
    assert client.find("too-many-gpus") == []


def test_gpus_are_handed_out_and_the_job_sees_which(client: SlurmClient, tmp_path: Path) -> None:
    script = job_script(tmp_path, 'echo "gpus: $CUDA_VISIBLE_DEVICES"', "--gres=gpu:2", name="gpus")
    job_id = client.submit(script)
    assert wait_for_end(client, job_id) == "COMPLETED"
    assert "gpus: 0,1" in Path(f"{script}.out").read_text()


def test_a_cancelled_job_and_its_processes_end(client: SlurmClient, tmp_path: Path) -> None:
    script = job_script(tmp_path, "echo $$; sleep 100 & echo $!; wait", name="to-cancel")
    job_id = client.submit(script)
    out = Path(f"{script}.out")
    wait_until(lambda: out.exists() and len(out.read_text().split()) == 2, 60, "the job runs")
    pids = [int(pid) for pid in out.read_text().split()]
    client.cancel([job_id])
    assert wait_for_end(client, job_id) == "CANCELLED"
    wait_until(lambda: not any(map(alive, pids)), 30, "its processes ended")
    client.cancel([job_id, "4000000"])  # ended and unknown jobs are passed over


def test_the_run_workers_environment_changes_neither_commands_nor_jobs(
    client: SlurmClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SBATCH_PARTITION", "moon")
    monkeypatch.setenv("SQUEUE_FORMAT", "%A")
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    monkeypatch.setenv("DATABASE_PASSWORD", "hunter2")
    script = job_script(tmp_path, "env", name="environment")
    job_id = client.submit(script)
    assert wait_for_end(client, job_id) == "COMPLETED"
    assert "hunter2" not in Path(f"{script}.out").read_text()


def test_a_controller_that_does_not_answer_is_no_lost_job(
    cluster: Cluster, client: SlurmClient, tmp_path: Path
) -> None:
    job_id = client.submit(job_script(tmp_path, "sleep 60", name="survivor"))
    quick = SlurmClient(LocalTransport(), timeout=1, submit_timeout=1)
    cluster.stop_daemon("slurmctld", signal.SIGTERM)
    try:
        poll = quick.poll([job_id])
        assert poll.jobs == {}
        assert poll.unreachable, "The answer must be «not known», not «no such job»."
        for question in (lambda: quick.find("survivor"), lambda: quick.cancel([job_id])):
            with pytest.raises(Unavailable):
                question()
        with pytest.raises(Unavailable):
            quick.submit(job_script(tmp_path, "true", name="unsure"))
    finally:
        cluster.start()
    assert job_id in client.poll([job_id]).jobs
    client.cancel([job_id])


def test_a_login_node_that_restarts_is_reached_again(login_node: Sshd) -> None:
    transport = SshTransport("127.0.0.1", "root", login_node.port, SshAccess(login_node.key, login_node.known_hosts))
    client = SlurmClient(transport, timeout=5)
    assert client.poll(["1"]).unreachable is None
    login_node.stop()
    assert client.poll(["1"]).unreachable
    login_node.start()
    assert client.poll(["1"]).unreachable is None
    transport.close()


def test_an_unknown_host_key_is_refused_and_a_refused_login_says_what_to_set(login_node: Sshd, tmp_path: Path) -> None:
    empty = tmp_path / "known_hosts"
    empty.write_text("")
    with pytest.raises(ConfigurationError, match="host key"):
        SshTransport("127.0.0.1", "root", login_node.port, SshAccess(login_node.key, empty)).run(["true"])
    with pytest.raises(ConfigurationError, match="refused the login"):
        stranger = SshAccess(login_node.folder / "host_key", login_node.known_hosts)
        SshTransport("127.0.0.1", "nobody", login_node.port, stranger).run(["true"])


def test_accounts_tell_memory_and_who_cancelled(tmp_path: Path, cluster: Cluster) -> None:
    with running_cluster(tmp_path / "with-accounts", accounting=True) as _:
        client = SlurmClient(LocalTransport())
        busy = client.submit(job_script(tmp_path, "sleep 3", "--gres=gpu:1", name="busy"))
        long = client.submit(job_script(tmp_path, "sleep 60", name="long"))
        wait_until(lambda: client.poll([long]).jobs[long].state == "RUNNING")
        client.cancel([long])
        wait_for_end(client, busy)
        wait_until(lambda: set(client.ends([busy, long])) == {busy, long}, 60, "the accounts know both jobs")
        ends = client.ends([busy, long])
    assert ends[busy].max_memory_mb
    assert ends[busy].elapsed_seconds == pytest.approx(3, abs=1.5)
    assert ends[long].describe() == "it was cancelled by root"


def test_a_quality_of_service_of_the_backlog_lets_others_come_first(tmp_path: Path, cluster: Cluster) -> None:
    whole_node = ("--nodelist=n1", "--cpus-per-task=8")
    with running_cluster(tmp_path / "with-qos", accounting=True) as _:
        client = SlurmClient(LocalTransport())
        refused = client.refusal(job_script(tmp_path, "true", "--qos=moon"))
        assert refused
        assert "qos" in refused.lower()
        blocker = client.submit(job_script(tmp_path, "sleep 60", *whole_node, name="blocker"))
        wait_until(lambda: client.poll([blocker]).jobs[blocker].state == "RUNNING")
        backlog = job_script(tmp_path, "sleep 60", "--qos=backlog", *whole_node, name="backlog")
        assert client.refusal(backlog) is None
        first = client.submit(backlog)
        second = client.submit(job_script(tmp_path, "sleep 60", *whole_node, name="hourly"))
        client.cancel([blocker])
        wait_until(lambda: client.poll([second]).jobs[second].state == "RUNNING")
        assert client.poll([first]).jobs[first].state == "PENDING", "It came first and still waits."
