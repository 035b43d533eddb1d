"""A site's Slurm settings: the file that ``C4_SLURM_CONFIG`` names (``deploy/slurm/slurm.yaml`` explains every key)."""

import logging
from collections.abc import Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from resources.errors import ConfigurationError
from resources.executors.slurm.transport import LocalTransport, SshTransport, Transport
from resources.executors.step_resources import StepResources, validation_message
from resources.ssh import SshAccess

log = logging.getLogger("c4.slurm")


def _absolute(path: Path) -> Path:
    if not path.is_absolute():
        raise ValueError(f"must be an absolute path, because compute nodes read it too, not {path}")
    return path


def _is_no_directive_of_ours(option: str) -> str:
    if not option.startswith("--"):
        raise ValueError(f"must be a long sbatch option like --exclude=n7, not {option!r}")
    name = option.split("=")[0]
    if name in ("--job-name", "--output", "--error", "--requeue", "--no-requeue", "--export", "--array", "--wrap"):
        raise ValueError(f"{name} is set by C4, which finds its jobs again by it")
    return option


SharedPath = Annotated[Path, AfterValidator(_absolute)]
SbatchOption = Annotated[str, AfterValidator(_is_no_directive_of_ours)]


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LocalSettings(_Settings):
    """Slurm's commands are on the machine of the run worker."""

    kind: Literal["local"] = "local"

    def open(self) -> Transport:
        return LocalTransport()


class SshSettings(_Settings):
    """Slurm's commands are on a login node."""

    kind: Literal["ssh"]
    host: str
    user: str | None = None
    port: int = 22
    key: Path | None = None
    known_hosts: Path | None = None

    def open(self) -> Transport:
        key, known_hosts = (path.expanduser() if path else None for path in (self.key, self.known_hosts))
        return SshTransport(self.host, self.user, self.port, SshAccess(key, known_hosts))


class JobOptions(_Settings):
    """How steps are submitted. Keys of ``StepResources`` replace what the asset asks for."""

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    gpu_type: str | None = Field(default=None, description="as in --gres=gpu:TYPE:1")
    constraint: str | None = None
    nice: int | None = Field(default=None, ge=0, description="how much later than others a job of the account starts")
    options: tuple[SbatchOption, ...] = ()
    prologue: tuple[str, ...] = Field(default=(), description="shell lines before the step, such as module loads")
    container: str | None = Field(default=None, description="command that the step's command is appended to")
    gpus: int | None = Field(default=None, ge=0)
    cpus: int | None = Field(default=None, ge=1)
    memory_gb: float | None = Field(default=None, gt=0)
    minutes: int | None = Field(default=None, ge=1)
    where: Literal["cluster", "here"] | None = None

    def over(self, other: "JobOptions") -> "JobOptions":
        """These options where they say something, else the other ones. Extra options and prologue lines add up."""
        said = self.model_dump(exclude_none=True)
        both = {"options": other.options + self.options, "prologue": other.prologue + self.prologue}
        return other.model_copy(update={**said, **both})


class SubmitRules(_Settings):
    """How steps are submitted: all of them, those of a kind, those of a name. The later ones come first."""

    defaults: JobOptions = JobOptions()
    kinds: dict[Literal["gpu", "cpu"], JobOptions] = {}
    steps: dict[str, JobOptions] = {}


class Site(SubmitRules):
    """Everything that differs between two clusters. Seconds where a key ends so."""

    transport: LocalSettings | SshSettings = Field(default=LocalSettings(), discriminator="kind")
    folder: SharedPath
    python: SharedPath | None = None
    environment_file: SharedPath | None = None
    backfill: SubmitRules = Field(default=SubmitRules(), description="what is different for steps of a backfill")
    poll_seconds: float = Field(default=5, gt=0)
    grace_seconds: float = Field(default=60, ge=1)
    resubmit_seconds: float = Field(default=15, gt=0)

    @classmethod
    def load(cls, file: Path | None, overrides: Mapping[str, Any] | None = None) -> "Site":
        """Reads a site's file; ``overrides`` (from a run's configuration) replace its keys, key by key.

        Raises:
            ConfigurationError: the file cannot be read or a key cannot be used; the message names both.
        """
        settings: object = {}
        if file is None and not overrides:
            raise ConfigurationError(
                "No Slurm site is configured. Set C4_SLURM_CONFIG to a file like deploy/slurm/slurm.yaml."
            )
        if file is not None:
            import yaml

            try:
                settings = yaml.safe_load(file.read_text()) or {}
            except OSError as error:
                raise ConfigurationError(
                    f"C4_SLURM_CONFIG names {file}, which cannot be read: {error.strerror}."
                ) from error
            except yaml.YAMLError as error:
                raise ConfigurationError(f"{file} is not YAML: {error}") from error
        source = str(file) if file else "The configuration of slurm_executor"
        if not isinstance(settings, dict):
            raise ConfigurationError(f"{source} must hold keys and values, like deploy/slurm/slurm.yaml.")
        try:
            return cls.model_validate(_merged(_renamed(settings), _renamed(overrides or {})))
        except ValidationError as error:
            raise ConfigurationError(f"{source} cannot be used: {validation_message(error)}.") from error

    def plan(self, step: str, asked: StepResources, backfill: bool = False) -> tuple[StepResources, JobOptions]:
        """What a step gets and how it is submitted: defaults, then its kind's options, then its own.

        Args:
            step: name of the asset or op (of a mapped step: without its index).
            backfill: whether the step's run belongs to a backfill: the rules of ``backfill`` come after all others.
        """
        rules = (self, self.backfill) if backfill else (self,)
        changes = {
            key: value
            for options in _options_for(step, asked.kind, rules)
            for key, value in options.model_dump(include=set(StepResources.model_fields), exclude_none=True).items()
        }
        resources = asked.model_copy(update=changes)
        return resources, reduce(lambda below, own: own.over(below), _options_for(step, resources.kind, rules))


def _options_for(step: str, kind: Literal["gpu", "cpu"], rules: Sequence[SubmitRules]) -> list[JobOptions]:
    """What rules say of a step, the general before the particular."""
    nothing = JobOptions()
    return [
        options
        for each in rules
        for options in (each.defaults, each.kinds.get(kind, nothing), each.steps.get(step, nothing))
    ]


def _renamed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with the section ``backfill`` under the name that it has now."""
    if "backlog" not in settings or "backfill" in settings:
        return dict(settings)
    log.warning("The section `backlog` of the site's Slurm settings is called `backfill` now: rename it.")
    return {"backfill" if key == "backlog" else key: value for key, value in settings.items()}


def _merged(settings: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(settings)
    for key, value in overrides.items():
        below = merged.get(key)
        if isinstance(below, dict) and isinstance(value, Mapping):
            merged[key] = _merged(cast("Mapping[str, Any]", below), cast("Mapping[str, Any]", value))
        else:
            merged[key] = value
    return merged
