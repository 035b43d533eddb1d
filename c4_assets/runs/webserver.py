"""Dagster's webserver as an ASGI application, and the code servers that it shares with the daemon."""

import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import dagster as dg
import yaml
from dagster._cli.proxy_server_manager import ProxyServerManager
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget

if TYPE_CHECKING:
    from starlette.types import ASGIApp

STATEMENT_TIMEOUT_MS, POOL_RECYCLE_S, POOL_MAX_OVERFLOW = 15_000, 3_600, 20
"""What ``dagster-webserver`` sets for the connections to Dagster's own database."""

POLL_MS = 2000
"""How often the page asks for what is new."""

LOG_LEVEL = "warning"


@contextmanager
def code_servers(instance: dg.DagsterInstance, workspace: Path) -> Generator[Path]:
    """Starts a code server for each location of a workspace, and starts it again when it dies.

    Yields:
        The file of a workspace of these servers. A daemon with a workspace of modules starts new ones every minute.
    """
    target = WorkspaceFileTarget([str(workspace)])
    with (
        ProxyServerManager(instance, target, code_server_log_level=LOG_LEVEL) as servers,
        tempfile.TemporaryDirectory(prefix="c4-ui-") as folder,
    ):
        shared = Path(folder) / "workspace.yaml"
        shared.write_text(yaml.safe_dump({"load_from": list(servers.get_code_server_specs())}))
        yield shared


def workspace_of_code_server(modules: Path, socket_file: Path) -> str:
    """A workspace whose one location is served on a socket, under the name that it has in a workspace of modules."""
    server = {"socket": str(socket_file), "location_name": _module(modules)["location_name"]}
    return yaml.safe_dump({"load_from": [{"grpc_server": server}]})


def code_server_arguments(modules: Path, socket_file: Path) -> list[str]:
    """What ``dagster`` is told to serve the one location of a workspace of modules on a socket.

    The server is the parent of the runs that it starts. Told to end (SIGTERM), it starts no more and waits for them;
    killed, it leaves them at work.
    """
    module = _module(modules)
    location = ["--module-name", module["module_name"], "--location-name", module["location_name"]]
    return [
        "api",
        "grpc",
        "--socket",
        str(socket_file),
        *location,
        "--log-level",
        LOG_LEVEL,
        "--empty-working-directory",
    ]


def _module(modules: Path) -> dict[str, str]:
    return yaml.safe_load(modules.read_text(encoding="utf-8"))["load_from"][0]["python_module"]


@contextmanager
def webserver(instance: dg.DagsterInstance, workspace: Path) -> Generator["ASGIApp"]:
    """Dagster's webserver, which nothing guards.

    Args:
        workspace: a workspace of modules, whose code servers it starts, or of code servers.
    """
    from dagster_webserver import app

    instance.optimize_for_webserver(STATEMENT_TIMEOUT_MS, POOL_RECYCLE_S, POOL_MAX_OVERFLOW)
    target = WorkspaceFileTarget([str(workspace)])
    with WorkspaceProcessContext(
        instance, target, version("dagster-webserver"), code_server_log_level=LOG_LEVEL
    ) as context:
        yield cast("Any", app).create_app_from_workspace_process_context(context, live_data_poll_rate=POLL_MS)
