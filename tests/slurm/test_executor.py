"""A run's steps become Slurm jobs, and the operator reads in Dagster what became of each."""

import json
import os
from pathlib import Path

import pytest

from resources.errors import ConfigurationError
from resources.executors.slurm.client import SlurmClient
from resources.executors.slurm.shared_files import refuse_sqlite_on_network_file_system
from testing.slurm_cluster import Cluster
from testing.sshd import Sshd
from tests.slurm import steps
from tests.slurm.cluster import alive, job_script, wait_until
from tests.slurm.runs import Run, RunWorker, Workplace

BOTH = ("on_a_gpu", "beside_the_run_worker")


def test_each_step_runs_where_its_tag_says_and_the_event_log_tells_its_story(place: Workplace) -> None:
    run = Run(place, steps.two_steps, place.run_config(*BOTH))
    assert run.status() == "SUCCESS", run.messages()
    [[_, job, gpus]] = place.starts("on_a_gpu")
    assert (job.isdigit(), gpus) == (True, "0"), "The step has a job, and its job has a GPU."
    [[_, job_here, _]] = place.starts("beside_the_run_worker")
    assert job_here == "None", "No job where the tag says here."
    messages = run.messages()
    assert f"on_a_gpu: Submitted as Slurm job {job}: 1 GPU, 2 CPUs, 0.5 GB, 5 min." in messages
    assert f"on_a_gpu: Slurm job {job} is over: it ended well." in messages
    [record] = (place.folder / "c4" / "slurm_jobs" / run.run_id).glob("*.json")
    facts = json.loads(record.read_text())
    assert (facts["slurm_job"], facts["step"], facts["state"], facts["exit_code"]) == (job, "on_a_gpu", "COMPLETED", 0)
    assert facts["queue_seconds"] >= 0
    assert facts["gpu_hours"] == pytest.approx(facts["elapsed_seconds"] / 3600, abs=1e-3)


