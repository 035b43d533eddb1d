"""The ``c4`` command: what an operator does outside Dagster's UI."""

import typer

from c4_assets.command import (
    backlog,
    checks,
    config,
    database,
    demo,
    importing,
    model,
    prune,
    run,
    score,
    slurm,
    status,
    ui,
)
from c4_assets.command.console import reporting_errors

app = typer.Typer(
    name="c4",
    help="Score images of crystallisation drops. Settings are read from the environment (docs/configuration.md).",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,  # locals may hold a database address with its password
)
app.command("demo")(demo.demo)
app.command("score")(score.score)
app.command("import")(importing.import_)
app.command("run")(run.run)
app.command("status")(status.status)
app.command("retry")(status.retry)
app.command("prune")(prune.prune)
app.command("ui")(ui.ui)
app.command("config")(config.config)
app.add_typer(backlog.app, name="backlog")
app.add_typer(checks.app, name="checks")
app.add_typer(database.app, name="db")
app.add_typer(model.app, name="model")
app.add_typer(slurm.app, name="slurm")


def main() -> None:
    """Runs the command; errors that an operator can act on are printed as one message and end it with status 1."""
    with reporting_errors():
        app()
