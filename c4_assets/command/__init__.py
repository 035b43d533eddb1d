"""The ``c4`` command: what an operator does outside Dagster's UI."""

import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_group

from c4_assets.command.console import reporting_errors

COMMANDS = {
    "demo": ("demo.demo", "Render plates of drops, score them with MARCO through the Dagster asset graph."),
    "score": ("score.score", "Score image files, ranked by the probability of crystals. No database is needed."),
    "import": ("importing.import_", "Register images: each imaging of each plate as one inspection."),
    "run": ("run.run", "Score images now, without a daemon."),
    "status": ("status.status", "Show how many images are in which state, for each scorer version and day of imaging."),
    "retry": ("status.retry", "Give failed images their attempts back and end the waits of others."),
    "prune": ("prune.prune", "Delete old runs from Dagster that nothing needs any more."),
    "subscribe": (
        "subscriptions.subscribe",
        "Mail somebody about likely new crystals on plates or in projects, once an inspection.",
    ),
    "subscriptions": (
        "subscriptions.subscriptions",
        "List who is told of new crystals on which plates or in which projects.",
    ),
    "unsubscribe": ("subscriptions.unsubscribe", "End what somebody has subscribed to."),
    "ui": ("ui.ui", "Start Dagster's UI, sensors and schedules."),
    "doctor": ("doctor.doctor", "Say whether the set-up is well, and what to do where it is not."),
    "service": ("service.app", "Run C4 as services of systemd."),
    "backup": (
        "backup.backup",
        "Save databases, archive and settings into a new folder below FOLDER, while runs go on.",
    ),
    "restore": ("backup.restore", "Put a backup back where the settings say, or only look through it."),
    "config": ("config.config", "Print the settings in effect as a file c4.toml."),
    "backlog": ("backlog.app", "Score all of history: how far it is, and the backfills that do it."),
    "checks": ("checks.app", "Data quality: what is checked, and inspections that are withheld."),
    "alerts": ("alerts.app", "Look after messages to operators: Slack, e-mail and others."),
    "people": ("people.app", "Say who may log in to C4's pages, and what they may do."),
    "web": ("web.app", "Look after C4's pages."),
    "db": ("database.app", "Create, fill and check C4's tables in the imaging database."),
    "model": ("model.app", "Say which models score, and fetch their weights."),
    "metrics": ("metrics.metrics", "Serve metrics for Prometheus (docs/metrics.md) until it is interrupted."),
    "slurm": ("slurm.app", "Look after runs on a Slurm cluster."),
}
"""Of each command: where it is in this package, and what ``c4 --help`` says of it."""


class Commands(TyperGroup):
    """Imports a command when it is called: most need libraries whose import takes longer than others work."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands = dict.fromkeys(COMMANDS)  # what «Did you mean …?» looks through
        self._in_help = False

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        place, summary = COMMANDS[cmd_name]
        if self._in_help:
            return TyperCommand(cmd_name, help=summary)
        module, name = place.split(".")
        found = getattr(import_module(f"{__name__}.{module}"), name)
        around = typer.Typer(add_completion=False)
        if isinstance(found, typer.Typer):
            around.add_typer(found, name=cmd_name)
        else:
            around.command(cmd_name)(found)
        return get_group(around).commands[cmd_name]

    def format_help(self, ctx: Any, formatter: Any) -> None:
        self._in_help = True
        try:
            super().format_help(ctx, formatter)
        finally:
            self._in_help = False


app = typer.Typer(
    name="c4",
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,  # locals may hold a database address with its password
)


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"c4 {version('c4')}")
        raise typer.Exit


@app.callback()
def c4(
    _: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print C4's version and exit.")
    ] = False,
) -> None:
    """Score images of crystallisation drops. Settings are in c4.toml and C4_ variables (docs/configuration.md)."""


def main() -> None:
    """Runs the command; errors that an operator can act on are printed as one message and end it with status 1."""
    with reporting_errors(), logged(sys.argv[1:]):
        app()


WITHOUT_A_LOG = {"demo", "score"}
"""Commands that are not about the site's deployment."""


@contextmanager
def logged(arguments: Sequence[str]) -> Generator[None]:
    """Writes what the command says of itself, and how it ends, into the log files of the deployment."""
    if not arguments or arguments[0] not in COMMANDS.keys() - WITHOUT_A_LOG or "--help" in arguments:
        yield
        return
    import logging

    from resources.errors import C4Error
    from resources.settings import Settings
    from resources.settings.logs import write_logs_of

    log = logging.getLogger("c4.command")
    try:
        write_logs_of(Settings.from_environment().logs)
    except C4Error:  # the command itself says so
        yield
        return
    line = {"command": f"c4 {' '.join(arguments)}"}
    log.debug("began", extra=line)
    try:
        yield
    except SystemExit as ended:
        log.debug("ended with status %s", ended.code or 0, extra=line)
        raise
    except C4Error as error:
        log.debug("failed: %s", error, extra=line)
        raise
    except BaseException:
        log.debug("failed", exc_info=True, extra=line)
        raise
