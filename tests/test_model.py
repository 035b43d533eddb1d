"""Fetching weights: from a wheel, a folder or an address; whole, checked, or not at all."""

import hashlib
import http.server
import subprocess
import threading
import zipfile
from collections.abc import Generator
from functools import partial
from pathlib import Path

import pytest

from c4_assets.models import weights as model
from c4_assets.models.weights import SAVED_MODEL_FILES, Release, fetch, fetched, locate, weights_sha256
from resources.errors import ConfigurationError, Unavailable

CONTENT = {file: f"content of {file}".encode() for file in SAVED_MODEL_FILES}
DIGESTS = {file: hashlib.sha256(data).hexdigest() for file, data in CONTENT.items()}


@pytest.fixture(autouse=True)
def small_release(monkeypatch: pytest.MonkeyPatch) -> None:
    """A published model of a few bytes beside the real one."""
    monkeypatch.setitem(model.RELEASES, "small", Release("c4-no-such-package==1", DIGESTS))


def archive(path: Path, contents: dict[str, bytes], below: str = "package/savedmodel/") -> Path:
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("package/__init__.py", "raise SystemExit")
        for name, data in contents.items():
            packed.writestr(below + name, data)
    return path


def test_a_model_comes_out_of_a_wheel_and_nothing_else_does(tmp_path: Path) -> None:
    folder = fetch("small", tmp_path / "models", str(archive(tmp_path / "m.whl", CONTENT)))
    assert locate("small", tmp_path / "models") == folder
    assert sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()) == sorted(
        SAVED_MODEL_FILES
    )
    assert list(fetched(tmp_path / "models")) == ["small"]
    assert not list((tmp_path / "models").glob(".fetch-*")), "no scratch folder is left"


def test_a_folder_and_a_model_of_ones_own_work_too(tmp_path: Path) -> None:
    first = fetch("small", tmp_path / "models", str(archive(tmp_path / "m.whl", CONTENT)))
    second = fetch("mine", tmp_path / "models", str(first))
    assert weights_sha256("mine", tmp_path / "models") == weights_sha256("small", tmp_path / "models")
    assert weights_sha256(str(second), tmp_path) == weights_sha256("mine", tmp_path / "models")


def test_a_wrong_checksum_keeps_nothing_and_says_which_file(tmp_path: Path) -> None:
    changed = {**CONTENT, SAVED_MODEL_FILES[1]: b"other weights"}
    with pytest.raises(ConfigurationError, match=r"variables.data-00000-of-00001 .*sha256 differs"):
        fetch("small", tmp_path / "models", str(archive(tmp_path / "m.whl", changed)))
    assert fetched(tmp_path / "models") == {}


def test_a_damaged_model_is_fetched_again(tmp_path: Path) -> None:
    source = str(archive(tmp_path / "m.whl", CONTENT))
    folder = fetch("small", tmp_path / "models", source)
    (folder / SAVED_MODEL_FILES[0]).write_bytes(b"bit rot")
    fetch("small", tmp_path / "models", source)
    assert (folder / SAVED_MODEL_FILES[0]).read_bytes() == CONTENT[SAVED_MODEL_FILES[0]]


def test_names_in_an_archive_that_lead_outside_are_never_followed(tmp_path: Path) -> None:
    evil = archive(tmp_path / "evil.zip", CONTENT, below="../../")
    fetch("mine", tmp_path / "models", str(evil))
    outside = {p.name for p in tmp_path.parent.iterdir()} | {p.name for p in tmp_path.iterdir()}
    assert SAVED_MODEL_FILES[0] not in outside


@pytest.mark.parametrize("kind", ["no archive", "cut off", "incomplete", "absent"])
def test_a_source_that_holds_no_whole_model_says_what_is_wrong(tmp_path: Path, kind: str) -> None:
    source = tmp_path / "m.zip"
    if kind == "no archive":
        source.write_bytes(b"<html>404</html>")
    elif kind == "cut off":
        archive(source, CONTENT)
        source.write_bytes(source.read_bytes()[:-40])
    elif kind == "incomplete":
        archive(source, {SAVED_MODEL_FILES[0]: b"graph"})
    with pytest.raises(ConfigurationError, match=r"m\.zip|is not there"):
        fetch("small", tmp_path / "models", str(source))
    assert fetched(tmp_path / "models") == {}


def test_an_archive_that_unpacks_to_more_than_a_model_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model, "MAX_FILE_BYTES", 10)
    with pytest.raises(ConfigurationError, match="larger than any file"):
        fetch("small", tmp_path / "models", str(archive(tmp_path / "m.zip", CONTENT)))


def test_without_a_network_the_error_says_how_to_bring_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    with pytest.raises(Unavailable, match=r"c4 model fetch --from FILE\.whl"):
        fetch("small", tmp_path / "models")
    assert fetched(tmp_path / "models") == {}


@pytest.fixture
def server(tmp_path: Path) -> Generator[str, None, None]:
    """A real HTTP server over a folder with ``m.zip``."""
    archive(tmp_path / "m.zip", CONTENT)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
            pass

    served = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path)))
    threading.Thread(target=served.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{served.server_port}"
    served.shutdown()
    served.server_close()


def test_a_model_comes_from_an_address(tmp_path: Path, server: str) -> None:
    assert fetch("small", tmp_path / "models", f"{server}/m.zip").is_dir()
    with pytest.raises(Unavailable, match="404"):
        fetch("other", tmp_path / "models", f"{server}/none.zip")


def test_two_fetches_at_once_leave_one_whole_model(tmp_path: Path) -> None:
    source = str(archive(tmp_path / "m.whl", CONTENT))
    errors: list[Exception] = []

    def one() -> None:
        try:
            fetch("small", tmp_path / "models", source)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert (tmp_path / "models" / "small" / SAVED_MODEL_FILES[0]).read_bytes() == CONTENT[SAVED_MODEL_FILES[0]]


def test_a_model_that_was_not_fetched_says_how_to(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="c4 model fetch marco"):
        locate("marco", tmp_path)
    with pytest.raises(ConfigurationError, match="there is no SavedModel"):
        locate(str(tmp_path / "none"), tmp_path)
    with pytest.raises(ConfigurationError, match="--from"):
        fetch("unheard-of", tmp_path)
    with pytest.raises(ConfigurationError, match="cannot be the name"):
        fetch("../up", tmp_path, "somewhere")


def test_the_published_model_is_what_the_release_says(models: Path) -> None:
    listed = subprocess.run(
        ["sha256sum", *SAVED_MODEL_FILES], cwd=models / "marco", capture_output=True, text=True, check=True
    )
    assert [line.split()[0] for line in listed.stdout.splitlines()] == [
        model.RELEASES["marco"].sha256[file] for file in SAVED_MODEL_FILES
    ]
