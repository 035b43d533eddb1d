"""``c4 subscribe``, ``c4 subscriptions`` and ``c4 unsubscribe``: who is told of new crystals."""

import json
from datetime import UTC, datetime
from typing import Annotated

import typer

from c4_assets.command.console import console, errors
from resources.archive.subscriptions import Subscriptions
from resources.errors import ConfigurationError
from resources.settings import Settings


def subscribe(
    address: Annotated[str, typer.Argument(help="Who is to be told: an address of mail.")],
    plates: Annotated[
        list[str], typer.Option(help="Which plates: a barcode, or a pattern such as 'ABC*'. It may be given again.")
    ],
) -> None:
    """Mail somebody about likely new crystals on plates, once an inspection."""
    settings = Settings.from_environment()
    made = Subscriptions(settings.data).add(address, plates, datetime.now(UTC))
    console.print(f"{made.address} is told of new crystals on {', '.join(made.plates)}.", soft_wrap=True, markup=False)
    if settings.alerts.email is None:
        errors.print("No mail server is set up yet: see [alerts.email] of c4.toml.", style="yellow", soft_wrap=True)


def subscriptions(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON list.")] = False,
) -> None:
    """List who is told of new crystals on which plates."""
    known = Subscriptions(Settings.from_environment().data).all()
    if as_json:
        rows = [
            {"address": each.address, "plates": each.plates, "created": each.created.isoformat(timespec="seconds")}
            for each in known
        ]
        typer.echo(json.dumps(rows, indent=2))
        return
    if not known:
        console.print("Nobody has subscribed: `c4 subscribe ADDRESS --plates 'ABC*'`.")
        return
    from rich.markup import escape
    from rich.table import Table

    table = Table("address", "plates", "since")
    for each in known:
        table.add_row(escape(each.address), escape(", ".join(each.plates)), f"{each.created:%Y-%m-%d}")
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
