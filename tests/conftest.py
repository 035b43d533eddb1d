"""What the tests stand on: a fresh home with a real SQLite database and a real folder of images.

The orchestration is tested with a stand-in for the model that is fast and gives every image its own probabilities;
what MARCO says is tested with MARCO.
"""

import io
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest
from PIL import Image as Picture
from playwright.sync_api import Browser, sync_playwright

from c4_assets.checks import data_checks, withholding
from c4_assets.checks.check import Check, Tables, Verdict
from c4_assets.checks.expectations import Judgement
from c4_assets.definitions import defs
from c4_assets.deployment import resources_of
from c4_assets.models.active import ActiveModels, model_without_database
from c4_assets.models.classifier import Classifier
from c4_assets.models.engine import Engine
from c4_assets.models.weights import fetch
from c4_assets.runs import step_failures
from resources import redaction
from resources.archive.score_archive import ScoreArchive
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.register import NewImage, register_inspection, seed_classes
from resources.imaging_database.work import Progress, progress_by_day
from resources.settings import Settings
from resources.settings.checks import Thresholds
from testing.always import always
from testing.dagster_types import ephemeral_instance
from testing.programs import NotInstalled
from testing.sshd import Sshd
from tests.databases import database_url, impatience, kind, mirrored_server, postgresql_server
from tests.parallel import (
    give_way,
    nothing_left_running,
    pytest_collection_modifyitems,
    pytest_configure,
    pytest_xdist_make_scheduler,
)
from tests.stand_in_engine import StandIn, StandInClassifier

__all__ = [
    "database_url",
    "give_way",
    "impatience",
    "kind",
    "mirrored_server",
    "nothing_left_running",
    "postgresql_server",
    "pytest_collection_modifyitems",
    "pytest_configure",
    "pytest_xdist_make_scheduler",
]

CI = os.environ.get("CI") == "true"
TESTS_BEGAN = datetime.now(UTC)


def unavailable(reason: str) -> None:
    """Skips a test loudly; in CI, where everything must be there, it fails."""
    if CI:
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Generator[None]:
    """A server for which something is not installed is unavailable to the tests that need it."""
    with skipped_where_not_installed():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None]:
    """See :func:`pytest_runtest_setup`; some tests start servers themselves."""
    with skipped_where_not_installed():
        return (yield)


@contextmanager
def skipped_where_not_installed() -> Generator[None]:
    try:
        yield
    except NotInstalled as error:
        unavailable(str(error))


@pytest.fixture(scope="session")
def real_images() -> Path:
    """The folder of real crystallisation images (docs/development.md says how to get one)."""
    folder = Path(os.environ.get("C4_REAL_IMAGES", Path(__file__).parents[2] / "shared" / "data"))
    if not (folder / "marco_reference.csv").is_file():
        unavailable(f"there are no real images in {folder}: set C4_REAL_IMAGES")
    return folder


@pytest.fixture(scope="session")
def models() -> Path:
    """A folder with MARCO's weights, fetched once and kept between runs of the tests."""
    folder = Path(os.environ.get("C4_MODELS", Path.home() / ".cache" / "c4-tests" / "models"))
    fetch("marco", folder)
    return folder


@pytest.fixture(scope="session")
def marco(models: Path) -> Classifier:
    """The real classifier."""
    return model_without_database(Settings.from_environment({"C4_HOME": str(models.parent), "C4_MODELS": str(models)}))


QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass
class Facility:
    """A small facility: a home, its database, its image store, and the asset graph over them."""

    settings: Settings
    resources: dict[str, Any]
    instance: dg.DagsterInstance
    engine: Engine
    """What computes, for every model."""

    @property
    def seen(self) -> list[str]:
        """Digests of the images that were decoded, in order."""
        assert isinstance(self.engine, StandIn)
        return self.engine.seen

    @property
    def database(self) -> ImagingDatabase:
        return self.resources["imaging_database"]

    @property
    def models(self) -> ActiveModels:
        return self.resources["models"]

    @property
    def archive(self) -> ScoreArchive:
        return self.models.archive(self.models.current)

    @property
    def scorer_version(self) -> str:
        return self.models.current.version.name

    @property
    def images(self) -> Path:
        return Path(self.settings.store.url)

    def add_plate(self, plate: str, files: Mapping[str, bytes | None], imaged_at: datetime | None = None) -> int:
        """Registers an inspection and puts its files into the store; ``None`` registers an image without a file."""
        new: list[NewImage] = []
        for number, (name, data) in enumerate(files.items()):
            path = f"{plate}/{name}"
            if data is not None:
                (self.images / plate).mkdir(parents=True, exist_ok=True)
                (self.images / path).write_bytes(data)
            new.append(NewImage(f"A{number + 1:02d}", 1, path))
        return register_inspection(self.database, plate, imaged_at or noon(1), None, new).inspection_id

    def score(self, day: datetime | None = None, raise_on_error: bool = True) -> dg.ExecuteInProcessResult:
        """Runs the ``score_images`` job for a day (yesterday)."""
        return self.run("score_images", (day or noon(1)).date().isoformat(), raise_on_error)

    def run(self, job: str, partition: str, raise_on_error: bool = True) -> dg.ExecuteInProcessResult:
        definitions = replace_resources(defs, self.resources)
        return definitions.resolve_job_def(job).execute_in_process(
            partition_key=partition, instance=self.instance, raise_on_error=raise_on_error, run_config=QUIET
        )

    def backfill(self, first: datetime, last: datetime, raise_on_error: bool = True) -> dg.ExecuteInProcessResult:
        """One run of a backfill: the four daily assets over several days, in one process."""
        job = replace_resources(defs, self.resources).resolve_job_def("score_images")
        tags = {
            "dagster/backfill": "years",
            "dagster/asset_partition_range_start": first.date().isoformat(),
            "dagster/asset_partition_range_end": last.date().isoformat(),
        }
        return job.execute_in_process(
            instance=self.instance, raise_on_error=raise_on_error, run_config=QUIET, tags=tags
        )

    def progress(self) -> Progress:
        """All days together."""
        days = progress_by_day(self.database, self.scorer_version, self.settings.runs.max_attempts)
        total = Progress(days[0].day, 0, 0, 0, 0, 0)
        for day in days:
            total = Progress(
                total.day,
                total.inspections + day.inspections,
                total.listed + day.listed,
                total.scored + day.scored,
                total.failed + day.failed,
                total.retrying + day.retrying,
                total.withheld + day.withheld,
            )
        return total

    def rows(self, query: str) -> list[Any]:
        from sqlalchemy import text

        with self.database.reading() as connection:
            return list(connection.execute(text(query)))


def replace_resources(definitions: dg.Definitions, resources: dict[str, Any]) -> dg.Definitions:
    """The project's definitions over other resources."""
    return dg.Definitions(
        assets=definitions.assets, jobs=definitions.jobs, resources=resources, executor=dg.in_process_executor
    )


def noon(days_ago: int) -> datetime:
    """Noon, UTC, so many days before the tests began: at midnight they go on with the same days."""
    return (TESTS_BEGAN - timedelta(days=days_ago)).replace(hour=12, minute=0, second=0, microsecond=0)


