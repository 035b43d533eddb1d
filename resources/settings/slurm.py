"""The section ``slurm``: everything that differs between two clusters."""

import re
import shlex
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from resources.settings.types import LocalPath, Section, SharedPath, Texts

SET_BY_C4 = "is set by C4, which finds its jobs again by it"

REFUSED = {
    **dict.fromkeys(("--job-name", "--output", "--error", "--requeue", "--no-requeue", "--export"), SET_BY_C4),
    **dict.fromkeys(("--array", "--wrap"), SET_BY_C4),
    "--clusters": "would send jobs to a cluster that C4 does not ask for them: give C4 that cluster's SLURM_CONF, or "
    "one of its login nodes in slurm.login",
    "--wait": "would make sbatch wait for the job's end",
    "--test-only": "would submit no job",
}
"""Options of sbatch that a site cannot add, and why."""


def _word(text: str) -> str:
    if not re.fullmatch(r"[^\s'\"\\]+", text) or not text.isprintable():
        raise ValueError("must be one word without blanks, quotes and backslashes, because it stands in job scripts")
    return text


Word = Annotated[str, AfterValidator(_word)]


def _allowed(options: tuple[str, ...]) -> tuple[str, ...]:
    for option in options:
        if not option.startswith("--") or not option.isprintable():
            raise ValueError(f"must be a long sbatch option like --exclude=n7, not {option!r}")
        # sbatch reads every word of a line, and takes the beginning of a name for the name.
        for word in shlex.split(option):
            if word.startswith("-") and not word.startswith("--"):
                raise ValueError(f"must be long sbatch options like --exclude=n7, not {word!r}")
            name = word.split("=")[0]
            refused = next((each for each in REFUSED if name.startswith("--") and each.startswith(name)), None)
            if refused:
                raise ValueError(f"{refused} {REFUSED[refused]}")
    return options


class LoginNode(Section):
    """Where Slurm's commands are run, over ssh."""

    host: str = Field(
        description="Its name, or what ~/.ssh/config calls it. Its host key must be in known_hosts.",
        examples=["login.cluster.example.org"],
    )
    user: str | None = Field(
        default=None, description="Who logs in. Without: the account that C4 runs as.", examples=["c4"]
    )
    port: int | None = Field(
        default=None,
        ge=1,
        le=65535,
        description="Where it listens. Without: what ~/.ssh/config says of it, otherwise 22.",
        examples=[22],
    )
    key: LocalPath | None = Field(
        default=None,
        description="Private key. Without: the keys of the ssh agent and those in ~/.ssh.",
        examples=["~/.ssh/c4"],
    )
    known_hosts: LocalPath | None = Field(
        default=None,
        description="File with its host key. Without: ~/.ssh/known_hosts.",
        examples=["/etc/c4/known_hosts"],
    )


class JobRequest(Section):
    """What a step gets. What it asks for itself (cpus, memory_gb and so on) is replaced where a key is set.

    A single run may change these keys, and no others: whoever may start a run need not be allowed to say what runs.
    """

    partition: Word | None = Field(
        default=None, description="The partition of the jobs, or several, separated by commas.", examples=["cpu"]
    )
    account: Word | None = Field(
        default=None, description="The account that they are charged to.", examples=["crystals"]
    )
    qos: Word | None = Field(default=None, description="Their quality of service.", examples=["normal"])
    gpu_type: Word | None = Field(default=None, description="As in --gres=gpu:TYPE:1.", examples=["a100"])
    constraint: Word | None = Field(
        default=None, description="Features that nodes must have.", examples=["volta|ampere"]
    )
    nice: int | None = Field(
        default=None, ge=0, description="How much later than others a job of the account starts.", examples=[100]
    )
    gpus: int | None = Field(default=None, ge=0, description="GPUs, in place of what the step asks for.", examples=[1])
    cpus: int | None = Field(default=None, ge=1, description="CPUs, in place of what the step asks for.", examples=[8])
    memory_gb: float | None = Field(
        default=None, gt=0, description="Gigabytes of memory, in place of what the step asks for.", examples=[16]
    )
    minutes: int | None = Field(
        default=None, ge=1, description="Longest time, in place of what the step asks for.", examples=[240]
    )


