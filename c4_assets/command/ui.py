"""``c4 ui``: Dagster's webserver and daemon over this deployment."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from c4_assets.command.console import console, errors
from c4_assets.command.site import report_lost_runs
from c4_assets.demo.home import enter_demo_home
from c4_assets.deployment_home import dagster_instance, prepare_dagster_home, ready, shipped, shipped_dagster_yaml
from resources.atomic_write import atomic_write
from resources.errors import ConfigurationError
from resources.settings import Settings

if TYPE_CHECKING:
    from starlette.types import ASGIApp

SHORT_PLANS_VARIABLE = "DAGSTER_EMIT_PARTITION_SUBSET_IN_PLANNED_EVENTS"
"""Has the daemon store what a run of several days will make as one event an asset, and not one a day, which halves
the events of a queued run of seven days. The price is that Dagster marks no day of a failed run as failed: it stays
missing, and the days that were done are materialised by the step (``c4_assets/runs/days.py``)."""

SHARED_WORKSPACE = "workspace.code-server.yaml"

ENDING_S = 30
"""How long the daemon may take to end: a step of its own may be asking a code server."""

GRACE_S = 3
"""How long the webserver waits for its connections: browsers keep a websocket open."""


END_WITH_PARENT = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG of prctl(2)
os.execv(sys.argv[1], sys.argv[1:])
"""
"""A program that becomes another one, which must not go on beside the next of its kind when this process is killed."""


class Service(StrEnum):
    """The parts of ``c4 ui``."""

    WEBSERVER = "webserver"
    DAEMON = "daemon"
    CODE = "code"


