"""What Slurm and its machines do to a run. Each fault is done to a real cluster; after each, a run ends right, with the
right words, and a rerun completes with nothing lost and nothing doubled.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from resources.executors.slurm import tracker as tracker_module
from resources.executors.slurm.client import SlurmClient
from resources.executors.slurm.script import Step, write_script
from resources.executors.slurm.site import open_transport
from resources.executors.slurm.tracker import JobTracker
from resources.executors.slurm.transport import LocalTransport
from resources.executors.step_resources import StepResources
from resources.settings import Site
from testing.slurm_cluster import Cluster
from tests.slurm import steps
from tests.slurm.cluster import wait_until
from tests.slurm.runs import Run, RunWorker, Workplace

BOTH = ("on_a_gpu", "beside_the_run_worker")


@pytest.fixture
def mended(cluster: Cluster) -> Iterator[Cluster]:
    """The cluster, whose daemons are all started again after the test."""
    yield cluster
    cluster.start()


def slurm(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def job_of(place: Workplace, step: str) -> str:
    wait_until(lambda: place.starts(step), 40, f"{step} runs")
    return place.starts(step)[0][1]


def rerun_completes(place: Workplace, run: Run | RunWorker, step: str) -> None:
    """A run of the same job with the same configuration ends well and starts its step once."""
    starts, ends = len(place.starts(step)), len(place.ends(step))
    again = Run(place, getattr(steps, place.job_name(run.run_id)), place.run_config(step))
    assert again.status() == "SUCCESS", again.messages()
    assert (len(place.starts(step)) - starts, len(place.ends(step)) - ends) == (1, 1)


def test_a_step_out_of_time_and_a_step_killed_by_a_signal_say_so_and_the_retry_policy_is_kept(place: Workplace) -> None:
    killed = RunWorker(place, steps.one_step_tried_twice, place.run_config("tried_twice", first="kill"))
    late = Run(place, steps.one_step, place.run_config("alone", first="wait"))
    job_id = job_of(place, "alone")
    slurm("scontrol", "update", f"jobid={job_id}", "EndTime=now+2")  # limits are minutes: spares the test one
    assert killed.status() == "SUCCESS", killed.messages()
    assert len(place.starts("tried_twice")) == 2
    assert "it was killed by signal 9 (SIGKILL)" in killed.messages()
    scripts = {script.name for script in place.job_scripts(killed.run_id)}
    assert scripts == {"tried_twice.1.sh", "tried_twice.2.sh"}
    assert late.status() == "FAILURE", late.messages()
    assert f"Slurm job {job_id} is over: it ran out of time (it asked for 1 min)." in late.messages()
    rerun_completes(place, late, "alone")


def test_the_orphan_of_a_dead_node_does_not_end_the_retry(place: Workplace, mended: Cluster) -> None:
    """slurmd dies, its step runs on beside the retry and writes its own success before the retry ends."""
    config = place.run_config("tried_twice", first="wait", first_seconds=50, seconds=35)
    run = Run(place, steps.one_step_tried_twice, config)
    job_id = job_of(place, "tried_twice")
    mended.stop_daemon(slurm("squeue", "-h", "-j", job_id, "-o", "%N").strip(), signal.SIGKILL)
    wait_until(lambda: len(place.starts("tried_twice")) == 2, 45, "the retry runs")
    assert place.ends("tried_twice") == [], "The first attempt must still run for this test to mean anything."
    assert run.status(90) == "SUCCESS", run.messages()
    assert f"Slurm job {job_id} is over: its node failed." in run.messages()
    assert len(place.ends("tried_twice")) == 2, "The run waited for the retry, not for the orphan."


def test_a_controller_that_is_down_for_half_a_minute_costs_time_only(place: Workplace, mended: Cluster) -> None:
    place.configure(steps={"beside_the_run_worker": {"where": "cluster"}})
    run = Run(place, steps.two_steps, place.run_config(*BOTH, seconds=5))
    job_of(place, "on_a_gpu")
    mended.stop_daemon("slurmctld")
    time.sleep(30)
    assert place.ends("on_a_gpu"), "The first step ended while nobody could ask for it."
    mended.start()
    assert run.status() == "SUCCESS", run.messages()
    assert (len(place.starts("on_a_gpu")), len(place.starts("beside_the_run_worker"))) == (1, 1)
    assert "Slurm does not answer" in run.messages()
    assert "Slurm answers again" in run.messages()


def test_a_controller_that_restarts_goes_unnoticed(place: Workplace, mended: Cluster) -> None:
    run = Run(place, steps.one_step, place.run_config("alone", seconds=6))
    job_of(place, "alone")
    mended.stop_daemon("slurmctld")
    mended.start()
    assert run.status() == "SUCCESS", run.messages()
    assert len(place.starts("alone")) == 1


def test_a_run_worker_that_was_killed_finds_its_job_and_its_process_again(place: Workplace) -> None:
    on_slurm = RunWorker(place, steps.one_step, place.run_config("alone", seconds=14))
    beside = RunWorker(place, steps.one_step_here, place.run_config("here", seconds=14))
    for worker, step in ((on_slurm, "alone"), (beside, "here")):
        job_of(place, step)
        worker.signal(signal.SIGKILL)
    for worker in (on_slurm, beside):
        worker.resume()
    for worker, step in ((on_slurm, "alone"), (beside, "here")):
        assert worker.status() == "SUCCESS", worker.messages()
        assert (len(place.starts(step)), len(place.ends(step))) == (1, 1)


@pytest.mark.parametrize("is_away", [False, True], ids=["", "while Dagster's database is away"])
def test_a_job_that_nobody_noted_is_found_by_its_name_and_its_twin_is_cancelled(
    cluster: Cluster, tmp_path: Path, is_away: bool
) -> None:
    """A run worker died after sbatch and before the event log; a late controller took the same job twice."""
    sleeper = tmp_path / "sleeper"
    sleeper.write_text("#!/bin/sh\nexec sleep 60\n")
    sleeper.chmod(0o755)
    site = Site(folder=tmp_path / "jobs", poll_seconds=0.2)
    client = SlurmClient(LocalTransport())
    step = Step(f"twins-{is_away}", "step", 1, "step", "job", StepResources(), "", str(sleeper), str(tmp_path))
    script = write_script(step, site)
    client.write_file(script.path, script.text)
    first, second = client.submit(script.path), client.submit(script.path)
    told: list[str] = []
    away = [is_away]

    def report(_: Step, message: str, __: Mapping[str, object]) -> None:
        if away[0]:
            raise OperationalError("insert", None, Exception("the server closed the connection"))
        told.append(message)

    tracker = JobTracker(site, client, report)
    tracker.attach(step, None)
    wait_until(lambda: client.poll([second]).jobs[second].ended, what="the twin is cancelled")
    assert not client.poll([first]).jobs[first].ended
    away[0] = False
    wait_until(lambda: f"Cancelled Slurm job {second}: the same step was submitted twice." in told)
    assert told[0] == f"Found as Slurm job {first}, submitted before."
    tracker.cancel(step)
    tracker.close(20)
    assert told[-1] == f"Slurm job {first} is over: it was cancelled by Dagster."
    assert all(job.ended for job in client.poll([first, second]).jobs.values())


def test_a_setting_that_is_wrong_is_not_asked_about_for_ever(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slurm's commands are taken away while a job runs: for a while they may come back, then the step fails."""
    sleeper = tmp_path / "sleeper"
    sleeper.write_text(f"#!/bin/sh\nexec {shutil.which('sleep')} 60\n")
    sleeper.chmod(0o755)
    commands = tmp_path / "commands"
    commands.mkdir()
    for name in ("sbatch", "squeue", "scancel"):
        (commands / name).symlink_to(str(shutil.which(name)))
    basic = tmp_path / "basic"
    basic.mkdir()
    for name in ("sh", "mkdir", "cat", "mv"):
        (basic / name).symlink_to(str(shutil.which(name)))
    monkeypatch.setenv("PATH", str(basic))
    site = Site(folder=tmp_path / "jobs", poll_seconds=0.2, commands=commands)
    client = SlurmClient(open_transport(site))
    step = Step("run", "lost-commands", 1, "step", "job", StepResources(), "", str(sleeper), str(tmp_path))
    told: list[str] = []
    tracker = JobTracker(site, client, lambda _, message, __: told.append(message))
    tracker.launch(step)
    wait_until(lambda: any("runs on" in message for message in told), what="the job runs")
    commands.rename(tmp_path / "elsewhere")
    wait_until(lambda: any("squeue is not in the PATH" in message for message in told), what="an event says so")
    assert tracker.failure(step) is None, "Somebody may put it right."
    monkeypatch.setattr(tracker_module, "REPAIR_PATIENCE_S", 1.0)
    wait_until(lambda: tracker.failure(step), what="the step fails")
    failure = tracker.failure(step)
    assert failure
    assert (failure.retry, "slurm.commands" in failure.reason) == (False, True)
    (tmp_path / "elsewhere").rename(commands)
    client.cancel([job.job_id for job in client.find(write_script(step, site).name)])
    tracker.close(1)


