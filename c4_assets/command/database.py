"""``c4 db``: the imaging database's own tables."""

from contextlib import closing
from typing import Annotated

import typer

from c4_assets.command.console import console
from c4_assets.deployment_home import upgrade as upgrade_deployment
from resources.findings import Verdict
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.contract import PAGES_WRITES, PIPELINE_WRITES, check
from resources.imaging_database.ddl import dialect_of, script
from resources.imaging_database.register import seed_classes
from resources.settings import Settings

app = typer.Typer(help="Create, fill and check C4's tables in the imaging database.", no_args_is_help=True)


@app.command()
def upgrade() -> None:
    """Create C4's tables, or bring them and the archive up to date. Doing it again changes nothing."""
    settings = Settings.from_environment()
    database = ImagingDatabase.of(settings)
    upgrade_deployment(settings, database)
    console.print(f"The tables in {database.address} and the archive are up to date.", soft_wrap=True)


@app.command("seed-classes")
def seed() -> None:
    """Add the four categories and common nuanced classes to score_classes, where they are missing."""
    database = ImagingDatabase.of(Settings.from_environment())
    console.print(f"{seed_classes(database)} classes were added.")


@app.command("check")
def check_contract(
    pages: Annotated[
        bool, typer.Option("--pages", help="The address is that of the login of C4's pages and of `c4 people`.")
    ] = False,
) -> None:
    """Say what the database lacks of what C4 needs, with the statement that mends it. Nothing is written.

    Rows that C4 cannot score are counted, and a sample of the newest files is looked for in the image store.
    """
    from c4_assets.checks.listed_files import files_of_newest
    from c4_assets.command.findings import print_findings
    from c4_assets.operations.doctor.render import exit_status
    from resources.image_store import open_image_store

    settings = Settings.from_environment()
    database = ImagingDatabase.of(settings)
    database.refuse_new()
    findings = check(database, PAGES_WRITES if pages else PIPELINE_WRITES)
    if not exit_status(findings):
        with closing(open_image_store(settings.store.url, settings.ssh)) as store:
            findings += files_of_newest(database, store)
    console.print(f"{database.address}", markup=False, soft_wrap=True)
    print_findings(console, findings)
    if any(finding.verdict is Verdict.FAILED for finding in findings):
        raise typer.Exit(1)
    console.print(f"{database.address} keeps the contract.", markup=False, soft_wrap=True)


@app.command()
def ddl(
    kind: Annotated[str, typer.Option("--for", help="oracle or postgresql.")] = "oracle",
) -> None:
    """Print the statements that make C4's own tables, for a database whose LIMS provides the others as views."""
    typer.echo("\n".join(script(dialect_of(kind))).rstrip())
