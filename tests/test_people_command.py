"""``c4 people`` and ``c4 web admin``, as they are typed."""

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from resources.accounts.login import log_in
from resources.accounts.tokens import person_of_api_token
from resources.imaging_database import ImagingDatabase

PASSWORD = "correct horse battery"


def c4(home: Path, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("c4")), *arguments]
    return subprocess.run(
        command, env={"C4_HOME": str(home), "PYTHONPATH": str(Path(__file__).parents[1]), "COLUMNS": "200"},
        input=given, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_first_administrator_and_others_are_added_at_the_terminal(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    assert "type it at the terminal" in c4(home, "web", "admin", "root").stderr
    assert "at least 6 different" in c4(home, "web", "admin", "root", given="aaaaaaaaaaaaaaa\n").stderr
    assert c4(home, "web", "admin", "root", given=f"{PASSWORD}\n").returncode == 0
    assert c4(home, "people", "add", "ana", "--role", "curator", "--no-password").returncode == 0
    assert c4(home, "people", "alias", "ana", "A. Okafor").returncode == 0
    token = c4(home, "people", "token", "ana", "notebook", "--days", "3").stdout.split()[-1]
    assert "notebook: good until" in c4(home, "people", "token", "ana").stdout
    c4(home, "people", "role", "ana", "viewer")
    c4(home, "people", "disable", "ana")
    listed = {each["name"]: each for each in json.loads(c4(home, "people", "list", "--json").stdout)}
    assert (listed["ana"]["role"], listed["ana"]["active"], listed["ana"]["aliases"]) == (
        "viewer",
        False,
        ["A. Okafor"],
    )
    assert (listed["root"]["role"], listed["root"]["password"]) == ("admin", True)
    assert "not at all" in c4(home, "people", "list").stdout
    database = ImagingDatabase(f"sqlite:///{home / 'imaging.db'}")
    assert log_in(database, "root", PASSWORD, "10.0.0.7", datetime.now(UTC))
    assert person_of_api_token(database, token, datetime.now(UTC)) is None
    database.engine.dispose()
    for file in home.rglob("*"):
        if file.is_file():
            assert not {secret for secret in (PASSWORD, token, token[3:]) if secret.encode() in file.read_bytes()}, file
