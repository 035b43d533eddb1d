"""``c4 web``: C4's pages."""

import typer

from c4_assets.command.console import console
from c4_assets.command.people import Name, asked_password, open_accounts
from resources.accounts.people import create_person
from resources.accounts.rights import Role

app = typer.Typer(help="Look after C4's pages.", no_args_is_help=True)


@app.callback()
def web() -> None:
    """Look after C4's pages."""


@app.command()
def admin(name: Name) -> None:
    """Add an administrator, the first one too. The password is asked for, or read from what is piped in."""
    database, actor, at = open_accounts()
    create_person(database, actor, at, name, name, Role.ADMIN, password=asked_password())
    console.print(f"{name} may log in as {Role.ADMIN}.")
