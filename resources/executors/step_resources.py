"""What a step needs to run, whatever the cluster: the step tag ``c4/resources``.

An asset states it once; the executor of the deployment, like Slurm's, turns it into options of its own. An executor
that does not know the tag ignores it.
"""

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from resources.errors import ConfigurationError

RESOURCES_TAG = "c4/resources"

BACKFILL_NICENESS = 19
"""The niceness of a backfill's steps: they get the least share of a core that hourly runs need. On an idle machine it
costs nothing."""

BACKFILL_COMMAND_PREFIX = (
    "sh",
    "-c",
    f'{{ echo {BACKFILL_NICENESS} >/proc/self/autogroup; }} 2>/dev/null; exec nice -n {BACKFILL_NICENESS} "$@"',
    "backfill",
)
"""Put before the command of a backfill's step that has a session of its own, as a Slurm job has.

Where the kernel groups processes by session (``sched_autogroup_enabled``; sched(7)), a process's niceness counts within
its session alone. The session has a niceness of its own, which counts against other sessions."""


class StepResources(BaseModel):
    """What one step asks for. ``where: here`` runs it beside the run worker, on the machine that watches the run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    gpus: int = Field(default=0, ge=0)
    cpus: int = Field(default=1, ge=1)
    memory_gb: float | None = Field(default=None, gt=0, description="for the whole step; the cluster's default if None")
    minutes: int | None = Field(
        default=None, ge=1, description="longest time it may run; the cluster's default if None"
    )
    where: Literal["cluster", "here"] = "cluster"

    @property
    def kind(self) -> Literal["gpu", "cpu"]:
        """The kind of machine that the step needs."""
        return "gpu" if self.gpus else "cpu"

    def as_tag(self) -> dict[str, object]:
        """The ``op_tags`` of an asset that needs this."""
        return {RESOURCES_TAG: self.model_dump(exclude_defaults=True)}

    @classmethod
    def from_tags(cls, tags: Mapping[str, str], step: str) -> "StepResources":
        """Reads what a step's tags ask for; without the tag, one CPU.

        Raises:
            ConfigurationError: the tag cannot be read; the message names the step and the key.
        """
        try:
            return cls.model_validate_json(tags.get(RESOURCES_TAG) or "{}")
        except ValidationError as error:
            raise ConfigurationError(
                f"The tag {RESOURCES_TAG} of step {step} cannot be used: {validation_message(error)}."
            ) from error


def validation_message(error: ValidationError) -> str:
    """A message that says key by key what is wrong with a configuration."""
    return "; ".join(
        f"{'.'.join(str(part) for part in detail['loc']) or 'the whole'}: {detail['msg'][0].lower()}{detail['msg'][1:]}"
        for detail in error.errors(include_url=False)
    )
