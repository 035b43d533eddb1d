"""``c4 subscribe``, ``c4 subscriptions`` and ``c4 unsubscribe``: who is told of new crystals."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

import typer

from c4_assets.command.console import console, errors
from resources.archive.subscriptions import Subscriptions, unmatched
from resources.errors import C4Error, ConfigurationError
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.crystals import knows_projects, plate_names
from resources.settings import Settings

NO_PROJECTS = (
    "The imaging database has no view plate_details (plate_id, project, owner, name), so C4 knows no projects: "
    "docs/subscriptions.md says how to add it. Or subscribe to the pattern by which the project's plates are named: "
    "--plates 'LYS-*'."
)


def subscribe(
    address: Annotated[str, typer.Argument(help="Who is to be told: an address of mail.")],
    plates: Annotated[
        list[str] | None,
        typer.Option(help="Which plates: a barcode, or a pattern such as 'ABC*'. It may be given again."),
    ] = None,
    projects: Annotated[
        list[str] | None,
        typer.Option(help="Plates of which projects: a name, or a pattern. It may be given again."),
    ] = None,
) -> None:
    """Mail somebody about likely new crystals on plates or in projects, once an inspection."""
    settings = Settings.from_environment()
    if projects and not knows_projects(ImagingDatabase.of(settings)):
        raise ConfigurationError(NO_PROJECTS)
    made = Subscriptions(settings.data).add(address, plates or (), datetime.now(UTC), projects or ())
    console.print(f"{made.address} is told of new crystals on {made.wanted}.", soft_wrap=True, markup=False)
    _warn_of_what_fits_nothing(settings, plates or ())
    if settings.alerts.email is None:
        errors.print("No mail server is set up yet: see [alerts.email] of c4.toml.", style="yellow", soft_wrap=True)


def _warn_of_what_fits_nothing(settings: Settings, patterns: Sequence[str]) -> None:
    """A plate may come later, so that it is no error; nor is it one if the database cannot be asked now."""
    try:
        database = ImagingDatabase.of(settings)
        if not patterns or (database.dialect == "sqlite" and database.is_new()):  # connecting would make it
            return
        found = unmatched([pattern.strip() for pattern in patterns], set(plate_names(database)))
    except C4Error:
        return
    for pattern, near in found.items():
        others = f" and {len(near) - 1} more" if len(near) > 1 else ""
        hint = f" Capitals count: without them it would fit {near[0]}{others}." if near else ""
        errors.print(f"No plate fits {pattern} yet.{hint}", style="yellow", soft_wrap=True, markup=False)


def subscriptions(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON list.")] = False,
) -> None:
    """List who is told of new crystals on which plates or in which projects."""
    known = Subscriptions(Settings.from_environment().data).all()
    if as_json:
        rows = [
            {
                "address": each.address,
                "plates": each.plates,
                "projects": each.projects,
                "created": each.created.isoformat(timespec="seconds"),
            }
            for each in known
        ]
        typer.echo(json.dumps(rows, indent=2))
        return
    if not known:
        console.print("Nobody has subscribed: `c4 subscribe ADDRESS --plates 'ABC*'`.")
        return
    from rich.table import Table

    table = Table("address", "plates", "projects", "since")
    for each in known:
        table.add_row(each.address, ", ".join(each.plates), ", ".join(each.projects), f"{each.created:%Y-%m-%d}")
    console.print(table)


def unsubscribe(
    who: Annotated[str, typer.Argument(help="The address, or the token in the subject of a mail that asks for it.")],
) -> None:
    """End what somebody has subscribed to."""
    known = Subscriptions(Settings.from_environment().data)
    named = known.of_token(who.rpartition("token=")[2])  # a mail that asks for it may hold the whole address
    gone = known.remove(named.address if named else who)
    if gone is None:
        raise ConfigurationError(f"{who!r} has not subscribed: `c4 subscriptions` shows who has.")
    console.print(f"{gone.address} is told no more.", markup=False)
