"""What people look at, in a real browser: the page of scored files, and Dagster's UI after the demo."""

import json
import os
import random
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Generator
from contextlib import suppress
from datetime import UTC, date, datetime
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from c4_assets.backlog.backfill import Backfill
from c4_assets.backlog.coverage import Coverage, Throughput
from c4_assets.backlog.limits import Limit, Observations
from c4_assets.backlog.report import BackfillCoverage, Report
from c4_assets.demo.home import demo_environment
from c4_assets.deployment_home import dagster_instance
from c4_assets.labels.report import write_report
from c4_assets.models.active import ActiveModels
from c4_assets.pictures.backlog_page import write_page as write_backlog_page
from c4_assets.runs.backfills import backfills
from resources.archive.label_archive import ArchivedLabel
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.register import NewImage, register_inspection
from resources.imaging_database.work import pending_by_day, progress_by_day
from resources.records import CATEGORIES, HumanLabel
from resources.settings import Settings
from resources.settings.checks import Thresholds
from testing.ports import free_port
from tests.conftest import c4

OLD_DAYS = 6
"""Days of history that the backfill scores; four of its runs may be at work at once."""

ASSETS = [
    "inspections",
    "human_scores",
    "human_labels",
    "raw_inspection_images",
    "marco_probabilities",
    "class_predictions",
    "db_scores",
    "ashes_disagreements",
    "backlog_coverage",
]


@pytest.fixture
def sheet(browser: Browser, scored_files: Path) -> Generator[Page, None, None]:
    """The page that ``c4 score --html`` wrote of all real images."""
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    page.goto(scored_files.with_suffix(".html").as_uri())
    yield page
    page.close()


def test_the_page_shows_every_drop_likeliest_crystals_first(sheet: Page) -> None:
    expect(sheet.locator(".drop")).to_have_count(310)
    assert sheet.locator(".drop").first.get_attribute("data-category") == "crystals"
    widths = sheet.eval_on_selector_all(".drop img", "images => images.slice(0, 20).map(i => i.naturalWidth)")
    assert all(width > 0 for width in widths)


def test_categories_can_be_hidden_and_flagged_drops_shown_alone(sheet: Page) -> None:
    sheet.get_by_label("clear").uncheck()
    expect(sheet.locator(".drop[data-category=clear]:visible")).to_have_count(0)
    sheet.get_by_label("flagged only").check()
    shown = sheet.locator(".drop:visible")
    assert 0 < shown.count() < 60
    assert set(shown.evaluate_all("drops => drops.map(d => d.dataset.crystal)")) == {"true"}


def test_arrow_keys_walk_from_drop_to_drop(sheet: Page) -> None:
    focused = "[...document.querySelectorAll('.drop')].indexOf(document.activeElement)"
    for key, expected in (("ArrowRight", 0), ("ArrowRight", 1), ("ArrowRight", 2), ("ArrowLeft", 1)):
        sheet.keyboard.press(key)
        assert sheet.evaluate(focused) == expected


