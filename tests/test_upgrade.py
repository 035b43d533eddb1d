"""A deployment of release 0.1, scored in part, after the upgrade: nothing is scored twice and nothing is lost.

The earlier release's own code makes the deployment; it comes from the project's history.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import text

from c4_assets.deployment_home import dagster_instance, upgrade
from resources.archive.score_archive import ScoreArchive
from resources.archive.upgrade import is_of_an_earlier_release, upgrade_archive
from resources.errors import ConfigurationError, DataError
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.connecting import Connecting
from resources.imaging_database.database import MIGRATIONS
from resources.imaging_database.register import seed_classes
from resources.imaging_database.work import failures, progress_by_day
from resources.imaging_database.write_back import FailedAttempt, write_back
from resources.records import CATEGORIES, Image, ImageOutcome
from resources.settings import Settings
from tests.conftest import c4, photograph

ROOT = Path(__file__).parents[1]

RELEASE_0_1 = "d339208fbbb5039d6e795224fb68d042c5c103d6"

REGISTER = """
from datetime import UTC, datetime
from c4_assets.command.database import ready
from resources.imaging_database.register import NewImage, register_inspection
from resources.settings import Settings
database = ready(Settings.from_environment())
for plate, day in (("P1", 10), ("P2", 11)):
    images = [NewImage(f"A{n:02d}", 1, f"{plate}/{n}.jpg") for n in range(3)]
    register_inspection(database, plate, datetime(2026, 3, day, 12, tzinfo=UTC), None, images)