def ui(
    host: Annotated[
        str,
        typer.Option(help="Address to listen on. Another than this machine's own needs ui.password or ui.user_header."),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 for any that is free.")] = 3000,
    only: Annotated[Service | None, typer.Option(help="Start this alone, as a service of its own.")] = None,
    code_server: Annotated[
        Path | None,
        typer.Option(help="Socket of the code server that `--only code` is, and that the other two share."),
    ] = None,
    demo: Annotated[bool, typer.Option("--demo", help="Over what `c4 demo` has made, not over the site.")] = False,
) -> None:
    """Start Dagster's UI, sensors and schedules until it is interrupted."""
    from c4_assets.web.access import Access, Guarded
    from c4_assets.web.unsubscribing import WithUnsubscribing
    from resources.archive.subscriptions import Subscriptions

    if only is Service.CODE and code_server is None:
        raise ConfigurationError("--only code needs --code-server, the socket on which the others find it.")
    settings = enter_demo_home() if demo else Settings.from_environment()
    access = Access.of(settings.ui, host)
    ready(settings)
    prepare_dagster_home(settings)
    report_lost_runs(settings)
    os.environ["DAGSTER_HOME"] = str(settings.dagster_home)
    os.environ.setdefault(SHORT_PLANS_VARIABLE, "true")
    os.environ["DAGSTER_DISABLE_TELEMETRY"] = "1"  # also where a site's own dagster.yaml does not speak of it
    _say_what_is_missing(settings)
    workspace = _workspace(settings, code_server)
    if only in (Service.DAEMON, Service.CODE):
        command = _daemon_service(workspace) if only is Service.DAEMON else _code_server_command(code_server)
        os.execv(command[0], command)  # noqa: S606 - it takes this process's place
    _end_by_signals()
    with suppress(KeyboardInterrupt), ExitStack() as stack:
        from c4_assets.runs.webserver import code_servers, webserver

        listener = stack.enter_context(_listening(host, port))
        address = f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"
        console.print(f"Lineage: {address}/asset-groups — stop with Ctrl-C.")
        sys.stdout.flush()
        instance, daemon = stack.enter_context(dagster_instance(settings)), None
        if only is None and code_server is None:
            workspace = stack.enter_context(code_servers(instance, workspace))
        if only is None:
            daemon = stack.enter_context(_daemon(workspace))
        application = stack.enter_context(webserver(instance, workspace))
        guarded = Guarded(application, access)
        _serve(WithUnsubscribing(guarded, access, Subscriptions(settings.data)), listener, daemon)


def _end_by_signals() -> None:
    """Has all signals that end a program do what Ctrl-C does, for what is started as well.

    A shell starts a program in the background without SIGINT, and ``dagster-daemon`` then does not obey SIGTERM either.
    Without SIGHUP it is started by whom it is to outlive.
    """
    for ending in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if ending != signal.SIGHUP or signal.getsignal(ending) != signal.SIG_IGN:
            signal.signal(ending, signal.default_int_handler)


def _say_what_is_missing(settings: Settings) -> None:
    from c4_assets.runs.dagster_yaml import missing_keys

    file = settings.dagster_home / "dagster.yaml"
    if missing := missing_keys(file, shipped_dagster_yaml(settings)):
        keys = ", ".join(missing)
        errors.print(f"{file} is this site's own, and lacks {keys}: see `c4 config --dagster-yaml`.", soft_wrap=True)


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise ConfigurationError(
            f"Nothing can listen on {host}, port {port}: {_in_words(error)}. Try --port."
        ) from None


def _in_words(error: OSError) -> str:
    of_the_system = error.errno is not None and error.errno > 0  # a name that cannot be looked up has another number
    return os.strerror(error.errno or 0) if of_the_system else str(error.strerror or error)


def _workspace(settings: Settings, code_server: Path | None) -> Path:
    """The file that names C4's code location: as a module, or as the code server that listens on a socket."""
    modules = shipped("workspace.yaml")
    if code_server is None:
        return modules
    from c4_assets.runs.webserver import workspace_of_code_server

    file = settings.dagster_home / SHARED_WORKSPACE
    with atomic_write(file) as temporary:
        temporary.write_text(workspace_of_code_server(modules, code_server.absolute()))
    return file


def _code_server_command(socket_file: Path | None) -> list[str]:
    assert socket_file is not None  # noqa: S101 (the option was asked for)
    from c4_assets.runs.webserver import code_server_arguments

    socket_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # whoever reaches the socket runs code
    return [sys.executable, "-m", "dagster", *code_server_arguments(shipped("workspace.yaml"), socket_file.absolute())]


def _daemon_command(workspace: Path) -> list[str]:
    return [str(Path(sys.executable).with_name("dagster-daemon")), "run", "--workspace", str(workspace)]


def _daemon_service(workspace: Path) -> list[str]:
    """The same, with signs of life for systemd where it waits for some (``Type=notify``)."""
    program, *arguments = _daemon_command(workspace)
    watched = [sys.executable, "-m", "c4_assets.runs.watched_daemon"]
    return [*(watched if "NOTIFY_SOCKET" in os.environ else [program]), *arguments]


@contextmanager
def _daemon(workspace: Path) -> Generator["subprocess.Popen[bytes]"]:
    daemon = subprocess.Popen([sys.executable, "-c", END_WITH_PARENT, *_daemon_command(workspace)])
    try:
        yield daemon
    finally:
        daemon.terminate()
        try:
            daemon.wait(ENDING_S)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()


def _serve(application: "ASGIApp", listener: socket.socket, daemon: "subprocess.Popen[bytes] | None") -> None:
    """Serves until a signal comes, or the daemon ends."""
    import uvicorn

    server = uvicorn.Server(
        uvicorn.Config(
            application,
            log_level="warning",
            proxy_headers=False,  # the rules look at who is really there
            server_header=False,
            timeout_graceful_shutdown=GRACE_S,
        )
    )
    if daemon is None:
        server.run(sockets=[listener])
        return

    def end_with_daemon() -> None:
        daemon.wait()
        server.should_exit = True

    threading.Thread(target=end_with_daemon, daemon=True).start()
    server.run(sockets=[listener])
    raise ConfigurationError(f"The daemon has ended by itself (status {daemon.wait()}); its reason is above.")
