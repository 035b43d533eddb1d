"""``c4 people``: who may log in to C4's pages, what they may do, and what the LIMS calls them."""

import getpass
import json
import socket
import sys
from datetime import UTC, datetime
from typing import Annotated

import typer

from c4_assets.command.console import console
from c4_assets.deployment_home import ready
from resources.accounts import people as accounts
from resources.accounts import tokens
from resources.accounts.rights import Role
from resources.errors import ConfigurationError
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.audit import Actor
from resources.settings import Settings

app = typer.Typer(help="Say who may log in to C4's pages, and what they may do.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The person's name, as it stands in their scores.")]


def open_accounts() -> tuple[ImagingDatabase, Actor, datetime]:
    """The imaging database, who types this, and the time."""
    who = f"{getpass.getuser()}@{socket.gethostname()}"
    return ready(Settings.from_environment()), Actor(None, who), datetime.now(UTC)


def asked_password() -> str:
    """A password from the terminal, typed twice, or the first line of what is piped in.

    Never an argument or a variable: other processes see those.

    Raises:
        ConfigurationError: nothing was piped in.
    """
    if sys.stdin.isatty():
        return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True))
    line = sys.stdin.readline().rstrip("\r\n")
    if not line:
        raise ConfigurationError("No password was given: type it at the terminal, or pipe one line into the command.")
    return line


@app.command("list")
def list_people(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON list.")] = False) -> None:
    """List who may log in."""
    database, _, _ = open_accounts()
    found = accounts.people(database)
    if as_json:
        rows = [
            {
                "name": person.name,
                "display_name": person.display_name,
                "role": person.role,
                "active": person.active,
                "issuer": person.identity.issuer if person.identity else None,
                "password": person.has_password,
                "aliases": aliases,
                "created_at": person.created_at.isoformat(timespec="seconds"),
            }
            for person, aliases in found.items()
        ]
        typer.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    if not found:
        console.print("There is nobody yet: `c4 web admin NAME` adds the first administrator.")
        return
    from rich.table import Table

    table = Table("name", "called", "role", "logs in by", "in the LIMS")
    for person, aliases in found.items():
        by = [*(["password"] if person.has_password else []), *([person.identity.issuer] if person.identity else [])]
        way = ", ".join(by) if person.active else "not at all"
        table.add_row(person.name, person.display_name, person.role, way or "a proxy's word", ", ".join(aliases))
    console.print(table)


@app.command()
def add(
    name: Name,
    role: Annotated[Role, typer.Option(help="What they may do.")] = Role.SCORER,
    display: Annotated[str, typer.Option(help="How pages call them, if not by their name.")] = "",
    password: Annotated[bool, typer.Option(help="Ask for a password; or a provider says who they are.")] = True,
) -> None:
    """Add a person. Their password is asked for, or read from what is piped in."""
    database, actor, at = open_accounts()
    given = asked_password() if password else None
    accounts.create_person(database, actor, at, name, display or name, role, password=given)
    console.print(f"{name} may log in as {role}.")


@app.command()
def role(name: Name, new: Annotated[Role, typer.Argument(help="What they may do from now on.")]) -> None:
    """Change what a person may do."""
    database, actor, at = open_accounts()
    accounts.set_role(database, actor, at, name, new)
    console.print(f"{name} is {new} from now on.")


@app.command()
def password(name: Name) -> None:
    """Give a person a new password. All of their sessions end."""
    database, actor, at = open_accounts()
    accounts.set_password(database, actor, at, name, asked_password())
    console.print(f"{name} has a new password.")


@app.command()
def disable(name: Name) -> None:
    """Let a person log in no longer. Sessions and tokens end, what they said stays."""
    database, actor, at = open_accounts()
    accounts.set_active(database, actor, at, name, False)
    console.print(f"{name} may not log in any more.")


@app.command()
def enable(name: Name) -> None:
    """Let a person log in again."""
    database, actor, at = open_accounts()
    accounts.set_active(database, actor, at, name, True)
    console.print(f"{name} may log in.")


@app.command()
def link(
    name: Name,
    issuer: Annotated[str, typer.Option(help="The provider's address (`iss`).")],
    subject: Annotated[str, typer.Option(help="The provider's own name for the person (`sub`).")],
) -> None:
    """Say who a person is at a provider of OpenID Connect."""
    database, actor, at = open_accounts()
    accounts.set_identity(database, actor, at, name, accounts.Identity(issuer, subject))
    console.print(f"{name} logs in by {issuer}.")


@app.command()
def alias(
    name: Name,
    scorer: Annotated[str, typer.Argument(help="What the LIMS calls them.")],
    remove: Annotated[bool, typer.Option("--remove", help="It is not this person.")] = False,
) -> None:
    """Say what the LIMS calls a person: scores of that name are theirs."""
    database, actor, at = open_accounts()
    if remove:
        accounts.remove_alias(database, actor, at, scorer)
        console.print(f"{scorer} is nobody's other name any more.")
        return
    accounts.add_alias(database, actor, at, name, scorer)
    console.print(f"What {scorer} says is said by {name}.")


@app.command()
def token(
    name: Name,
    purpose: Annotated[str, typer.Argument(help="What the token is for.")] = "",
    days: Annotated[int, typer.Option(min=1, max=tokens.LONGEST_DAYS, help="How long it is good.")] = 90,
    revoke: Annotated[bool, typer.Option("--revoke", help="End the tokens of that purpose.")] = False,
) -> None:
    """Make a token with which a program may do what a person may, list those there are, or end some."""
    database, actor, at = open_accounts()
    if not purpose:
        for each in tokens.api_tokens(database, name):
            over = each.revoked_at is not None or each.expires_at <= at
            console.print(f"{each.name}: {'over' if over else f'good until {each.expires_at:%Y-%m-%d}'}")
    elif revoke:
        console.print(f"{tokens.revoke_api_tokens(database, actor, at, name, purpose)} tokens were ended.")
    else:
        made = tokens.add_api_token(database, actor, at, name, purpose, days)
        console.print(f"Good until {made.expires_at:%Y-%m-%d}. It is shown this once:")
        typer.echo(made.token)