"""

RUN = "import sys; from c4_assets.command import main; sys.argv = ['c4', *sys.argv[1:]]; main()"


@pytest.fixture
def earlier_deployment(tmp_path: Path, models: Path) -> Path:
    """The home of a deployment that release 0.1 made: of two days, one is scored."""
    code, home = tmp_path / "release-0.1", tmp_path / "home"
    code.mkdir()
    packed = subprocess.run(["git", "archive", RELEASE_0_1], cwd=ROOT, capture_output=True, check=True).stdout
    subprocess.run(["tar", "-x"], cwd=code, input=packed, check=True)
    for plate in ("P1", "P2"):
        (home / "images" / plate).mkdir(parents=True)
        for number in range(3):
            (home / "images" / plate / f"{number}.jpg").write_bytes(photograph(number, (640, 480)))
    environment = {**os.environ, "C4_HOME": str(home), "C4_MODELS": str(models)}
    for program in (["-c", REGISTER], ["-c", RUN, "run", "--date", "2026-03-10"]):
        subprocess.run([sys.executable, *program], cwd=code, env=environment, check=True, capture_output=True)
    return home


def totals(home: Path, models: Path) -> dict[str, Any]:
    versions = json.loads(c4(home, "status", "--all", "--json", models=models).stdout)["scorer_versions"]
    return {name: version["total"] for name, version in versions.items()}


def rows(home: Path) -> list[tuple[Any, ...]]:
    columns = "id, image_id, scorer_version, scored_at, crystal, p_clear, p_crystals, p_other, p_precipitate, run_id"
    database = ImagingDatabase(f"sqlite:///{home / 'imaging.db'}")
    with database.reading() as connection:
        found = [tuple(row) for row in connection.execute(text(f"select {columns} from scores order by id"))]
    database.engine.dispose()
    return found


def test_after_the_upgrade_the_status_is_the_same_and_a_run_does_only_what_was_pending(
    earlier_deployment: Path, models: Path
) -> None:
    before = rows(earlier_deployment)
    assert len(before) == 3
    (version,) = {row[2] for row in before}
    refused = c4(earlier_deployment, "status", models=models, check=False)
    assert refused.returncode == 1, "what only shows something changes no table"
    assert "Create them with `c4 db upgrade`" in refused.stderr
    c4(earlier_deployment, "db", "upgrade", models=models)
    status = totals(earlier_deployment, models)
    assert status == {version: {**status[version], "listed": 6, "scored": 3, "pending": 3}}
    assert not list((earlier_deployment / "archive").rglob("probabilities/scorer=*"))
    said = c4(earlier_deployment, "run", "--pending", models=models).stdout
    assert "3 scores were written" in said
    assert rows(earlier_deployment)[:3] == before
    assert totals(earlier_deployment, models)[version]["scored"] == 6
    # Rows of the earlier release do not say which file they are of; their time proves it, so nothing is fetched.
    c4(earlier_deployment, "model", "threshold", "marco", "0.5", models=models)
    (earlier_deployment / "images" / "P1").rename(earlier_deployment / "out-of-reach")
    assert "6 scores were written" in c4(earlier_deployment, "run", "--pending", models=models).stdout


def test_an_upgrade_is_refused_while_a_run_is_in_flight(earlier_deployment: Path) -> None:
    settings = Settings.from_environment({"C4_HOME": str(earlier_deployment)})
    database = ImagingDatabase.of(settings)
    with dagster_instance(settings) as instance:
        run = instance.add_run(dg.DagsterRun(job_name="score_images", status=dg.DagsterRunStatus.STARTED))
        with pytest.raises(ConfigurationError, match="1 runs are in flight"):
            upgrade(settings, database)
        # As the releases before had it, whose file is not there any more.
        (settings.dagster_home / "dagster.yaml").unlink()
        (settings.dagster_home / "dagster.yaml").symlink_to(earlier_deployment / "moved" / "dagster.yaml")
        with pytest.raises(ConfigurationError, match="1 runs are in flight"):
            upgrade(settings, database)
        assert not database.is_up_to_date()
        assert list((earlier_deployment / "archive" / "probabilities").glob("scorer=*"))
        instance.delete_run(run.run_id)
    assert upgrade(settings, database)
    assert not upgrade(settings, database), "the second time, there is nothing to do"
    database.engine.dispose()


DAY = date(2026, 3, 10)
VERSIONS = {"marco-aaaaaaaa": "marco-openvino-fp32-cccccccc", "marco-bbbbbbbb": "marco-openvino-fp32-cccccccc"}


def earlier_archive(root: Path) -> None:
    """Two operating points of the same numbers: both have one day, one has another, and one an unfinished day."""
    for scorer_version, days in (("marco-aaaaaaaa", (10, 11)), ("marco-bbbbbbbb", (10, 12))):
        for day in days:
            made = ScoreArchive(root / "new", scorer_version, scorer_version)
            image = Image(day, 1, "P1", "A01", 1, f"{day}.jpg")
            at = datetime(2026, 3, day, tzinfo=UTC)
            outcome = ImageOutcome(image, at, "digest", (0.1, 0.2, 0.3, 0.4), thumbnail=b"jpeg")
            made.checkpoint(date(2026, 3, day), 1, [outcome])
            if day != 12:
                made.merge(date(2026, 3, day))
    for dataset in ("probabilities", "thumbnails"):
        for folder in (root / "new" / dataset).iterdir():
            target = root / dataset / folder.name.replace("model=", "scorer=")
            target.parent.mkdir(parents=True, exist_ok=True)
            folder.rename(target)
    (root / "new" / "checkpoints").rename(root / "checkpoints")


def scored(root: Path) -> dict[int, list[int]]:
    archive = ScoreArchive(root, VERSIONS["marco-aaaaaaaa"], "marco-aaaaaaaa")
    return {day: [o.image.image_id for o in archive.outcomes(date(2026, 3, day))] for day in (10, 11, 12)}


@pytest.mark.parametrize("fails_at", range(12))
def test_an_upgrade_that_is_interrupted_anywhere_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails_at: int
) -> None:
    root, staging = tmp_path / "archive", tmp_path / "staging"
    earlier_archive(root)
    (staging / "marco-aaaaaaaa" / "2026-03-12").mkdir(parents=True)
    calls = iter(range(1000))
    rename = Path.rename

    def failing(self: Path, target: Path) -> Path:
        if next(calls) == fails_at:
            raise KeyboardInterrupt
        return rename(self, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", failing)
        try:
            upgrade_archive(root, staging, VERSIONS)
        except KeyboardInterrupt:
            assert is_of_an_earlier_release(root, VERSIONS)
    upgrade_archive(root, staging, VERSIONS)
    assert not is_of_an_earlier_release(root, VERSIONS)
    assert scored(root) == {10: [10], 11: [11], 12: [12]}
    assert not (staging / "marco-aaaaaaaa").exists()


BEFORE_0005 = (
    "insert into plates (id, barcode) values (1, 'P1'), (2, 'P2')",
    "insert into inspections (id, plate_id, imaged_at) values (7, 1, '2026-03-10 12:00:00.000000')",
    "insert into images (id, inspection_id, well, drop_number, path) values "
    "(1, 7, 'A1', 1, 'a'), (2, 7, 'A2', 1, 'b'), (3, 7, 'A3', 1, 'c')",
    "insert into score_classes (id, name, category) values (1, 'clear', 'clear')",
    "insert into c4_scorer_versions values ('v', 'm', 'w', 'p', 'e', 'fp32', 0.25, '2026-03-10 12:00:00.000000')",
    "insert into scores (id, image_id, score_class_id, scorer, scored_at, scorer_version) values "
    "(1, 1, 1, 'v', '2026-03-10 13:00:00.000000', 'v'), (2, 1, 1, 'ana', '2026-03-10 14:00:00.000000', null)",
    "insert into c4_image_failures (image_id, scorer_version, reason, attempts, failed_at) values "
    "(2, 'v', 'gone', 3, '2026-03-10 13:00:00.000000'), (3, 'v', 'gone', 1, '2026-03-10 13:00:00.000000')",
    "insert into c4_superseded_scores (image_id, score_class_id, scorer_version, scored_at, superseded_at) values "
    "(90, 1, 'v', '2026-03-10 12:00:00.000000', '2026-03-10 12:00:00.000000')",
)


VERSION_ROW: dict[str, Any] = {
    "name": "v",
    "model": "m",
    "weights_sha256": "w",
    "preprocessing": "p",
    "engine": "e",
    "precision": "fp32",
    "crystal_threshold": 0.25,
    "first_used_at": datetime(2026, 3, 10, tzinfo=UTC),
}


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[ImagingDatabase]:
    """An embedded database as the release before made it, with rows."""
    database = ImagingDatabase(f"sqlite:///{tmp_path / 'imaging.db'}", Connecting(makes_file=True))
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with database.writing() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0004")
    with database.writing() as connection:
        for statement in BEFORE_0005:
            connection.execute(text(statement))
    yield database
    database.engine.dispose()


def contents(database: ImagingDatabase) -> dict[str, list[tuple[Any, ...]]]:
    said = "id, image_id, score_class_id, scorer, scored_at, scorer_version"
    columns = dict.fromkeys(("plates", "inspections", "images", "score_classes", "c4_superseded_scores"), "*")
    with database.reading() as connection:
        return {
            name: [tuple(row) for row in connection.execute(text(f"select {these} from {name}"))]
            for name, these in {**columns, "scores": said}.items()
        }


def test_an_embedded_database_keeps_its_rows_and_gives_no_number_twice_from_now_on(embedded: ImagingDatabase) -> None:
    before = contents(embedded)
    for _ in range(2):
        embedded.upgrade()
        assert contents(embedded) == before
    (day,) = progress_by_day(embedded, "v", 3)
    assert (day.listed, day.scored, day.failed, day.retrying) == (3, 1, 1, 1)
    write_back(embedded, VERSION_ROW, [], [FailedAttempt(3, "gone", datetime.now(UTC))], "run")
    assert [(f.attempts, f.failed) for f in failures(embedded, "v")] == [(2, False), (3, True)]
    with embedded.writing() as connection:
        assert connection.execute(text("PRAGMA foreign_keys")).scalar() == 1
        assert connection.execute(text("PRAGMA foreign_key_check")).all() == []
        connection.execute(text("delete from c4_image_failures"))
        connection.execute(text("delete from images where id = 3"))
        new = "insert into images (inspection_id, well, drop_number, path) values (7, 'A4', 1, 'd') returning id"
        assert connection.execute(text(new)).scalar() == 91, "neither that of a deleted row nor of a superseded score"


def test_a_database_whose_classes_are_there_gets_the_one_that_takes_scores_back_once(embedded: ImagingDatabase) -> None:
    with embedded.writing() as connection:
        connection.execute(text("insert into score_classes (name, category) values ('crystals', 'crystals')"))
    for _ in range(2):
        embedded.upgrade()
        added = [row[1:] for row in contents(embedded)["score_classes"] if row[1] not in CATEGORIES]
        assert added == [("withdrawn", None)]
    assert seed_classes(embedded) == 12, "the others"


def test_an_upgrade_that_finds_rows_without_what_they_refer_to_changes_nothing(embedded: ImagingDatabase) -> None:
    with embedded.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
        connection.exec_driver_sql("delete from plates where id = 1")
        connection.commit()
        connection.invalidate()
    before = contents(embedded)
    with pytest.raises(DataError, match=r"1 rows of the embedded database.*inspections"):
        embedded.upgrade()
    assert contents(embedded) == before
    assert not embedded.is_up_to_date()
