"""What needs no cluster: settings, the job script, plain words, whose events count."""

import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from dagster._core.events import DagsterEvent, DagsterEventType

from resources.errors import ConfigurationError
from resources.executors.slurm.accounts import read_sacct, read_scontrol
from resources.executors.slurm.executor import StragglerFilter
from resources.executors.slurm.job import Job, JobEnd, describe_waiting
from resources.executors.slurm.script import Step, write_script
from resources.executors.slurm.shared_files import file_system_of
from resources.executors.slurm.site import configured_site, plan_step
from resources.executors.step_resources import StepResources
from resources.settings import Site

SITE = Site.model_validate(
    {
        "folder": "/shared/c4/slurm",
        "python": "/shared/c4/venv/bin/python",
        "environment_file": "/shared/c4/environment",
        "account": "crystals",
        "partition": "cpu",
        "gpu": {
            "partition": "gpu",
            "prologue": ["source /etc/profile.d/modules.sh", "module load cuda/12"],
        },
        "steps": {"marco_probabilities": {"minutes": 480}},
    }
)
GOLDEN = Path(__file__).parent / "job_script.golden.sh"

STEP = Step(
    run_id="11f0c3de-5a5c-4a3a-9a9c-000000000001",
    key="marco_probabilities",
    attempt=2,
    name="marco_probabilities",
    job="score_images",
    resources=StepResources(gpus=1, cpus=8, memory_gb=16, minutes=240),
    arguments="eJwrLi0CAAK+AUY=",
    python="/opt/c4/bin/python",
    dagster_home="/shared/c4/dagster",
    working_directory="/shared/c4/code",
    settings_file=Path("/shared/c4/c4.toml"),
)


def test_the_job_script_of_the_example_site_is_the_golden_file() -> None:
    text = write_script(STEP, SITE).text
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(text)
    assert text == GOLDEN.read_text(), "UPDATE_GOLDEN=1 writes the file anew; read the difference first."


def test_keys_of_mapped_steps_make_names_that_stay_apart() -> None:
    keys = ["marco[a/b]", "marco[a_b]", "group.marco", "group_marco"]
    scripts = [write_script(replace(STEP, key=key), SITE) for key in keys]
    assert len({script.name for script in scripts}) == len({script.path for script in scripts}) == 4
    assert all(script.path.parent.name == STEP.run_id for script in scripts)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"folder": "jobs"}, "folder: value error, must be an absolute path"),
        ({"folder": "/s", "gpu": {"partitoin": "a"}}, "gpu.partitoin"),
        ({"folder": "/s", "backfill": {"nice": -5}}, "backfill.nice"),
        ({"folder": "/s", "poll_seconds": "often"}, "poll_seconds"),
        ({"folder": "/s", "login": {"user": "c4"}}, "login.host"),
        ({"folder": "/s", "options": ["--requeue"]}, "--requeue is set by C4"),
        ({}, "No Slurm site is configured"),
    ],
)
def test_a_wrong_key_of_a_runs_configuration_is_named(settings: dict[str, object], named: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        configured_site(None, settings)
    assert named in str(error.value)


def test_a_runs_configuration_replaces_single_keys_of_the_file() -> None:
    site = configured_site(SITE, {"gpu": {"qos": "urgent"}, "poll_seconds": 9})
    assert (site.gpu.qos, site.gpu.partition, site.poll_seconds) == ("urgent", "gpu", 9)


def test_a_sites_words_for_a_step_come_before_those_for_its_kind_and_the_defaults() -> None:
    settings = {
        "folder": "/s",
        "partition": "all",
        "account": "c4",
        "options": ["--nice"],
        "cpu": {"partition": "cpu", "minutes": 7},
        "steps": {"slow": {"minutes": 99, "options": ["--exclude=n7"]}},
    }
    resources, options = plan_step(Site.model_validate(settings), "slow", StepResources(minutes=1))
    assert (resources.minutes, options.partition, options.account) == (99, "cpu", "c4")
    assert options.options == ("--nice", "--exclude=n7")


def test_the_rules_of_backfills_come_after_all_others_and_hold_for_them_alone() -> None:
    settings = {
        "folder": "/s",
        "partition": "all",
        "account": "c4",
        "options": ["--exclude=n7"],
        "steps": {"slow": {"minutes": 99, "partition": "long"}},
        "backfill": {
            "partition": "low",
            "nice": 100,
            "options": ["--signal=B:TERM@60"],
            "gpu": {"qos": "scavenger"},
            "steps": {"slow": {"minutes": 200}},
        },
    }
    site, without = Site.model_validate(settings), Site.model_validate({**settings, "backfill": {}})
    assert plan_step(site, "slow", StepResources()) == plan_step(without, "slow", StepResources(), backfill=True)
    resources, options = plan_step(site, "slow", StepResources(gpus=1), backfill=True)
    assert (resources.minutes, options.partition, options.account, options.qos) == (200, "low", "c4", "scavenger")
    assert options.options == ("--exclude=n7", "--signal=B:TERM@60")
    script = write_script(replace(STEP, name="slow", backfill=True), site).text
    assert "#SBATCH --partition=low\n" in script
    assert "#SBATCH --nice=100\n" in script
    assert "exec nice -n 19 " in script
    assert "nice " not in write_script(replace(STEP, name="slow"), site).text


def test_an_unreadable_resource_tag_names_the_step_and_the_key() -> None:
    with pytest.raises(ConfigurationError, match=r"step classify.*gpu_count"):
        StepResources.from_tags({"c4/resources": '{"gpu_count": 1}'}, "classify")


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (JobEnd("1", "a", "FAILED", 0, 9), "it was killed by signal 9 (SIGKILL)"),
        (JobEnd("1", "a", "FAILED", 139), "it was killed by signal 11 (SIGSEGV)"),
        (JobEnd("1", "a", "FAILED", 3), "it ended with exit code 3"),
        (JobEnd("1", "a", "TIMEOUT"), "it ran out of time"),
        (JobEnd("1", "a", "OUT_OF_MEMORY", 0, 125), "it ran out of memory"),
        (JobEnd("1", "a", "NODE_FAIL"), "its node failed"),
        (JobEnd("1", "a", "PREEMPTED"), "it was preempted"),
        (JobEnd("1", "a", "CANCELLED", cancelled_by="mona"), "it was cancelled by mona"),
    ],
)
def test_ends_are_told_in_plain_words(end: JobEnd, words: str) -> None:
    assert end.describe().startswith(words)