def test_the_job_script_holds_no_secret_but_the_step_has_it(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANOTHER_SECRET_OF_THE_TEST", "hunter3")
    place.configure(prologue=[f"echo $SECRET_OF_THE_TEST >{place.folder}/seen"])
    run = Run(place, steps.one_step, place.run_config("alone"))
    assert run.status() == "SUCCESS", run.messages()
    assert (place.folder / "seen").read_text() == "hunter2\n"
    for file in (*place.job_scripts(run.run_id), *(place.folder / "c4").rglob("*.json")):
        assert "hunter" not in file.read_text()
    assert "hunter" not in run.messages()


def test_steps_run_through_a_login_node(place: Workplace, login_node: Sshd) -> None:
    ssh = {"host": "127.0.0.1", "port": login_node.port, "user": "root"}
    place.configure(login={**ssh, "key": str(login_node.key), "known_hosts": str(login_node.known_hosts)})
    run = Run(place, steps.two_steps, place.run_config(*BOTH))
    assert run.status() == "SUCCESS", run.messages()


def test_a_site_decides_where_a_step_runs(place: Workplace) -> None:
    place.configure(steps={"here": {"where": "cluster", "cpus": 3}})
    run = Run(place, steps.one_step_here, place.run_config("here"))
    assert run.status() == "SUCCESS", run.messages()
    [[_, job, _]] = place.starts("here")
    assert job.isdigit()
    assert "--cpus-per-task=3" in place.job_scripts(run.run_id)[0].read_text()


def test_an_hourly_runs_job_overtakes_a_backfills_in_the_queue(place: Workplace, client: SlurmClient) -> None:
    one_at_a_time = {"cpus": 8, "options": ["--nodelist=n1"]}
    place.configure(steps={"alone": one_at_a_time}, backfill={"partition": "backlog"})
    blocker = client.submit(job_script(place.folder, "sleep 120", "--nodelist=n1", "--cpus-per-task=8"))
    backfill = RunWorker(place, steps.one_step, place.run_config("alone"), {"dagster/backfill": "abcdefgh"})
    wait_until(lambda: "is waiting" in backfill.messages(), 90, "the backfill's job waits")
    hourly = RunWorker(place, steps.one_step, place.run_config("alone"), {"dagster/partition": "2026-03-31"})
    wait_until(lambda: "is waiting" in hourly.messages(), 90, "the hourly run's job waits")
    jobs = {run.run_id: queued(client, f"alone.1.{run.run_id}") for run in (backfill, hourly)}
    assert [partition for _, partition in jobs.values()] == ["backlog", "main"]
    client.cancel([blocker])
    for run in (hourly, backfill):
        assert run.status() == "SUCCESS", run.messages()
    assert [job for _, job, _ in place.starts("alone")] == [jobs[run.run_id][0] for run in (hourly, backfill)]


def test_steps_of_a_backfill_give_way_on_a_machine_that_others_use(place: Workplace) -> None:
    for tags in ({"dagster/backfill": "abcdefgh"}, {}):
        for job, step in ((steps.one_step, "alone"), (steps.one_step_here, "here")):
            before = len(place.starts(step))
            worker = RunWorker(place, job, place.run_config(step, seconds=60), tags)
            wait_until(lambda step=step, before=before: len(place.starts(step)) > before, 90, "the step runs")
            gives_way = niceness(int(place.starts(step)[-1][0])) == (19, 19)
            assert gives_way == bool(tags), (tags, step)
            worker.cancel()
            assert worker.status() == "CANCELED", worker.messages()


def niceness(pid: int) -> tuple[int, int]:
    """Of a process, and of its session where the kernel groups processes by session (elsewhere the process's again)."""
    of_session = Path(f"/proc/{pid}/autogroup")
    own = os.getpriority(os.PRIO_PROCESS, pid)
    return own, int(of_session.read_text().split()[-1]) if of_session.exists() else own


def queued(client: SlurmClient, name: str) -> tuple[str, str]:
    """Id and partition of the one job of a name."""
    [line] = client.transport.run(["squeue", "--noheader", f"--name={name}", "--format=%i %P"]).out.splitlines()
    job_id, partition = line.split()
    return job_id, partition


def test_cancelling_runs_ends_their_steps_on_slurm_and_beside_the_run_worker(place: Workplace) -> None:
    on_slurm = RunWorker(place, steps.one_step, place.run_config("alone", first="wait"))
    beside = RunWorker(place, steps.one_step_here, place.run_config("here", first="wait"))
    for worker, step in ((on_slurm, "alone"), (beside, "here")):
        wait_until(lambda step=step: place.starts(step), 90, "the step runs")
        worker.cancel()
    for worker, step in ((on_slurm, "alone"), (beside, "here")):
        assert worker.status() == "CANCELED", worker.messages()
        pid = int(place.starts(step)[0][0])
        wait_until(lambda pid=pid: not alive(pid), 30, "the step's process ended")
    assert "it was cancelled by Dagster" in on_slurm.messages()


def test_a_runs_configuration_changes_what_is_asked_for_and_cannot_say_what_runs(place: Workplace) -> None:
    """Whoever reaches Dagster's port writes the configuration; the run worker has the rights of C4's account."""
    config = place.run_config("alone")
    site = config["execution"]["config"]["site"] = {"steps": {"alone": {"cpus": 3, "constraint": ""}}}
    for changes in (
        {"prologue": [f"touch {place.folder}/made"]},
        {"python": f"{place.folder}/program"},
        {"login": {"host": "elsewhere.example.org"}},
        {"gpu": {"container": "sh -c"}},
        {"partition": f"main\ntouch {place.folder}/made"},
    ):
        worker = RunWorker(place, steps.one_step, {**config, "execution": {"config": {"site": {**site, **changes}}}})
        assert worker.status() == "FAILURE"
        assert "A run may change partition, account" in worker.messages()
        assert place.job_scripts(worker.run_id) == []
    site["steps"]["alone"].pop("constraint")
    run = Run(place, steps.one_step, config)
    assert run.status() == "SUCCESS", run.messages()
    assert "--cpus-per-task=3" in place.job_scripts(run.run_id)[0].read_text()
    assert not (place.folder / "made").exists()


def test_mapped_steps_get_jobs_of_their_own(place: Workplace, cluster: Cluster) -> None:
    run = Run(place, steps.mapped_steps, place.run_config())
    assert run.status() == "SUCCESS", run.messages()
    names = [Path(script).name for script in place.job_scripts(run.run_id)]
    assert len(set(names)) == 2


def test_sqlite_on_a_network_file_system_is_refused(place: Workplace) -> None:
    mounts = place.folder / "mounts"
    mounts.write_text("/dev/sda1 / ext4 rw 0 0\n")
    refuse_sqlite_on_network_file_system(place.instance, mounts)
    mounts.write_text("server:/ / nfs4 rw 0 0\n")
    with pytest.raises(ConfigurationError, match=r"SQLite on nfs4.*PostgreSQL"):
        refuse_sqlite_on_network_file_system(place.instance, mounts)