def photograph(seed: int, size: tuple[int, int] = (96, 72), form: str = "JPEG", mode: str = "RGB") -> bytes:
    """A small image file that differs from seed to seed."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 255, (*size[::-1], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Picture.fromarray(pixels).convert(mode).save(buffer, form)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def ssh_host(tmp_path_factory: pytest.TempPathFactory) -> Generator[Sshd]:
    """A storage host: a real sshd that lets the user of the tests run commands and sftp."""
    with Sshd(tmp_path_factory.mktemp("ssh") / "host") as host:
        yield host


@pytest.fixture
def make_facility(tmp_path: Path) -> Generator[Callable[..., Facility], None, None]:
    """Makes facilities; a second one with the same home shares everything but its settings.

    Without ``own_database`` the tables are there: a LIMS provides them.
    """
    made: list[Facility] = []

    def make(own_database: bool = True, settings: Settings | None = None, **changes: Any) -> Facility:
        changes.setdefault("home", tmp_path / "home")
        settings = settings or Settings(**changes)
        resources: dict[str, Any] = dict(resources_of(settings))
        Path(settings.store.url).mkdir(parents=True, exist_ok=True)
        database: ImagingDatabase = resources["imaging_database"]
        if own_database:
            database.upgrade()
            seed_classes(database)
        facility = Facility(settings, resources, ephemeral_instance(), StandIn())
        resources["models"] = ActiveModels(
            settings, database, partial(StandInClassifier, engine_of=lambda: facility.engine)
        )
        made.append(facility)
        return made[-1]

    yield make
    for facility in made:
        facility.instance.dispose()
        facility.database.engine.dispose()


@pytest.fixture
def facility(make_facility: Callable[..., Facility]) -> Facility:
    """One facility with default settings."""
    return make_facility()


ONE_FRAME = "inspection_is_not_one_frame"


@pytest.fixture
def judged_without_great_expectations(monkeypatch: pytest.MonkeyPatch) -> None:
    """One check, in plain Python: for tests of many runs in which it does not matter how they are judged."""

    def judge(checks: Sequence[Check], tables: Tables, thresholds: Thresholds) -> Judgement:
        def offending(check: Check) -> tuple[dict[str, Any], ...]:
            rows = [] if check.table not in tables else tables[check.table].to_dict("records")
            return tuple(
                {str(key): value for key, value in row.items()}
                for row in rows
                if check.name == ONE_FRAME and row["one_frame_share"] == 1
            )

        return Judgement(tuple(Verdict(check, 1, offending(check)) for check in checks), {})

    for module in (withholding, data_checks):
        monkeypatch.setattr(module, "judge", judge)


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries are tested, waiting for them is not."""
    monkeypatch.setattr(dg.RetryPolicy, "calculate_delay", always(1))
    monkeypatch.setattr(step_failures, "RETRY_DELAY_S", 1)


@pytest.fixture(autouse=True)
def no_site_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeps the settings of whoever runs the tests out of them."""
    for name in [name for name in os.environ if name.startswith("C4_") and name != "C4_REAL_IMAGES"]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)


@pytest.fixture(autouse=True)
def no_secrets_of_other_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """A password of one test is a word of another."""
    monkeypatch.setattr(redaction, "registered", redaction.Registered())


@pytest.fixture(autouse=True, scope="session")
def no_log_files() -> None:
    """Keeps what tests do out of the log files of whoever runs them. A test that wants some says where."""
    logging.getLogger("c4").handlers.clear()


def chromium() -> str:
    """Path of the browser."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not path:
        unavailable("there is no Chromium: run deploy/system-packages")
    return str(path)


def c4(home: Path, *arguments: str | Path, models: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Runs the ``c4`` command as a user does, in a home of its own."""
    environment = {**os.environ, "C4_HOME": str(home), "C4_MODELS": str(models), "COLUMNS": "200"}
    command = [str(Path(sys.executable).with_name("c4")), *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=home.parent, check=False)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="session")
def scored_files(real_images: Path, models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All real images, scored by ``c4 score`` with a page beside: the path of the CSV file."""
    out = tmp_path_factory.mktemp("score") / "s.csv"
    c4(out.parent / "home", "score", real_images, "--out", out, "--html", models=models)
    return out


@pytest.fixture(scope="session")
def demo_home(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's home, in which it has run. It is the folder ``demo`` of another home."""
    home = tmp_path_factory.mktemp("homes") / "home"
    told = c4(home, "demo", models=models).stdout
    (home / "demo.txt").write_text(told)
    return home / "demo"


@pytest.fixture(scope="session")
def browser() -> Generator[Browser, None, None]:
    """A real browser."""
    path = chromium()
    # Without these, Chromium calls its maker at every start.
    quiet = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu", *quiet])
        yield started
        started.close()
