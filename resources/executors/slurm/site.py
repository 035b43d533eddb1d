"""What the section ``slurm`` of a site's settings means: for a step, and for where Slurm's commands run."""

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any, Literal, cast

from pydantic import ValidationError

from resources.errors import ConfigurationError
from resources.executors.slurm.transport import LocalTransport, SshTransport, Transport
from resources.executors.step_resources import StepResources, validation_message
from resources.settings import JobOptions, JobRequest, RunChanges, Site, SubmitRules
from resources.ssh import SshAccess


def configured_site(site: Site | None, overrides: Mapping[str, Any] | None = None) -> Site:
    """The site of the settings; ``overrides`` (from a run's configuration) replace its keys, key by key.

    They may change what is asked of the cluster and nothing else: whoever reaches Dagster can start a run, and must not
    choose what runs as C4's account.

    Raises:
        ConfigurationError: there is no site, or a key of the overrides cannot be used.
    """
    if site is None:
        raise ConfigurationError(
            "No Slurm site is configured: write a section [slurm] into c4.toml (docs/slurm.md), or set C4_SLURM_FOLDER."
        )
    if not overrides:
        return site
    try:
        changes = RunChanges.model_validate(overrides).model_dump(exclude_unset=True)
        return Site.model_validate(_merged(site.model_dump(exclude_unset=True), changes))
    except ValidationError as error:
        raise ConfigurationError(
            f"The run's configuration cannot be used: {validation_message(error)}. A run may change "
            f"{', '.join(JobRequest.model_fields)}, for all steps or below cpu, gpu, steps and backfill. The rest is "
            "the site's to say, in c4.toml."
        ) from error


def open_transport(site: Site) -> Transport:
    """The way to Slurm's commands: on this machine, or on the login node."""
    if (login := site.login) is None:
        return LocalTransport(site.commands)
    return SshTransport(login.host, login.user, login.port, SshAccess(login.key, login.known_hosts), site.commands)


def plan_step(site: Site, step: str, asked: StepResources, backfill: bool = False) -> tuple[StepResources, JobOptions]:
    """What a step gets and how it is submitted: what holds for all steps, then for its kind, then for itself.

    Args:
        step: name of the asset or op (of a mapped step: without its index).
        backfill: whether the step's run belongs to a backfill: the rules of ``backfill`` come after all others.
    """
    rules = (site, site.backfill) if backfill else (site,)
    # What is said of a kind of steps does not make them another kind: with gpu.gpus = 0, the other keys of gpu hold.
    said = [each.gpus for one in rules for each in (one.everywhere, one.steps.get(step, JobOptions()))]
    gpus = next((number for number in reversed(said) if number is not None), asked.gpus)
    kind = asked.model_copy(update={"gpus": gpus}).kind
    options = reduce(lambda below, own: own.over(below), _options_for(step, kind, rules))
    changes = options.model_dump(include=set(StepResources.model_fields), exclude_none=True)
    return asked.model_copy(update=changes), options


def _options_for(step: str, kind: Literal["gpu", "cpu"], rules: Sequence[SubmitRules]) -> list[JobOptions]:
    """What rules say of a step, the general before the particular."""
    return [
        options
        for each in rules
        for options in (each.everywhere, each.gpu if kind == "gpu" else each.cpu, each.steps.get(step, JobOptions()))
    ]


def _merged(settings: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(settings)
    for key, value in overrides.items():
        below = merged.get(key)
        if isinstance(below, dict) and isinstance(value, Mapping):
            merged[key] = _merged(cast("Mapping[str, Any]", below), cast("Mapping[str, Any]", value))
        else:
            merged[key] = value
    return merged
