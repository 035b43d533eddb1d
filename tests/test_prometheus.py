"""Rules and dashboard, judged by a real Prometheus that scrapes the real exporter over a scored deployment."""

import json
import re
import subprocess
import time
from collections.abc import Generator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from c4_assets.operations.disks import ERROR_BYTES, ERROR_SHARE, GB, WARNING_BYTES, WARNING_SHARE
from c4_assets.operations.metrics.catalogue import METRICS
from c4_assets.operations.metrics.dashboard import DASHBOARD_FILE, ROWS, as_text, dashboard
from c4_assets.runs.ticking import SILENT_AFTER
from testing.programs import path_of
from testing.prometheus import Prometheus, exporter, prometheus
from tests.conftest import c4, photograph

DEPLOY = Path(__file__).parents[1] / "deploy" / "prometheus"
RULES = DEPLOY / "rules.yaml"

EXPRESSIONS = [expression for _, panels in ROWS for panel in panels for expression, _ in panel.queries]
"""Every query of the dashboard."""

EMPTY_HERE = ("c4_slurm_up", "time() - max(c4_daemon_heartbeat", "time() - c4_daemon_heartbeat", "time() - c4_tick_")
"""Queries without data where there is neither Slurm nor a daemon."""


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


@pytest.mark.parametrize(
    "check",
    [
        ("check", "rules", "rules.yaml"),
        ("test", "rules", "rules.test.yaml"),
        ("check", "config", "prometheus.yml"),
    ],
    ids=" ".join,
)
def test_promtool_finds_the_rules_right_and_their_tests_passed(check: tuple[str, ...]) -> None:
    done = subprocess.run([path_of("promtool"), *check], cwd=DEPLOY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_rule_says_how_bad_it_is_and_where_the_handbook_tells_what_to_do() -> None:
    for rule in rules():
        assert rule["labels"]["severity"] in ("warning", "error"), rule["alert"]
        page = Path(rule["annotations"]["page"])
        assert page == Path("docs/metrics.md") or page.parent == Path("docs/handbook"), rule
        assert (DEPLOY.parents[1] / page).is_file(), rule


def test_rules_take_for_little_room_and_for_silence_what_c4_itself_does() -> None:
    expression = {rule["alert"]: rule["expr"] for rule in rules()}
    little = "(c4_disk_free_bytes < {} * c4_disk_size_bytes and c4_disk_free_bytes < {}e9)"
    assert little.format(WARNING_SHARE, WARNING_BYTES // GB) in expression["C4DiskFilling"]
    assert little.format(ERROR_SHARE, WARNING_BYTES // GB) in expression["C4DiskFull"]
    assert f"c4_disk_free_bytes < {ERROR_BYTES // GB}e9" in expression["C4DiskFull"]
    assert expression["C4DaemonSilent"].endswith(f"> {SILENT_AFTER.total_seconds():.0f}")


def test_every_rule_has_a_test_in_which_it_fires() -> None:
    told = (DEPLOY / "rules.test.yaml").read_text()
    for rule in rules():
        assert re.search(rf"alertname=\"{rule['alert']}\"", told), rule["alert"]


def test_rules_and_dashboard_ask_only_for_what_is_exported() -> None:
    exported = {each.name for each in METRICS} | {f"{each.name}_bucket" for each in METRICS if each.kind == "histogram"}
    for expression in [*EXPRESSIONS, *(rule["expr"] for rule in rules())]:
        named = set(re.findall(r"\bc4_\w+", expression))
        assert named <= exported, expression


def test_the_dashboard_in_deploy_is_the_one_of_the_code_and_its_panels_do_not_overlap() -> None:
    assert DASHBOARD_FILE.read_text() == as_text(), "python -m c4_assets.operations.metrics.dashboard"
    panels = dashboard()["panels"]
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells))
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert [panel["title"] for panel in panels if panel["type"] == "row"] == [title for title, _ in ROWS]


@pytest.fixture(scope="module")
def scraped(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Generator[Prometheus]:
    """A Prometheus that has scraped a deployment in which one plate was scored and another one waits."""
    folder = tmp_path_factory.mktemp("prometheus")
    home = folder / "home"
    for plate in ("P1", "P2"):
        pictures = home / "images" / plate
        pictures.mkdir(parents=True)
        for number in range(4):
            (pictures / f"A{number + 1:02d}_1.jpg").write_bytes(photograph(number, (640, 480)))
        c4(home, "import", home / "images", models=models)
        if plate == "P1":
            c4(home, "run", "--pending", models=models)
    with (
        exporter(home, {"C4_MODELS": str(models)}) as address,
        prometheus(folder / "server", address.split("/")[2], [RULES]) as server,
    ):
        wait_for(server, "c4_images_written_total > 0")
        wait_for(server, "c4_images_listed > 0")
        yield server


def wait_for(server: Prometheus, expression: str, seconds: float = 40) -> None:
    ends = time.monotonic() + seconds
    while not server.values(expression):
        assert time.monotonic() < ends, expression
        time.sleep(0.5)


def test_prometheus_takes_what_is_exported_and_it_is_true(scraped: Prometheus) -> None:
    def one(expression: str) -> float:
        ((_, value),) = scraped.values(expression)
        return value

    assert one("c4_images_listed") == 8
    assert one("c4_images_written_total") == one('c4_images{state="scored"}') == one('c4_images{state="pending"}') == 4
    assert one('c4_runs_ended_total{dagster_job="score_images", outcome="success"}') == 1
    assert one('c4_step_duration_seconds_count{step="classify"}') == 1
    assert one("c4_database_up + c4_store_up + c4_dagster_up") == 3
    assert scraped.values("c4_check_passed == 1")


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_every_panel_of_the_dashboard_is_answered(scraped: Prometheus, expression: str) -> None:
    now = datetime.now(UTC).timestamp()
    ranged = scraped.ask("query_range", query=expression, start=str(now - 60), end=str(now), step="5")
    assert ranged["resultType"] == "matrix"
    found = scraped.values(expression)
    assert found or expression.startswith(EMPTY_HERE), expression


def test_every_rule_is_evaluated_without_an_error(scraped: Prometheus) -> None:
    def judged() -> list[dict[str, Any]]:
        return [rule for group in scraped.ask("rules")["groups"] for rule in group["rules"]]

    ends = time.monotonic() + 20
    while any(rule["health"] == "unknown" for rule in judged()) and time.monotonic() < ends:
        time.sleep(0.5)
    assert len(judged()) == len(rules())
    assert {rule["health"] for rule in judged()} == {"ok"}, json.dumps(judged())