def test_reasons_to_wait_are_told_in_plain_words_with_slurms_own() -> None:
    assert describe_waiting("(Resources)") == "the resources that it asks for are in use (Resources)"
    assert "has reached a limit" in describe_waiting("QOSMaxGRESPerUser")
    assert describe_waiting("Brand_New") == "Brand_New"


@pytest.mark.parametrize("state", ["COMPLETING", "CONFIGURING", "SUSPENDED", "A_STATE_OF_SLURM_30"])
def test_states_that_are_not_an_end_count_as_active(state: str) -> None:
    assert not Job("1", "a", state, "n1", "None").ended


def test_sacct_and_scontrol_are_read_as_they_print() -> None:
    printed = (
        "7|a|CANCELLED by 1000|0:15|2026-11-23T09:00:00|2026-11-23T09:00:30|2026-11-23T09:10:30|n2|\n"
        "7.batch|batch|CANCELLED|0:15|2026-11-23T09:00:30|2026-11-23T09:00:30|2026-11-23T09:10:31|n2|2097152K\n"
        "8|a|RUNNING|0:0|2026-11-23T09:00:00|2026-11-23T09:00:30|Unknown|n2|\n"
    )
    [end] = read_sacct(printed).values()
    assert (end.queue_seconds, end.elapsed_seconds, end.max_memory_mb, end.cancelled_by) == (30, 600, 2048, "1000")
    assert read_scontrol("JobId=8 JobState=RUNNING Reason=None ExitCode=0:0") is None


def test_network_file_systems_are_told_from_local_ones() -> None:
    mounts = "/dev/sda1 / ext4 rw 0 0\nserver:/home /home nfs4 rw 0 0\nlustre /home/scratch\\040disk lustre rw 0 0\n"
    assert file_system_of(Path("/var/c4"), mounts) == "ext4"
    assert file_system_of(Path("/home/c4/dagster"), mounts) == "nfs4"
    assert file_system_of(Path("/home/scratch disk/c4"), mounts) == "lustre"
    assert file_system_of(Path("/homely"), mounts) == "ext4"


def event(kind: DagsterEventType, pid: int) -> DagsterEvent:
    of_the_end = {"is_step_success": DagsterEventType.STEP_SUCCESS, "is_step_failure": DagsterEventType.STEP_FAILURE}
    of_the_end["is_step_up_for_retry"] = DagsterEventType.STEP_UP_FOR_RETRY
    answers = {name: kind == which for name, which in of_the_end.items()}
    fake = SimpleNamespace(step_key="s", event_type=kind, pid=pid, is_resource_init_failure=False, **answers)
    return cast("DagsterEvent", fake)


def test_only_the_newest_attempts_word_counts() -> None:
    starting, started = DagsterEventType.STEP_WORKER_STARTING, DagsterEventType.STEP_WORKER_STARTED
    success, failure, retry = (
        DagsterEventType.STEP_SUCCESS,
        DagsterEventType.STEP_FAILURE,
        DagsterEventType.STEP_UP_FOR_RETRY,
    )
    worker, first, second = 1, 11, 12
    story = [
        (starting, worker, True),
        (started, first, True),
        (retry, worker, True),  # its node was lost
        (success, first, False),  # the orphan, while nobody runs the step
        (starting, worker, True),
        (failure, first, False),  # the orphan again, before the second attempt has begun
        (started, second, True),
        (success, first, False),
        (success, second, True),
        (failure, first, False),
    ]
    stragglers = StragglerFilter()
    assert [stragglers.keep(event(kind, pid)) for kind, pid, _ in story] == [kept for *_, kept in story]
