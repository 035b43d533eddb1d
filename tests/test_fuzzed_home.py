"""A home in which any file may be cut off, changed, exchanged or removed between two steps, by whatever means.

Every image is scored exactly once or listed as failed, by what its file holds; no day stops, and no score changes.
"""

import hashlib
import os
import random
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from c4_assets.models import weights
from c4_assets.models.active import ActiveModels
from c4_assets.models.classifier import ModelChoice, scorer_version_of
from c4_assets.models.engine import Classification
from c4_assets.models.weights import SAVED_MODEL_FILES, Release, fetch
from c4_assets.scoring.classify import classify_day
from c4_assets.scoring.fetch import stage_day
from c4_assets.scoring.predict import predict_day
from c4_assets.scoring.write import write_day
from resources.archive.staging import Staging
from resources.errors import C4Error, ConfigurationError
from resources.image_store import LocalStore
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.models import register_model
from resources.imaging_database.register import NewImage, register_inspection, seed_classes
from resources.imaging_database.work import progress_by_day
from resources.records import Probabilities
from resources.settings import Settings
from testing.always import always
from tests.conftest import noon

SEEDS = 200

DAYS = (noon(2).date(), noon(1).date())
INSPECTIONS_A_DAY, IMAGES_AN_INSPECTION = 2, 3
BROKEN = b"what no decoder reads"

MAX_ATTEMPTS = 1
DAMAGED_ROUNDS = 3
CLEAN_ROUNDS = 3
"""Runs of each day without damage, by which everything must be done: one may end with fetching the weights again, and
the next with finding that a staged image is damaged."""

CONTENT = {file: f"content of {file}".encode() * 20 for file in SAVED_MODEL_FILES}


def probabilities_of(data: bytes) -> Probabilities:
    """What the stand-in for a model says of a file."""
    clear, crystals, other, precipitate = (number / 4 for number in random.Random(data).sample(range(100), 4))
    total = clear + crystals + other + precipitate
    return clear / total, crystals / total, other / total, precipitate / total


class Says:
    """A stand-in for a model, which opens no image."""

    def classify(self, images: Iterable[bytes]) -> Iterator[Classification]:
        for data in images:
            yield Classification(None, "broken") if data == BROKEN else Classification(probabilities_of(data))


class Home:
    """A deployment without Dagster: its steps are the plain functions, and a step that raises ends the run."""

    def __init__(self, root: Path, images: Path, wheel: Path) -> None:
        self.settings = Settings(home=root)
        self.database = ImagingDatabase(f"sqlite:///{root / 'imaging.db'}")
        self.staging = Staging(self.settings.staging)
        self.models = ActiveModels(self.settings, self.database)
        self.store, self.images, self.wheel = LocalStore.at(str(images)), images, wheel

    def run(self, day: date, between: Callable[[], None]) -> None:
        """One run of a day; ``between`` is called before each step."""
        for step in (self.stage, self.classify, self.predict, self.write):
            between()
            try:
                step(day)
            except C4Error:
                return

    def stage(self, day: date) -> None:
        archives = [self.models.archive(model) for model in self.models.publish()]
        stage_day(day, self.database, self.store, self.staging, archives, MAX_ATTEMPTS, 10**9)

    def classify(self, day: date) -> None:
        for model in self.models.published():
            try:
                whole = model.weights_on_disk() == model.version.weights_sha256
            except ConfigurationError:
                whole = False
            if not whole:
                fetch(model.source, self.settings.models, str(self.wheel))  # as the check tells the operator
                return
            classify_day(day, self.staging, self.models.archive(model), Says)

    def predict(self, day: date) -> None:
        for model in self.models.published():
            predict_day(day, self.models.archive(model), model.version.crystal_threshold)

    def write(self, day: date) -> None:
        for model in self.models.read():
            thresholds = self.settings.checks
            write_day(day, self.database, self.models.archive(model), model.version, "run", thresholds)

    def scores(self) -> Sequence[tuple[str, str, float, float, float, float]]:
        """Path, digest and probabilities of every score."""
        columns = "i.path, s.image_sha256, s.p_clear, s.p_crystals, s.p_other, s.p_precipitate"
        query = text(f"select {columns} from scores s join images i on i.id = s.image_id order by i.path")
        with self.database.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(query)]


def cut_off(file: Path, rng: random.Random) -> None:
    os.truncate(file, rng.randrange(file.stat().st_size + 1))


def flip(file: Path, rng: random.Random) -> None:
    content = bytearray(file.read_bytes())
    for _ in range(rng.choice([1, 1, 20])):
        if content:
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    file.write_bytes(content)


def remove(file: Path, rng: random.Random) -> None:
    file.unlink()


def folder_in_its_place(file: Path, rng: random.Random) -> None:
    file.unlink()
    (file / "of somebody").mkdir(parents=True)