def test_a_job_that_somebody_cancels_fails_its_run_and_says_so(place: Workplace) -> None:
    run = Run(place, steps.one_step, place.run_config("alone", first="wait"))
    job_id = job_of(place, "alone")
    slurm("scancel", job_id)
    assert run.status() == "FAILURE", run.messages()
    assert f"Slurm job {job_id} is over: it was cancelled" in run.messages()
    rerun_completes(place, run, "alone")


def test_a_waiting_job_that_somebody_cancels_is_tried_again_by_the_steps_retry_policy(place: Workplace) -> None:
    place.configure(options=["--hold"])
    run = Run(place, steps.one_step_tried_twice, place.run_config("tried_twice"))
    wait_until(lambda: "is waiting: somebody holds it" in run.messages(), 60, "the operator reads why it waits")
    slurm("scancel", "--state=PENDING", "--user=root")
    wait_until(lambda: len(place.job_scripts(run.run_id)) == 2, 60, "the step is submitted again")
    wait_until(lambda: run.messages().count("is waiting: somebody holds it") == 2, 60, "it waits again")
    slurm("scontrol", "release", slurm("squeue", "--noheader", "--state=PENDING", "--format=%i").strip())
    assert run.status() == "SUCCESS", run.messages()
    assert len(place.starts("tried_twice")) == 1, "The first attempt never started."


