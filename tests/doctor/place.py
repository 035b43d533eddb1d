"""A deployment that is well, to be broken, and what the doctor says of it."""

import os
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
import pytest

from c4_assets.deployment_home import shipped_dagster_yaml
from c4_assets.operations.doctor.examine import Examined
from c4_assets.operations.doctor.render import as_json, lines_of
from c4_assets.runs.dagster_yaml import put_dagster_yaml
from resources.findings import Finding
from resources.redaction import redacted
from resources.settings import Settings
from testing.postgresql import PASSWORD, Server
from testing.sshd import Sshd, make_key

SQLITE_HOME = "home"

PATIENCE_S = 30.0
"""For a machine that other tests keep busy."""


@dataclass
class Place:
    """A deployment that is well, to be broken."""

    home: Path
    monkeypatch: pytest.MonkeyPatch
    server: Server | None = None
    ssh: Sshd | None = None
    stack: ExitStack = field(default_factory=ExitStack)

    @property
    def settings(self) -> Settings:
        return Settings.from_environment()

    @contextmanager
    def instance(self) -> Generator[dg.DagsterInstance]:
        with dg.DagsterInstance.from_config(str(self.home / "dagster")) as instance:
            yield instance

    def set(self, **variables: str | Path) -> None:
        for name, value in variables.items():
            self.monkeypatch.setenv(name, str(value))

    def write(self, text: str) -> Path:
        file = self.home / "c4.toml"
        file.write_text(text)
        return file

    def postgresql(self, login: str = "c4", password: str = PASSWORD) -> str:
        """The address of a database of the server, for a login."""
        assert self.server
        name = f"d{time.monotonic_ns()}"
        address = self.server.address(name, "template_c4").replace(f"c4:{PASSWORD}@", f"{login}:{password}@")
        self.set(C4_DATABASE_URL=address)
        return name

    def by_no_answer(self, port: int) -> None:
        """Everything that is asked over the network is asked of a port that says nothing."""
        self.set(
            C4_DATABASE_URL=f"postgresql+psycopg2://c4:pl4nted-secret@127.0.0.1:{port}/lims",
            C4_STORE_URL=f"ssh://c4@127.0.0.1:{port}/images",
            C4_RUNS_DAGSTER_STORAGE="postgres",
            DAGSTER_POSTGRES_HOST="127.0.0.1",
            DAGSTER_POSTGRES_PORT=str(port),
            DAGSTER_POSTGRES_USER="c4",
            DAGSTER_POSTGRES_PASSWORD="pl4nted-secret",
            DAGSTER_POSTGRES_DB="dagster",
        )
        put_dagster_yaml(self.home / "dagster" / "dagster.yaml", shipped_dagster_yaml(self.settings))
        self.set(C4_STORE_KNOWN_HOSTS=self.login_node(port))

    def login_node(self, port: int) -> Path:
        """Has Slurm's commands run behind a port, whose host's key is known: the file that has it."""
        make_key(self.home / "host_key")
        known = self.home / "known_hosts"
        known.write_text(f"[127.0.0.1]:{port} {(self.home / 'host_key.pub').read_text()}")
        login = f'[slurm.login]\nhost = "127.0.0.1"\nuser = "c4"\nport = {port}\nknown_hosts = "{known}"\n'
        self.write(f'[slurm]\nfolder = "{self.home}/jobs"\n\n{login}')
        return known

    def by_ssh(self, **changes: str | Path) -> None:
        assert self.ssh
        variables: dict[str, str | Path] = {
            "C4_STORE_URL": f"ssh://{self.ssh.user}@127.0.0.1:{self.ssh.port}{self.home}/images",
            "C4_STORE_SSH_KEY": self.ssh.key,
            "C4_STORE_KNOWN_HOSTS": self.ssh.known_hosts,
        }
        self.set(**(variables | changes))


def findings(examined: Sequence[Examined]) -> list[Finding]:
    return [finding for each in examined for finding in each.findings]


def told(found: Sequence[Finding]) -> str:
    return "\n".join(f"{each.verdict.value:9}{each.id}: {each.what} | {each.fix}" for each in found)


def as_printed(found: Sequence[Finding]) -> str:
    """What is printed, as the command prints it."""
    return "\n".join(redacted(line) for each in found for line in lines_of(each)) + as_json(found, redacted)


def c4_doctor(place: Place, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """The command, as an operator types it."""
    environment = {**os.environ, **variables}
    command = [str(Path(sys.executable).with_name("c4")), "doctor", *options]
    return subprocess.run(command, env=environment, capture_output=True, text=True, cwd=place.home, check=False)