@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (360, "dark"), (1600, "dark")])
def test_the_page_fits_narrow_and_wide_windows_in_light_and_dark(
    browser: Browser, scored_files: Path, width: int, scheme: str
) -> None:
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)  # pyright: ignore[reportArgumentType]
    page.goto(scored_files.with_suffix(".html").as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "nothing is cut off at the side"
    background, text = page.evaluate(
        "(({backgroundColor, color}) => [backgroundColor, color])(getComputedStyle(document.body))"
    )
    brightness = [int(part) for part in background[4:-1].split(",")]
    assert (sum(brightness) > 380) == (scheme == "light")
    assert background != text
    page.close()


def test_the_demo_agrees_with_what_was_drawn_and_scores_nothing_twice(demo_home: Path, models: Path) -> None:
    told = (demo_home.parent / "demo.txt").read_text()
    agreement = {
        line.split("│")[1].strip(): int(line.split("│")[-2].strip(" %")) for line in told.splitlines() if "%" in line
    }
    assert min(agreement[category] for category in ("clear", "crystals", "precipitate")) >= 90
    assert "disagreements with people: 5" in told
    assert "rows written now: 96" in told
    again = c4(demo_home.parent, "demo", models=models).stdout
    assert "nothing was scored twice" in again
    assert "rows written now: 0" in again


def test_the_demo_takes_nothing_of_a_site_but_its_models(tmp_path: Path) -> None:
    (tmp_path / "c4.toml").write_text('[runs]\nexecutor = "multiprocess"\n')
    site = {
        "PATH": "/bin",
        "C4_HOME": str(tmp_path),
        "C4_DATABASE_URL": "sqlite:////srv/lims.db",
        "C4_STORE_URL": "ssh://c4@storage/images",
        "C4_ENGINE": "tensorflow",
        "DAGSTER_HOME": "/srv/dagster",
    }
    environment = demo_environment(site)
    expected = {"PATH": "/bin", "C4_HOME": f"{tmp_path}/demo", "C4_MODELS": f"{tmp_path}/models"}
    assert environment == expected
    settings = Settings.from_environment(environment)
    assert settings.database.url == f"sqlite:///{tmp_path}/demo/imaging.db"
    assert settings.runs.executor == "in_process"
    assert demo_environment({**site, "C4_DEMO_HOME": "/tmp/demo"})["C4_HOME"] == "/tmp/demo"


def test_the_demo_is_not_written_into_a_database_with_other_plates(tmp_path: Path, models: Path) -> None:
    home = tmp_path / "home"
    database = ImagingDatabase(f"sqlite:///{home / 'demo' / 'imaging.db'}")
    database.upgrade()
    register_inspection(database, "LIMS-7", datetime.now(UTC), None, [NewImage("A01", 1, "a.jpg")])
    done = c4(home, "demo", models=models, check=False)
    assert done.returncode == 1
    assert "has plates that are not the demo's (LIMS-7): nothing was written" in done.stderr
    assert not (home / "demo" / "images").exists()


def wait_until(true: Callable[[], bool], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"{what} took more than {seconds} s"
        time.sleep(0.5)


@pytest.fixture(scope="module")
def labels_report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A labels report of two weeks: six people, one of whom sees things otherwise."""
    rng = random.Random(1)
    people = ("ana", "ben", "cleo", "dan", "eve", "a person <b>with</b> a long name")
    weeks: dict[date, list[ArchivedLabel]] = {}
    for day in (date(2026, 3, 2), date(2026, 3, 9)):
        at = datetime(day.year, day.month, day.day, tzinfo=UTC)
        for image, human in product(range(day.day * 100, day.day * 100 + 40), people):
            machine = CATEGORIES[image % 4]
            observed = rng.choice(CATEGORIES) if human == "dan" or rng.random() < 0.1 else machine
            label = HumanLabel(0, image, 1, "P", at, "A01", 1, "p", human, observed, True, observed, at, machine)
            weeks.setdefault(day, []).append(ArchivedLabel(label, None, None))
    page = tmp_path_factory.mktemp("labels") / "report.html"
    write_report(page, weeks, date(2026, 3, 9), Thresholds().labels)
    return page


@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (1400, "light")])
def test_the_labels_report_shows_who_agrees_with_whom_in_every_window(
    browser: Browser, labels_report: Path, width: int, scheme: str
) -> None:
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)  # pyright: ignore[reportArgumentType]
    page.goto(labels_report.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "tables scroll within the page"
    expect(page.locator("#people tr")).to_have_count(7)
    expect(page.locator("#biases tr", has_text="dan").locator(".bad")).to_have_count(1)
    expect(page.locator("#biases tr", has_text="ana").locator(".bad")).to_have_count(0)
    expect(page.locator("th", has_text="<b>with</b>").first).to_be_attached()
    expect(page.locator("#confusion tr")).to_have_count(5)
    expect(page.locator("circle")).to_have_count(2)
    page.locator(".wide").first.focus()
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid", "keys can scroll it"
    page.close()


@pytest.fixture
def backlog_page(tmp_path: Path) -> Path:
    """The page of a backlog of three years, half of it done, with a month in which nothing was imaged."""
    months = [
        Coverage(year, month, 1000, scored=(year - 2023) * 490, failed=10 * (month == 6))
        for year, month in product((2023, 2024, 2025), range(1, 13))
        if (year, month) != (2024, 8)
    ]
    observed = Observations(pending=17_000, backfills=1, daemon_silent=None)
    days = frozenset({date(2023, 1, 1), date(2023, 12, 31)})
    backfill = Backfill("c2dea632", "running", datetime.now(UTC), days, None, 3, 1, 0)
    limit = Limit("daemon", "It is <b>not</b> running.")
    covered = [BackfillCoverage(backfill, 1, 1000)]
    report = Report("marco-1", datetime.now(UTC), months, 96, Throughput([*range(24)]), covered, observed, limit)
    page = tmp_path / "backlog.html"
    write_backlog_page(report, page)
    return page


@pytest.mark.parametrize(("width", "scheme"), [(380, "dark"), (380, "light"), (1300, "light")])
def test_the_backlog_shows_every_month_and_keys_walk_through_them(
    browser: Browser, backlog_page: Path, width: int, scheme: str
) -> None:
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)  # pyright: ignore[reportArgumentType]
    page.goto(backlog_page.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "nothing is cut off at the side"
    expect(page.locator("td.month")).to_have_count(35)
    expect(page.locator("td.failing")).to_have_count(3)
    expect(page.get_by_text("It is <b>not</b> running.")).to_be_visible()
    expect(page.get_by_text("running, 2 days (2023-01-01 to 2023-12-31), 1 done")).to_be_visible()
    told = page.locator("#month")
    page.keyboard.press("Tab")
    expect(told).to_contain_text("Jan 2025: 98.0 % done")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    for _ in range(6):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    expect(told).to_contain_text("Jul 2024: 49.0 % done. 1,000 images, 490 scored, 0 failed, 0 withheld, 510 pending")
    page.keyboard.press("ArrowRight")
    expect(told).to_contain_text("Sep 2024", timeout=2000)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.tagName") != "TD", "the table is one stop for the Tab key"
    page.close()


@pytest.fixture(scope="module")
def dagster(demo_home: Path, models: Path) -> Generator[str, None, None]:
    """``c4 ui`` over the demo's home, with one inspection more that nobody has scored: its address."""
    database = ImagingDatabase(f"sqlite:///{demo_home / 'imaging.db'}")
    new = [NewImage(f"A{n:02d}", 1, f"demo/DEMO-A/0/DEMO-A_{n:02d}A_1.jpg") for n in (1, 2, 3)]
    register_inspection(database, "FRESH", datetime.now(UTC), None, new)
    port = free_port()
    environment = {**os.environ, "C4_HOME": str(demo_home), "C4_MODELS": str(models)}
    log = (demo_home.parent / "ui.txt").open("w")
    started = subprocess.Popen(
        [str(Path(sys.executable).with_name("c4")), "ui", "--port", str(port)],
        env=environment,
        cwd=demo_home.parent,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    address = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        assert started.poll() is None, (demo_home.parent / "ui.txt").read_text()
        try:
            return urllib.request.urlopen(f"{address}/server_info", timeout=5).status == 200
        except OSError:
            return False

    try:
        wait_until(answers, 120, "starting the UI")
        yield address
    finally:
        started.terminate()
        try:
            started.wait(20)
        except subprocess.TimeoutExpired:
            started.kill()
        with suppress(ProcessLookupError):  # what the daemon started may still be ending
            os.killpg(started.pid, signal.SIGKILL)
        log.close()


@pytest.fixture
def demo(demo_home: Path, models: Path) -> Settings:
    """The settings of the demo."""
    return Settings.from_environment({"C4_HOME": str(demo_home), "C4_MODELS": str(models)})


# Before the test of the sensor, whose run goes on meanwhile.
@pytest.mark.timeout(600)
def test_a_backfill_of_old_days_is_paused_resumed_and_ends(
    dagster: str, demo: Settings, demo_home: Path, models: Path
) -> None:
    database = ImagingDatabase(demo.database.url)
    # A run each, and more of them than run at once: what is paused has something left.
    for month in range(1, OLD_DAYS + 1):
        new = [NewImage("A01", 1, "demo/DEMO-A/0/DEMO-A_01A_1.jpg")]
        register_inspection(database, f"OLD-{month}", datetime(2015, month, 1, 12, tzinfo=UTC), None, new)

    def report() -> dict[str, Any]:
        return json.loads(c4(demo_home, "backlog", "--json", models=models).stdout)

    span = ("--from", "2015-01-01", "--to", "2015-12-31")
    assert f"{OLD_DAYS} days, {OLD_DAYS} images" in c4(demo_home, "backlog", "start", *span, models=models).stdout
    c4(demo_home, "backlog", "pause", models=models)
    assert [each["state"] for each in report()["backfills"]] in (["pausing"], ["paused"])

    with dagster_instance(demo) as instance:
        wait_until(lambda: backfills(instance)[0].state == "paused", 200, "the paused backfill's runs to end")
    assert "Resumed as" in c4(demo_home, "backlog", "resume", models=models).stdout
    scorer = ActiveModels(demo, ImagingDatabase.of(demo)).current.version.name
    last = date(2015, 12, 31)
    wait_until(
        lambda: not any(day <= last for day in pending_by_day(database, scorer, demo.runs.max_attempts)),
        300,
        "the resumed backfill",
    )
    assert report()["years"]["2015"]["scored"] == OLD_DAYS


@pytest.mark.timeout(600)
def test_the_sensor_finds_a_new_inspection_and_its_run_scores_it(dagster: str, demo: Settings) -> None:
    database = ImagingDatabase(demo.database.url)
    scorer = ActiveModels(demo, ImagingDatabase.of(demo)).current.version.name

    def scored() -> bool:
        days = progress_by_day(database, scorer, demo.runs.max_attempts)
        return sum(day.scored for day in days) >= 97 + OLD_DAYS and not any(day.pending for day in days)

    wait_until(scored, 400, "the sensor-driven run")


def test_the_ui_works_through_its_rules_and_asks_nobody_else(dagster: str, browser: Browser) -> None:
    page = browser.new_page(viewport={"width": 1600, "height": 900})
    asked: set[str] = set()
    refused: list[str] = []
    page.on("request", lambda request: asked.add(urlsplit(request.url).netloc or request.url[:5]))
    page.on("response", lambda answer: refused.append(answer.url) if answer.status >= 400 else None)
    frames: list[str | bytes] = []
    page.on("websocket", lambda socket: socket.on("framereceived", lambda frame: frames.append(frame)))
    page.goto(f"{dagster}/runs")
    expect(page.get_by_role("link", name="score_images").first).to_be_visible(timeout=60_000)
    page.goto(f"{dagster}/asset-groups")
    expect(page.get_by_text("marco_probabilities").first).to_be_visible(timeout=60_000)
    assert frames, "the websocket answers"
    assert refused == []
    assert asked - {"data:", "blob:"} == {urlsplit(dagster).netloc}
    page.close()


def test_the_lineage_page_shows_the_whole_graph_unfolded(dagster: str, browser: Browser) -> None:
    page = browser.new_page(viewport={"width": 2200, "height": 900})
    page.goto(f"{dagster}/asset-groups")
    for asset in ASSETS:
        page.get_by_text(asset).first.wait_for(timeout=60_000)
    page.close()


def test_an_asset_shows_its_checks_by_partition(dagster: str, browser: Browser) -> None:
    page = browser.new_page(viewport={"width": 1600, "height": 1000})
    page.goto(f"{dagster}/assets/marco_probabilities?view=checks&checkDetail=probabilities_sound")
    page.get_by_text("The four probabilities of an image are numbers in [0, 1]").first.wait_for(timeout=60_000)
    page.get_by_role("tab", name="Partitions").last.click(timeout=30_000)
    # Four days of the demo, and those of the backfill.
    page.get_by_text(f"Passed ({4 + OLD_DAYS})").wait_for(timeout=30_000)
    page.close()


def test_a_day_shows_its_contact_sheet(dagster: str, browser: Browser) -> None:
    page = browser.new_page(viewport={"width": 1600, "height": 1000})
    today = datetime.now(UTC).date().isoformat()
    page.goto(f"{dagster}/assets/class_predictions?view=partitions&partition={today}")
    page.get_by_text("[Show Markdown]").first.click(timeout=60_000)
    picture = page.get_by_alt_text("contact sheet")
    picture.wait_for(timeout=30_000)
    assert picture.evaluate("image => image.complete && image.naturalWidth") > 300
    page.close()