def test_impossible_resources_fail_at_once_and_are_not_tried_again(place: Workplace) -> None:
    run = Run(place, steps.one_impossible_step, place.run_config("impossible"))
    assert run.status(20) == "FAILURE", run.messages()
    assert "Requested node configuration is not available" in run.messages()
    assert "It asked for 9 GPUs" in run.messages()
    assert "retry" not in run.messages()
    place.configure(steps={"impossible": {"gpus": 1}})
    rerun_completes(place, run, "impossible")


def test_a_job_that_ends_well_without_a_word_of_its_step_fails_the_step(place: Workplace) -> None:
    place.configure(python="/bin/true")
    run = Run(place, steps.one_step, place.run_config("alone"))
    assert run.status() == "FAILURE", run.messages()
    assert "ended well, but 6 s later Dagster has no word of how the step ended" in run.messages()


@pytest.fixture
def forgetful(cluster: Cluster) -> Iterator[Cluster]:
    """The cluster, forgetting jobs some seconds after their end."""
    before = cluster.shape
    cluster.reconfigure(replace(before, min_job_age=2))
    yield cluster
    cluster.reconfigure(before)


def test_jobs_that_ended_unwatched_and_were_forgotten_are_judged_by_what_they_left(
    place: Workplace, forgetful: Cluster
) -> None:
    ended = RunWorker(place, steps.one_step, place.run_config("alone"))
    killed = RunWorker(place, steps.one_step_tried_twice, place.run_config("tried_twice", first="kill"))
    for worker, step in ((ended, "alone"), (killed, "tried_twice")):
        wait_until(lambda worker=worker: "Submitted as Slurm job" in worker.messages(), 90, "the job was submitted")
        worker.signal(signal.SIGKILL)
        job_of(place, step)
    jobs = [place.starts("alone")[0][1], place.starts("tried_twice")[0][1]]
    wait_until(lambda: all(map(is_forgotten, jobs)), 60, "Slurm has forgotten both jobs")
    ended.resume()
    killed.resume()
    assert ended.status() == "SUCCESS", ended.messages()
    assert killed.status() == "SUCCESS", killed.messages()
    assert "it was killed by signal 9" in killed.messages()
    assert (len(place.starts("alone")), len(place.starts("tried_twice"))) == (1, 2)


def is_forgotten(job_id: str) -> bool:
    return subprocess.run(["scontrol", "show", "job", job_id], capture_output=True, check=False).returncode != 0


def test_an_answer_of_sbatch_that_got_lost_does_not_submit_a_step_twice(
    place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    lossy = place.folder / "bin"
    lossy.mkdir()
    lost = "Batch job submission failed: Socket timed out on send/recv operation"
    (lossy / "sbatch").write_text(
        f"#!/bin/sh\n{shutil.which('sbatch')} \"$@\" >>{lossy}/answers\necho 'sbatch: error: {lost}' >&2\nexit 1\n"
    )
    (lossy / "sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", f"{lossy}:{os.environ['PATH']}")
    run = Run(place, steps.one_step, place.run_config("alone"))
    assert run.status() == "SUCCESS", run.messages()
    [job_id] = (lossy / "answers").read_text().split()
    assert [start[1] for start in place.starts("alone")] == [job_id]
    assert f"Found as Slurm job {job_id}, submitted before." in run.messages()
