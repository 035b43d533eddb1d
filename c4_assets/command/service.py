"""``c4 service``: units for systemd, one a part of C4."""

import os
import pwd
import shutil
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from c4_assets.command.console import console, errors
from c4_assets.deployment_home import shipped
from resources.atomic_write import atomic_write
from resources.errors import ConfigurationError
from resources.imaging_database import ImagingDatabase
from resources.secret_files import environment_of_services
from resources.settings import Settings
from resources.wording import counted

app = typer.Typer(help="Run C4 as services of systemd.", no_args_is_help=True)

MARK = "Written by `c4 service install`"
"""What the first line of a unit of C4's begins with. Files without it are somebody else's and stay."""

TARGET = "c4.target"

OF_SYSTEM, OF_USER = Path("/etc/systemd/system"), Path("~/.config/systemd/user")

DESCRIPTIONS = {
    "code": "code server, the parent of runs",
    "daemon": "Dagster's daemon: sensors, schedules and the queue",
    "webserver": "the web pages",
    "metrics": "metrics for Prometheus",
}

NOT_SECRET = ("C4_HOME", "C4_CONFIG", "DAGSTER_HOME")
"""Variables that units name themselves."""

UserManager = Annotated[bool, typer.Option("--user", help="Services of this account alone, which need no root.")]
Folder = Annotated[Path | None, typer.Option(help="Where units are, in place of systemd's own folder.")]


@dataclass(frozen=True)
class Units:
    """How C4 is served: what the units are made from."""

    settings: Settings
    user_manager: bool
    account: str
    host: str
    port: int
    with_metrics: bool

    def texts(self) -> dict[str, str]:
        """Each unit by the name of its file."""
        names = {
            service: f"c4-{service}.service" for service in DESCRIPTIONS if service != "metrics" or self.with_metrics
        }
        made = {unit: self._filled_in("service", service=service, unit=unit) for service, unit in names.items()}
        return {TARGET: self._filled_in("target", units=list(made)), **made}

    def _filled_in(self, template: str, service: str = "", unit: str = "", units: list[str] | None = None) -> str:
        import jinja2

        text = shipped(f"deploy/systemd/{template}.jinja").read_text(encoding="utf-8")
        made = jinja2.Template(text, undefined=jinja2.StrictUndefined).render(
            mark=MARK,
            service=service,
            unit=unit,
            units=units,
            description=DESCRIPTIONS.get(service, ""),
            documentation=shipped("docs" if not _installed() else "deploy"),
            user_manager=self.user_manager,
            account=self.account,
            command=self._command(service),
            home=_written(self.settings.home),
            environment=self._environment(),
            environment_file=_written(self.environment_file),
            writable=[_written(path) for path in writable(self.settings)],
        )
        return made.rstrip("\n") + "\n"

    @property
    def environment_file(self) -> Path:
        """The file with what services alone may know."""
        return environment_of_services(self.settings.home, self.user_manager)

    def _command(self, service: str) -> str:
        program = _written(Path(sys.executable).with_name("c4"))
        socket = ("%t" if self.user_manager else "/run") + "/c4/code.sock"
        if service == "metrics":
            return f"{program} metrics"
        at = f" --host {self.host} --port {self.port}" if service == "webserver" else ""
        return f"{program} ui --only {service} --code-server {socket}{at}"

    def _environment(self) -> list[str]:
        named = {"C4_HOME": self.settings.home, "DAGSTER_HOME": self.settings.dagster_home}
        if file := self.settings.file:
            named["C4_CONFIG"] = file
        return [f'"{name}={_written(path)}"' for name, path in named.items()]


