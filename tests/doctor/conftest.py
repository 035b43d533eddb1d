"""A deployment that is well, made once and copied for each test."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from c4_assets.deployment_home import prepare_dagster_home
from c4_assets.models.active import ActiveModels
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.register import NewImage, register_inspection, seed_classes
from resources.settings import Settings
from testing.postgresql import Server, running_server
from tests.conftest import noon, photograph
from tests.doctor.place import SQLITE_HOME, Place


@pytest.fixture(scope="module")
def made(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with one image, prepared once."""
    home = tmp_path_factory.mktemp("doctor") / SQLITE_HOME
    settings = Settings.from_environment({"C4_HOME": str(home), "C4_MODELS": str(models)})
    database = ImagingDatabase.of(settings)
    database.upgrade()
    seed_classes(database)
    (home / "images" / "P1").mkdir(parents=True)
    (home / "images" / "P1" / "1.jpg").write_bytes(photograph(1, (640, 480)))
    register_inspection(database, "P1", noon(1), None, [NewImage("A01", 1, "P1/1.jpg")])
    ActiveModels(settings, database).read()
    prepare_dagster_home(settings)
    database.engine.dispose()
    return home


@pytest.fixture
def place(made: Path, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    home = shutil.copytree(made, tmp_path / SQLITE_HOME)
    place = Place(home, monkeypatch)
    place.set(C4_HOME=home, C4_MODELS=models)
    with place.stack:
        yield place


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_server(tmp_path_factory.mktemp("postgresql") / "server", "fsync=off") as server:
        database = ImagingDatabase(server.address("template_c4"))
        database.upgrade()
        seed_classes(database)
        register_inspection(database, "P1", noon(1), None, [NewImage("A01", 1, "P1/1.jpg")])
        database.engine.dispose()
        server.execute("create role reader login password 'r3ad'")
        yield server
