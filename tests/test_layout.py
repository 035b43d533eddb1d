"""What the folders promise: which room may import which, and what each can do without."""

import os
import subprocess
import sys

import pytest

from testing.import_graph import PACKAGES, ROOT, floors, imported, module_arrows, modules, room_arrows, room_of

WORK = ("scoring", "labels", "checks", "models", "pictures", "backlog", "importing", "demo", "web", "operations")
"""Rooms that do the work: they know neither Dagster nor the deployment that they work for."""

BASE = ("resources", "resources/accounts", "resources/archive", "resources/image_store", "resources/imaging_database")
"""What the work talks to."""

KNOW_DAGSTER = {"assets", "command", "definitions", "deployment_home", "resources/executors", "runs", "sensors"}

NEVER = {
    *((room, other) for room in WORK for other in ("runs", "assets", "deployment", "deployment_home", "definitions")),
    *((room, other) for room in BASE for other in (*WORK, "runs", "assets", "deployment", "resources/executors")),
    ("resources/archive", "resources/imaging_database"),
    ("runs", "assets"),
    ("runs", "definitions"),
    ("assets", "command"),
    ("sensors", "assets"),
    ("sensors", "command"),
}

PRIVATE_NAMES_OF_DAGSTER = {
    "dagster._cli.proxy_server_manager": ["ProxyServerManager"],
    "dagster._core.definitions.asset_checks.asset_check_evaluation": ["AssetCheckEvaluationTargetMaterializationData"],
    "dagster._core.definitions.assets.graph.base_asset_graph": ["BaseAssetGraph"],
    "dagster._core.definitions.executor_definition": ["multiple_process_executor_requirements"],
    "dagster._core.definitions.run_request": ["InstigatorType"],
    "dagster._core.definitions.unresolved_asset_job_definition": ["UnresolvedAssetJobDefinition"],
    "dagster._core.errors": ["DagsterDefinitionChangedDeserializationError"],
    "dagster._core.events": ["ComputeLogsCaptureData", "DagsterEvent", "DagsterEventType", "EngineEventData"],
    "dagster._core.execution.backfill": [
        "BULK_ACTION_TERMINAL_STATUSES",
        "BulkActionStatus",
        "BulkActionsFilter",
        "PartitionBackfill",
    ],
    "dagster._core.execution.context.system": ["PlanOrchestrationContext"],
    "dagster._core.execution.plan.objects": ["StepFailureData"],
    "dagster._core.execution.plan.plan": ["ExecutionPlan"],
    "dagster._core.execution.retries": ["RetryMode", "get_retries_config"],
    "dagster._core.execution.step_dependency_config": ["StepDependencyConfig"],
    "dagster._core.execution.tags": ["get_tag_concurrency_limits_config"],
    "dagster._core.executor.step_delegating": [
        "CheckStepHealthResult",
        "StepDelegatingExecutor",
        "StepHandler",
        "StepHandlerContext",
    ],
    "dagster._core.storage.compute_log_manager": ["ComputeIOType"],
    "dagster._core.scheduler.instigation": ["InstigatorState", "InstigatorTick", "TickStatus"],
    "dagster._core.storage.dagster_run": ["DagsterRun", "FINISHED_STATUSES", "IN_PROGRESS_RUN_STATUSES"],
    "dagster._core.storage.event_log.schema": ["AssetCheckExecutionsTable", "SqlEventLogStorageTable"],
    "dagster._core.storage.event_log.sql_event_log": ["SqlEventLogStorage"],
    "dagster._core.storage.event_log.sqlite.sqlite_event_log": ["SqliteEventLogStorage"],
    "dagster._core.storage.local_compute_log_manager": ["LocalComputeLogManager"],
    "dagster._core.storage.runs.schema": ["KeyValueStoreTable", "RunTagsTable"],
    "dagster._core.storage.runs.sql_run_storage": ["SqlRunStorage"],
    "dagster._core.storage.tags": ["BACKFILL_ID_TAG", "WILL_RETRY_TAG"],
    "dagster._core.utils": ["make_new_backfill_id"],
    "dagster._core.workspace.context": ["WorkspaceProcessContext"],
    "dagster._core.workspace.load_target": ["WorkspaceFileTarget"],
    "dagster._daemon.daemon": ["DAEMON_HEARTBEAT_ERROR_LIMIT"],
    "dagster._grpc.types": ["ExecuteStepArgs"],
}
"""What C4 uses of Dagster beyond its public interface: the list to go through when Dagster is upgraded."""


def test_no_room_and_no_module_imports_in_a_circle() -> None:
    arrows = module_arrows()
    assert len(floors(arrows)) > 1
    assert len(floors(room_arrows(arrows))) > 1


def test_a_circle_is_named() -> None:
    with pytest.raises(ValueError, match=r"these import each other: a, b$"):
        floors({"a": {"b"}, "b": {"a", "c"}, "c": set(), "d": {"a"}})


def test_no_room_imports_what_it_must_never_import() -> None:
    found = {(room, other) for room, others in room_arrows(module_arrows()).items() for other in others}
    assert not found & NEVER


def test_dagster_is_imported_only_where_runs_and_assets_are() -> None:
    rooms = {room_of(name) for name, file in modules() for other in imported(file) if other.startswith("dagster")}
    assert rooms <= KNOW_DAGSTER


@pytest.mark.parametrize("room", WORK)
def test_every_module_that_does_the_work_is_imported_without_dagster_and_without_settings(room: str) -> None:
    names = [name for name, _ in modules() if room_of(name) == room]
    assert names
    program = f"import sys; sys.modules['dagster'] = None\nfor name in {names}: __import__(name)"
    bare = {name: value for name, value in os.environ.items() if not name.startswith(("C4_", "DAGSTER_"))}
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=bare, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_private_names_of_dagster_are_those_that_an_upgrade_must_look_at() -> None:
    found: dict[str, set[str]] = {}
    rooms: set[str] = set()
    for name, file in modules():
        for private in imported(file):
            if private.startswith("dagster._"):
                module, _, attribute = private.rpartition(".")
                found.setdefault(module, set()).add(attribute)
                rooms.add(room_of(name))
    assert {module: sorted(names) for module, names in found.items()} == {
        module: sorted(names) for module, names in PRIVATE_NAMES_OF_DAGSTER.items()
    }
    assert rooms <= {"runs", "resources/executors"}


@pytest.mark.parametrize("module", PRIVATE_NAMES_OF_DAGSTER)
def test_dagster_has_the_private_names_that_are_used(module: str) -> None:
    there = dir(__import__(module, fromlist=["_"]))
    assert set(PRIVATE_NAMES_OF_DAGSTER[module]) <= set(there)


@pytest.mark.parametrize(
    ("folder", "never"),
    [
        *((package, {"testing", "tests", "benchmarks"}) for package in PACKAGES),
        ("testing", {"tests", "benchmarks"}),
        ("tests", {"benchmarks"}),
        ("benchmarks", {"tests"}),
    ],
)
def test_what_tests_and_benchmarks_share_is_in_testing_and_c4_needs_none_of_it(folder: str, never: set[str]) -> None:
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    for file in files:
        assert not {name.partition(".")[0] for name in imported(file)} & never, file