@app.command()
def install(
    print_: Annotated[bool, typer.Option("--print", help="Print the units, and write nothing.")] = False,
    user: UserManager = False,
    account: Annotated[
        str | None, typer.Option(help="Whom the services run as. Without: who types this or, for root, c4.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address on which the webserver listens.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on which the webserver listens.")] = 3000,
    metrics: Annotated[bool, typer.Option("--metrics", help="A service for Prometheus as well.")] = False,
    folder: Folder = None,
) -> None:
    """Write the units of code server, daemon and webserver. Nothing is started."""
    settings = Settings.from_environment()
    units = Units(settings, user, account or _default_account(), host, port, metrics)
    texts = units.texts()
    if print_:
        typer.echo("\n".join(f"# ---- {name}\n{text}" for name, text in texts.items()), nl=False)
        _say_what_services_do_not_see(units.environment_file)
        return
    if not user:
        _refuse_unknown(units.account)
    place = _folder(user, folder)
    if foreign := [name for name in texts if _is_foreign(place / name)]:
        raise ConfigurationError(f"{place / foreign[0]} is not C4's: move it away. Nothing was written.")
    for name, text in texts.items():
        with atomic_write(place / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
            temporary.chmod(0o644)
    manager = "systemctl --user" if user else "systemctl"
    _reload(user, folder)
    console.print(f"{len(texts)} units are in {place}. Start them now and at every boot:", soft_wrap=True)
    console.print(f"  {manager} enable --now {TARGET}", soft_wrap=True)
    if user:
        console.print("Without this, they end when you log out:\n  loginctl enable-linger")
    _say_what_services_do_not_see(units.environment_file)
    _say_what_services_cannot_write(settings, units.account)


@app.command()
def remove(user: UserManager = False, folder: Folder = None) -> None:
    """Stop the services and remove their units. Settings and data stay, and runs at work go on to their end."""
    place = _folder(user, folder)
    names = [TARGET, *(f"c4-{service}.service" for service in DESCRIPTIONS)]
    ours = [name for name in names if (place / name).is_file() and not _is_foreign(place / name)]
    if ours and folder is None and _is_booted():
        _systemctl(user, "disable", "--now", *ours)
    for name in ours:
        (place / name).unlink()
    _reload(user, folder)
    console.print(f"Removed from {place}: {counted(len(ours), 'unit')}.", soft_wrap=True)


def writable(settings: Settings) -> list[Path]:
    """The folders that services write to, those within others left out."""
    folders = [
        settings.home,
        settings.data,
        settings.archive,
        settings.data_docs,
        settings.models,
        settings.thumbnails,
        settings.staging.parent,
        settings.logs.folder,
    ]
    folders += [settings.dagster_home, *([settings.slurm.folder] if settings.slurm else [])]
    url = ImagingDatabase.of(settings).engine.url
    if url.get_backend_name() == "sqlite" and url.database:
        folders.append(Path(url.database).absolute().parent)
    unique = sorted({folder.absolute() for folder in folders})
    return [folder for folder in unique if not any(other in folder.parents for other in unique)]


def _default_account() -> str:
    return "c4" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name


def _refuse_unknown(account: str) -> None:
    try:
        pwd.getpwnam(account)
    except KeyError:
        raise ConfigurationError(
            f"There is no account {account}: `useradd --system --create-home {account}`, or name another one with "
            "--account. Nothing was written."
        ) from None


def _folder(user_manager: bool, folder: Path | None) -> Path:
    return folder or (OF_USER.expanduser() if user_manager else OF_SYSTEM)


def _is_foreign(file: Path) -> bool:
    return file.exists() and not file.read_text(encoding="utf-8", errors="replace").startswith(f"# {MARK}")


def _is_booted() -> bool:
    """Whether systemd runs this machine: sd_booted(3)."""
    return Path("/run/systemd/system").is_dir() and shutil.which("systemctl") is not None


def _reload(user_manager: bool, folder: Path | None) -> None:
    if folder is None and _is_booted():
        _systemctl(user_manager, "daemon-reload")


def _systemctl(user_manager: bool, *words: str) -> None:
    done = subprocess.run(
        ["systemctl", *(["--user"] if user_manager else []), *words], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ConfigurationError(f"systemctl {' '.join(words)} failed: {done.stderr.strip()}")


def _say_what_services_do_not_see(file: Path) -> None:
    """Names the variables of this shell that a service does not have."""
    if set_here := [
        name for name in sorted(os.environ) if name.startswith(("C4_", "DAGSTER_")) and name not in NOT_SECRET
    ]:
        errors.print(
            f"These variables are set here, and the services see them only if they are in {file}: "
            f"{', '.join(set_here)}.",
            style="yellow",
            soft_wrap=True,
        )


def _say_what_services_cannot_write(settings: Settings, account: str) -> None:
    """Names folders without which the services do not start, or that they could not use."""
    for folder in writable(settings):
        if not folder.is_dir():
            said = f"{folder} is not there, and services do not start without it: install -d -o {account} {folder}"
            errors.print(said, style="yellow", soft_wrap=True)
        elif not _may_write(account, folder):
            said = f"The account {account} may not write to {folder}, as the services do: chown -R {account} {folder}"
            errors.print(said, style="yellow", soft_wrap=True)


def _may_write(account: str, folder: Path) -> bool:
    """Whether an account may, by the folder's owner, group and mode."""
    who, found = pwd.getpwnam(account), folder.stat()
    if found.st_uid == who.pw_uid:
        return bool(found.st_mode & stat.S_IWUSR)
    in_group = found.st_gid in os.getgrouplist(account, who.pw_gid)
    return who.pw_uid == 0 or bool(found.st_mode & (stat.S_IWGRP if in_group else stat.S_IWOTH))


def _installed() -> bool:
    return not shipped("docs").is_dir()


def _written(path: Path) -> str:
    """A path as a unit takes it: systemd reads % as a specifier, and a space as the end."""
    text = str(path).replace("%", "%%")
    if any(character.isspace() or character in "\"'\\;$" for character in text):
        raise ConfigurationError(f"{path} has a space or a sign that systemd reads otherwise: use a path without.")
    return text
