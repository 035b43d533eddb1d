"""The section ``slurm``: everything that differs between two clusters."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from resources.settings.types import LocalPath, Section, SharedPath, Texts

SET_BY_C4 = (
    "--job-name",
    "--output",
    "--error",
    "--requeue",
    "--no-requeue",
    "--export",
    "--array",
    "--wrap",
)


def _allowed(options: tuple[str, ...]) -> tuple[str, ...]:
    for option in options:
        if not option.startswith("--"):
            raise ValueError(f"must be a long sbatch option like --exclude=n7, not {option!r}")
        if (name := option.split("=")[0]) in SET_BY_C4:
            raise ValueError(f"{name} is set by C4, which finds its jobs again by it")
    return options


class LoginNode(Section):
    """Where Slurm's commands are run, over ssh."""

    host: str = Field(description="Its host key must be in known_hosts.", examples=["login.cluster.example.org"])
    user: str | None = Field(
        default=None, description="Who logs in. Without: the account that C4 runs as.", examples=["c4"]
    )
    port: int = Field(default=22, ge=1, le=65535, description="Where it listens.")
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


class JobOptions(Section):
    """How a step is submitted. What it asks for itself (cpus, memory_gb and so on) is replaced where a key is set."""

    partition: str | None = Field(default=None, description="The partition of the jobs.", examples=["cpu"])
    account: str | None = Field(
        default=None, description="The account that they are charged to.", examples=["crystals"]
    )
    qos: str | None = Field(default=None, description="Their quality of service.", examples=["normal"])
    gpu_type: str | None = Field(default=None, description="As in --gres=gpu:TYPE:1.", examples=["a100"])
    constraint: str | None = Field(
        default=None, description="Features that nodes must have.", examples=["volta|ampere"]
    )
    nice: int | None = Field(
        default=None, ge=0, description="How much later than others a job of the account starts.", examples=[100]
    )
    options: Annotated[Texts, AfterValidator(_allowed)] = Field(
        default=(), description="Further long options of sbatch.", examples=[["--exclude=gpu07"]]
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
    gpus: int | None = Field(default=None, ge=0, description="GPUs, in place of what the step asks for.", examples=[1])
    cpus: int | None = Field(default=None, ge=1, description="CPUs, in place of what the step asks for.", examples=[8])
    memory_gb: float | None = Field(
        default=None, gt=0, description="Gigabytes of memory, in place of what the step asks for.", examples=[16]
    )
    minutes: int | None = Field(
        default=None, ge=1, description="Longest time, in place of what the step asks for.", examples=[240]
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