def file_in_place_of_its_folder(file: Path, rng: random.Random) -> None:
    shutil.rmtree(file.parent)
    file.parent.write_bytes(rng.randbytes(rng.randrange(100)))


def copy_under_another_name(file: Path, rng: random.Random) -> None:
    shutil.copyfile(file, file.with_name(rng.choice(["copy of ", "0", "-"]) + file.name))


DAMAGES = (cut_off, flip, flip, remove, folder_in_its_place, file_in_place_of_its_folder, copy_under_another_name)


def damage(home: Home, rng: random.Random) -> None:
    """Damages a random file of staging, archive or models, or nothing."""
    roots = [root for root in (home.settings.staging, home.settings.archive, home.settings.models) if root.is_dir()]
    files = sorted(file for file in rng.choice(roots).rglob("*") if file.is_file()) if roots else []
    deep_enough = [file for file in files if file.parent not in roots and ".unreadable-" not in str(file)]
    if deep_enough and rng.random() < 0.6:
        rng.choice(DAMAGES)(rng.choice(deep_enough), rng)
    elif files and rng.random() < 0.3:
        rng.choice((cut_off, flip, remove))(rng.choice(files), rng)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with two days that nobody has scored, its images, and the wheel that its model comes from."""
    root = tmp_path_factory.mktemp("template")
    (root / "home").mkdir()
    database = ImagingDatabase(f"sqlite:///{root / 'home' / 'imaging.db'}")
    database.upgrade()
    seed_classes(database)
    for day in (2, 1):
        for number in range(INSPECTIONS_A_DAY):
            plate = f"P{day}{number}"
            (root / "images" / plate).mkdir(parents=True)
            new = [NewImage(f"A{n + 1:02d}", 1, f"{plate}/{n}.jpg") for n in range(IMAGES_AN_INSPECTION)]
            for image in new:
                (root / "images" / image.path).write_bytes(image.path.encode() * 30)
            register_inspection(database, plate, noon(day) + timedelta(minutes=number), None, new)
    (root / "images" / "P11" / "2.jpg").write_bytes(BROKEN)
    for file, content in CONTENT.items():
        (root / "wheel" / file).parent.mkdir(parents=True, exist_ok=True)
        (root / "wheel" / file).write_bytes(content)
    digests = {file: hashlib.sha256(content).hexdigest() for file, content in CONTENT.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(weights.RELEASES, "small", Release("c4-no-such-package==1", digests))
        models = Settings(home=root / "home").models
        version = scorer_version_of(ModelChoice("small", "openvino"), models, "in_process")
        register_model(database, "small", "small", version.as_row())
        fetch("small", models, str(root / "wheel"))
    database.engine.dispose()
    return root


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch, judged_without_great_expectations: None) -> None:
    """Nothing here loses its power, and no disk is waited for."""
    digests = {file: hashlib.sha256(content).hexdigest() for file, content in CONTENT.items()}
    monkeypatch.setitem(weights.RELEASES, "small", Release("c4-no-such-package==1", digests))
    monkeypatch.setattr(os, "fsync", always(None))


def done(home: Home) -> bool:
    version = home.models.current.version.name
    return not any(day.pending for day in progress_by_day(home.database, version, MAX_ATTEMPTS))


@pytest.mark.parametrize("seed", range(SEEDS))
def test_whatever_becomes_of_a_file_each_image_is_scored_once_or_listed(
    seed: int, template: Path, tmp_path: Path
) -> None:
    rng = random.Random(seed)
    shutil.copytree(template / "home", tmp_path / "home")
    home = Home(tmp_path / "home", template / "images", template / "wheel")
    before: set[tuple[str, str, float, float, float, float]] = set()
    for _ in range(DAMAGED_ROUNDS):
        home.run(rng.choice(DAYS), lambda: damage(home, rng))
        now = set(home.scores())
        assert before <= now, "a score has changed"
        before = now
    for _ in range(CLEAN_ROUNDS):
        for day in DAYS:
            home.run(day, lambda: None)
    scores = home.scores()
    assert done(home)
    listed = sorted(file.relative_to(home.images).as_posix() for file in home.images.rglob("*.jpg"))
    assert [path for path, *_ in scores] == [path for path in listed if path != "P11/2.jpg"]
    for path, digest, *probabilities in scores:
        data = (home.images / path).read_bytes()
        assert digest == hashlib.sha256(data).hexdigest()
        assert probabilities == pytest.approx(probabilities_of(data), abs=1e-6)
    for archive in (home.models.archive(model) for model in home.models.published()):
        for day in DAYS:
            assert {outcome.image.path for outcome in archive.outcomes(day)} <= set(listed)
    home.database.engine.dispose()
