"""The job script of a step: readable, kept beside the step's output, and free of secrets."""

import hashlib
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from resources.errors import ConfigurationError
from resources.executors.slurm.site import plan_step
from resources.executors.step_resources import BACKFILL_COMMAND_PREFIX, StepResources
from resources.settings import JobOptions, Site

ARGUMENTS_VARIABLE = "DAGSTER_COMPRESSED_EXECUTE_STEP_ARGS"
"""The variable in which Dagster passes a step its arguments, compressed: they may be too long for a command line."""

KEEP_EXIT_CODE = """\
# However the script ends, its exit code stays: Slurm forgets a job soon after its end.
exit_code_file={file}
keep_exit_code() {{
  echo "$SLURM_JOB_ID $1" >"$exit_code_file.$SLURM_JOB_ID"
  mv -f "$exit_code_file.$SLURM_JOB_ID" "$exit_code_file"
}}
trap 'keep_exit_code $?' EXIT
"""

EXECUTE_STEP = ("-m", "dagster", "api", "execute_step")

OTHER_WORDS = {
    "gres": ("gpus", "gpus-per-node", "gpus-per-socket", "gpus-per-task"),
    "mem": ("mem-per-cpu", "mem-per-gpu"),
    "cpus-per-task": ("cpus-per-gpu",),
}
"""Options of sbatch that say the same as one that C4 gives, or that it does not take beside it."""


@dataclass(frozen=True)
class Step:
    """One attempt at a step of a run. ``attempt`` counts from 1.

    Raises:
        ConfigurationError: the run's id, which whoever starts a run may choose, cannot be part of a path.
    """

    run_id: str
    key: str
    attempt: int
    name: str
    """Name of the asset or op: the key without the index of a mapped step."""
    job: str
    """Name of the Dagster job."""
    resources: StepResources
    arguments: str
    """The arguments of ``dagster api execute_step``: they name the code and the run, and hold no configuration."""
    python: str
    """The Python that runs the code location."""
    dagster_home: str
    working_directory: str | None = None
    backfill: bool = False
    """Whether the run belongs to a backfill, whose steps a site may submit with other options."""
    settings_file: Path | None = None
    """The site's ``c4.toml``, which the step reads as well: compute nodes must see it."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_-]+", self.run_id):
            raise ConfigurationError(f"The run id {self.run_id!r} cannot be used: let Dagster choose it.")

    @property
    def command_prefix(self) -> tuple[str, ...]:
        """Put before the command: a backfill gives way to others on shared cores, from its first import on."""
        return BACKFILL_COMMAND_PREFIX if self.backfill else ()


@dataclass(frozen=True)
class JobScript:
    """A step as a Slurm job. All paths are on the cluster's shared file system."""

    name: str
    path: Path
    text: str
    resources: StepResources

    @property
    def out(self) -> Path:
        return self.path.with_suffix(".out")

    @property
    def err(self) -> Path:
        return self.path.with_suffix(".err")

    @property
    def exit_code(self) -> Path:
        """The file to which the script writes the job's id and exit code at its end, in case Slurm forgets the job."""
        return self.path.with_suffix(".exit")


def write_script(step: Step, site: Site, python_arguments: Sequence[str] = EXECUTE_STEP) -> JobScript:
    """Writes the job script of a step. The same step and attempt always get the same name and paths."""
    resources, options = plan_step(site, step.name, step.resources, step.backfill)
    name = f"{_safe(step.key)}.{step.attempt}.{step.run_id}"
    path = site.folder / step.run_id / f"{_safe(step.key)}.{step.attempt}.sh"
    script = JobScript(name, path, "", resources)
    python = str(site.python or step.python)
    lines = [
        "#!/bin/bash",
        *(f"#SBATCH {directive}" for directive in _directives(script, options)),
        "",
        f"# Dagster run {step.run_id} of job {step.job}: step {step.key}, attempt {step.attempt}.",
        *(
            ["# The run belongs to a backfill: the rules of `backfill` of the section slurm hold."]
            if step.backfill
            else []
        ),
        "",
        KEEP_EXIT_CODE.format(file=shlex.quote(str(script.exit_code))),
        # The step must know that it runs as a job: the engine «auto» depends on it.
        "export LC_ALL=C.UTF-8 PYTHONUNBUFFERED=1 C4_RUNS_EXECUTOR=slurm",
        *_environment(step, site),
        *([f"cd {shlex.quote(step.working_directory)} || exit 78"] if step.working_directory else []),
        *options.prologue,
        f"export {ARGUMENTS_VARIABLE}={shlex.quote(step.arguments)}",
        "",
        " ".join(
            filter(None, [shlex.join(step.command_prefix), options.container, shlex.join([python, *python_arguments])])
        ),
        "",
    ]
    return replace(script, text="\n".join(lines))


def _directives(script: JobScript, options: JobOptions) -> list[str]:
    resources = script.resources
    gres, site_options = _generic_resources(resources.gpus, options)
    chosen = {
        "job-name": script.name,
        "output": script.out,
        "error": script.err,
        "open-mode": "append",
        "partition": options.partition,
        "account": options.account,
        "qos": options.qos,
        "constraint": options.constraint,
        "nice": options.nice,
        "nodes": 1,
        "ntasks": 1,
        "cpus-per-task": resources.cpus,
        "gres": gres,
        "mem": f"{round(resources.memory_gb * 1024)}M" if resources.memory_gb else None,
        "time": resources.minutes,
        "kill-on-invalid-dep": "yes",
    }
    site_words = [word.split("=")[0] for option in site_options for word in shlex.split(option)]
    said = [
        f"--{name}={shlex.quote(str(value))}"
        for name, value in chosen.items()
        if value is not None and not _is_said(name, site_words)
    ]
    # Dagster owns retries: a requeued job would run a step that Dagster has already failed.
    return [*said, "--no-requeue", *site_options]


def _generic_resources(gpus: int, options: JobOptions) -> tuple[str | None, list[str]]:
    """The value of ``--gres``, and the site's options besides: of several ``--gres``, sbatch would take the last."""
    if not gpus:
        return None, list(options.options)
    others = [option for option in options.options if option.startswith("--gres=") and "gpu" not in option]
    own = f"gpu:{options.gpu_type}:{gpus}" if options.gpu_type else f"gpu:{gpus}"
    values = [own, *(option.removeprefix("--gres=") for option in others)]
    return ",".join(values), [option for option in options.options if option not in others]


def _is_said(name: str, site_words: Sequence[str]) -> bool:
    """Whether the site's own options say what an option of C4 would. sbatch takes the beginning of a name for it."""
    meanings = [f"--{each}" for each in (name, *OTHER_WORDS.get(name, ()))]
    return any(each.startswith(word) for word in site_words if word.startswith("--") for each in meanings)


def _environment(step: Step, site: Site) -> list[str]:
    lines = [f"export DAGSTER_HOME={shlex.quote(step.dagster_home)}"]
    if step.settings_file:
        lines.append(f"export C4_CONFIG={shlex.quote(str(step.settings_file))}")
    if site.environment_file:
        file = shlex.quote(str(site.environment_file))
        lines += [
            "set -a",
            f". {file} || {{ echo 'The environment file of C4 cannot be read here:' {file} >&2; exit 78; }}",
            "set +a",
        ]
    return lines


def _safe(key: str) -> str:
    """A step key as part of a file name. Different keys give different names."""
    safe = re.sub(r"[^A-Za-z0-9_-]", "_", key)[:80]
    return safe if safe == key else f"{safe}-{hashlib.sha256(key.encode()).hexdigest()[:8]}"