class JobOptions(JobRequest):
    """How a step is submitted: what it asks for, and what its job script says besides."""

    options: Annotated[Texts, AfterValidator(_allowed)] = Field(
        default=(),
        description="Further long options of sbatch. One that says what C4 would say (--mem-per-cpu, --gpus) takes its "
        "place.",
        examples=[["--exclude=gpu07"]],
    )
    prologue: Texts = Field(
        default=(),
        description="Shell lines before the step.",
        examples=[["source /etc/profile.d/modules.sh", "module load cuda/12"]],
    )
    container: str | None = Field(
        default=None,
        description="Command that the step's command is appended to.",
        examples=["apptainer exec --nv --bind /shared /shared/c4/c4.sif"],
    )
    where: Literal["cluster", "here"] | None = Field(
        default=None, description='"here" runs a step beside the run worker, and not as a job.', examples=["here"]
    )

    def over(self, other: "JobOptions") -> "JobOptions":
        """These options where they say something, else the other ones. Extra options and prologue lines add up."""
        said = self.model_dump(exclude_none=True)
        both = {"options": other.options + self.options, "prologue": other.prologue + self.prologue}
        return other.model_copy(update={**said, **both})


class SubmitRules(JobOptions):
    """How steps are submitted: all of them (the keys of this table), those of a kind, those of a name.

    What is said of the kind comes before what is said of all, and what is said of the step before both.
    """

    cpu: JobOptions = Field(
        default=JobOptions(), description="What differs for steps without a GPU.", examples=[{"minutes": 600}]
    )
    gpu: JobOptions = Field(
        default=JobOptions(), description="What differs for steps with a GPU.", examples=[{"partition": "gpu"}]
    )
    steps: dict[str, JobOptions] = Field(
        default={},
        description="What differs for a step, by its name.",
        examples=[{"marco_probabilities": {"minutes": 480}}, {"db_scores": {"where": "cluster"}}],
    )

    @property
    def everywhere(self) -> JobOptions:
        """What is said of all steps."""
        return JobOptions.model_validate({name: getattr(self, name) for name in JobOptions.model_fields})


class Site(SubmitRules):
    """A Slurm cluster as this deployment uses it."""

    folder: SharedPath = Field(
        description="Job scripts, output of the jobs and their exit codes: a folder that compute nodes share.",
        examples=["/shared/c4/slurm"],
    )
    python: SharedPath | None = Field(
        default=None,
        description="Python with C4 on compute nodes. Without: the one that this machine uses.",
        examples=["/shared/c4/venv/bin/python"],
    )
    environment_file: SharedPath | None = Field(
        default=None,
        description="Read by every job before its step: NAME=value lines, such as C4_DATABASE_PASSWORD and the "
        "password of the Dagster instance. On the shared file system, with mode 0600.",
        examples=["/shared/c4/environment"],
    )
    login: LoginNode | None = Field(
        default=None, description="The login node. Without: this machine has Slurm's commands."
    )
    commands: SharedPath | None = Field(
        default=None,
        description="The folder of Slurm's commands, where they are not in the PATH of C4's account (or, with a login "
        "node, of its ssh sessions).",
        examples=["/opt/slurm/bin"],
    )
    backfill: SubmitRules = Field(
        default=SubmitRules(),
        description="What differs for the steps of a backfill; it comes after all else. Hourly jobs should start "
        "first: a partition of a lower PriorityTier, a QoS of a lower priority, or nice.",
        examples=[{"nice": 10000}],
    )
    poll_seconds: float = Field(
        default=5, gt=0, description="All jobs of a run are asked for with one squeue this often."
    )
    grace_seconds: float = Field(
        default=60,
        ge=1,
        description="How long a job that ended well may leave its step without a word, and one that Slurm does not "
        "know may stay away, before its step has failed. Longer than the shared file system and the database may lag.",
    )
    resubmit_seconds: float = Field(
        default=15, gt=0, description="How long an unsure submission is left alone before its name is looked up."
    )


class RequestRules(JobRequest):
    """What a run changes of what is asked for: by all its steps, by those of a kind, by those of a name."""

    cpu: JobRequest = JobRequest()
    gpu: JobRequest = JobRequest()
    steps: dict[str, JobRequest] = Field(default={})


class RunChanges(RequestRules):
    """What the configuration of a single run may change of the section ``slurm``."""

    backfill: RequestRules = RequestRules()
