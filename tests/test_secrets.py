"""A secret that is planted in every setting, and in what drivers say, comes out nowhere.

The secret settings are found by walking over the model, so a new one is planted as well. A new output (a message, a
metric, a page) is one more entry of :data:`OUTPUTS`.
"""

import base64
import gzip
import io
import json
import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, get_origin

import dagster as dg
import pytest
import uvicorn
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteInstigatorOrigin, RemoteRepositoryOrigin
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus, TickData, TickStatus
from dagster._daemon.types import DaemonHeartbeat
from dagster_shared.error import SerializableErrorInfo
from pydantic.fields import FieldInfo
from rich.console import Console
from starlette.types import ASGIApp

from c4_assets.command import console, main
from c4_assets.command.console import reporting_errors
from c4_assets.command.run import failure_reason
from c4_assets.deployment_home import dagster_instance, shipped
from c4_assets.models.active import ActiveModels
from c4_assets.models.engine import Classification
from c4_assets.operations.alerts import outbox as outboxes
from c4_assets.operations.alerts.outbox import Outbox
from c4_assets.operations.alerts.records import (
    ChannelAway,
    Condition,
    Event,
    Message,
    Observation,
    Severity,
    Subject,
)
from c4_assets.operations.alerts.rules import Rules
from c4_assets.operations.alerts.state import tell
from c4_assets.operations.channels import open_channels
from c4_assets.operations.crystal_mails import UNSUBSCRIBE_PATH
from c4_assets.runs import traces
from c4_assets.runs.instance_health import OpenedInstance, storage
from c4_assets.runs.watch.daemons import look_at_ticks
from c4_assets.runs.watch.reasons import reason_of
from c4_assets.runs.watch.watching import deliver, watch
from c4_assets.runs.webserver import webserver
from c4_assets.web.access import Access, Guarded
from c4_assets.web.unsubscribing import WithUnsubscribing
from resources import tracing
from resources.archive.subscriptions import Subscriptions
from resources.errors import ImageError
from resources.executors.slurm.script import Step, write_script
from resources.executors.step_resources import StepResources
from resources.imaging_database import ImagingDatabase
from resources.redaction import HIDDEN, register_secrets
from resources.settings import Settings, Site
from resources.settings.keys import ANY_STEP, Key, is_secret, known_keys, variable_of
from resources.settings.logs import write_logs_of
from sensors.new_inspections import new_inspections
from testing.always import always
from testing.dagster_types import ephemeral_instance
from testing.http_receiver import HttpReceiver, http_receiver
from tests.conftest import Facility, noon, photograph


def secret_keys() -> list[tuple[Key, FieldInfo]]:
    keys = [(key, info) for key, info in known_keys(Settings) if is_secret(info)]
    assert len(keys) >= 3
    return keys


def planted() -> dict[str, str]:
    """Of each secret setting, its variable and a value that serves as a password, a token and an address.

    An address, because that is what some settings are; the part after the last slash is found if it comes out alone.
    """
    values: dict[str, str] = {}
    for number, (key, info) in enumerate(secret_keys()):
        address = f"https://127.0.0.1:9/planted-{number}-b7c1e0aa95"
        values[variable(key)] = f'["{address}"]' if get_origin(info.annotation) is tuple else address
    return values


def beside() -> dict[str, str]:
    """What a table must have in which a secret is planted."""
    tables = {key[:-1] for key, _ in secret_keys()}
    here = {"C4_ALERTS_EMAIL__HOST": "127.0.0.1", "C4_ALERTS_EMAIL__PORT": "9"}  # where nobody listens
    required = [(key, info) for key, info in known_keys(Settings) if key[:-1] in tables and info.is_required()]
    return {variable(key): str((info.examples or ["planted"])[0]) for key, info in required} | here


def variable(key: Key) -> str:
    return variable_of(tuple(part.replace(ANY_STEP, "planted") for part in key))


DAY = noon(1).date()
IN_AN_ADDRESS = "planted-in-an-address"
IN_A_VARIABLE = "planted-in-a-variable"


@dataclass
class Trouble:
    """A deployment with secrets in which everything has gone wrong that can say one."""

    facility: Facility
    environment: Mapping[str, str]
    said: str
    """What drivers say: each secret as it is, and as Python and addresses write it."""
    printed: io.StringIO = field(default_factory=io.StringIO)
    spoken: list[str] = field(default_factory=list[str])
    """Texts that functions have returned or raised for people."""

    @property
    def passwords(self) -> Mapping[str, str]:
        """Of each secret variable, its value."""
        return {name: self.environment[name] for name in planted()}

    def alerted(self, receiver: HttpReceiver) -> Settings:
        """The facility's settings, with channels to a server that is there."""
        alerts = {
            "slack_webhook": f"{receiver.url}/slack",
            "webhook": f"{receiver.url}/webhook",
            "webhook_secret": self.passwords["C4_ALERTS_WEBHOOK_SECRET"],
            "apprise": [f"json://localhost:{receiver.port}/apprise"],
            "heartbeat_url": f"{receiver.url}/heartbeat",
            "routes": [{"channels": ["slack", "webhook", "apprise"]}],
            "group_wait_seconds": 0,
        }
        mine = Settings.model_validate({"home": self.facility.settings.home, "alerts": alerts})
        return self.facility.settings.model_copy(update={"alerts": mine.alerts})


class Engine:
    """An engine over a library that quotes its environment."""

    def __init__(self, said: str) -> None:
        self._said = said
        self.broken = False

    def classify(self, images: Iterable[bytes]) -> Iterator[Classification]:
        logging.getLogger("c4.classify").warning("library: %s", self._said)
        if self.broken:
            try:
                raise OSError(f"library: {self._said}")
            except OSError as error:
                raise RuntimeError(f"engine: {self._said}") from error
        for _ in images:
            yield Classification(None, str(ImageError(self._said)) + self._said)


@pytest.fixture
def trouble(
    make_facility: Callable[..., Facility], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Trouble]:
    address = f"postgresql+psycopg2://c4:{IN_AN_ADDRESS}@127.0.0.1:9/lims"
    secret = {**planted(), "C4_DATABASE_URL": address, "DAGSTER_POSTGRES_PASSWORD": IN_A_VARIABLE}
    environment = {**beside(), **secret, "C4_HOME": str(tmp_path / "home")}
    secrets = [value.strip('[]"') for value in secret.values()]
    said = " ".join([*secrets, *map(repr, secrets), *(secret.rpartition("/")[2] for secret in secrets)])
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    site = Settings.from_environment(environment)
    facility = make_facility(settings=site.model_copy(update={"database": Settings(home=tmp_path / "home").database}))
    facility.instance = dagster_instance(facility.settings)
    facility.engine = Engine(said)
    logger = logging.getLogger("c4")
    before, propagates = (list(logger.handlers), logger.level), logger.propagate
    write_logs_of(facility.settings.logs)
    trouble = Trouble(facility, environment, said)
    quiet = Console(file=trouble.printed, markup=False, highlight=False, width=1000)
    monkeypatch.setattr(console, "errors", quiet)
    monkeypatch.setattr(dg.RetryPolicy, "calculate_delay", always(0))
    with redirect_stdout(trouble.printed), redirect_stderr(trouble.printed):
        let_everything_go_wrong(trouble)
    yield trouble
    for each in logger.handlers:
        each.close()
    logger.handlers[:], level = before
    logger.setLevel(level)
    logger.propagate = propagates  # `c4 doctor` changes it


def let_everything_go_wrong(trouble: Trouble) -> None:
    facility, said = trouble.facility, trouble.said
    with http_receiver() as receiver:  # what fails after the first look is news for the next one
        watch(facility.instance, trouble.alerted(receiver), datetime.now(UTC))
    logging.getLogger("c4.fetch").warning("the storage host says: %s", said, extra={"answer": said})
    facility.add_plate("P1", {"unreadable.jpg": photograph(1)})
    facility.score()  # the image fails, with the engine's reason
    facility.add_plate("P2", {"x.jpg": photograph(2)}, noon(2))
    assert isinstance(facility.engine, Engine)
    facility.engine.broken = True
    failed = facility.score(noon(2), raise_on_error=False)
    assert not failed.success
    trouble.spoken.append(failure_reason(failed))
    for day in (3, 4):
        facility.add_plate(f"P{day}", {"x.jpg": photograph(day)}, noon(day))
    facility.add_plate("P5", {}, noon(5))  # a day that is done
    several = facility.backfill(noon(5), noon(3), raise_on_error=False)
    assert not several.success
    trouble.spoken.append(failure_reason(several))
    assert "2 of 3 days are not done" in trouble.spoken[-1]
    address = trouble.environment["C4_DATABASE_URL"]
    away, broken = ImagingDatabase(address), BrokenDatabase(address)
    broken.said = said
    for database in (away, broken):
        resources = {
            "imaging_database": database,
            "models": ActiveModels(facility.settings, database),
            "settings": facility.settings,
        }
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(facility.resources, "imaging_database", database)
            assert not facility.score(noon(1), raise_on_error=False).success
        context = dg.build_sensor_context(instance=facility.instance, resources=resources)
        try:
            result = new_inspections(context)
            assert isinstance(result, dg.SkipReason)
            trouble.spoken.append(str(result.skip_message))
            tick(facility.instance, TickStatus.SKIPPED, skip_reason=result.skip_message, cursor=context.cursor)
        except Exception as error:
            trouble.spoken += traceback.format_exception(error)
            told = SerializableErrorInfo(str(error), traceback.format_exception(error), type(error).__name__)
            tick(facility.instance, TickStatus.FAILURE, error=told)
            beat = DaemonHeartbeat(datetime.now(UTC).timestamp(), "SENSOR", "one", [told])
            facility.instance.add_daemon_heartbeat(beat)
    for error in (ImageError(said), OSError(5, said, said), RuntimeError(said)):
        try:
            with reporting_errors():
                raise error
        except SystemExit:  # what was to be said is on the console
            continue
        except Exception as shown:
            trouble.spoken += traceback.format_exception(shown)


def tick(instance: dg.DagsterInstance, status: TickStatus, **about: Any) -> None:
    """Records a tick of a sensor, as the daemon does."""
    repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("c4"), "__repository__")
    origin = RemoteInstigatorOrigin(repository, "new_inspections")
    state = InstigatorState(origin, InstigatorType.SENSOR, InstigatorStatus.RUNNING)
    if not instance.get_instigator_state(state.instigator_origin_id, state.selector_id):
        instance.add_instigator_state(state)
    now = datetime.now(UTC).timestamp()
    instance.create_tick(
        TickData(
            state.instigator_origin_id,
            "new_inspections",
            InstigatorType.SENSOR,
            status,
            now,
            end_timestamp=now,
            selector_id=state.selector_id,
            **about,
        )
    )


class BrokenDatabase(ImagingDatabase):
    """A database whose driver raises what C4 does not know."""

    said = ""

    def reading(self, action: str = "read") -> Any:
        raise RuntimeError(f"driver: {self.said}")


def log_files(trouble: Trouble) -> str:
    folder = trouble.facility.settings.logs.folder
    return "\n".join(file.read_text() for file in folder.iterdir())


def events(trouble: Trouble) -> str:
    """The event log: what the UI shows of runs, with errors, metadata and check results."""
    instance = trouble.facility.instance
    records = [entry for run in instance.get_runs() for entry in instance.all_logs(run.run_id)]
    return "\n".join(map(dg.serialize_value, records))


def runs(trouble: Trouble) -> str:
    """Configuration and tags of all runs."""
    return "\n".join(map(dg.serialize_value, trouble.facility.instance.get_runs()))


def stored_reasons(trouble: Trouble) -> str:
    """What the imaging database and the archive keep of images that failed."""
    facility = trouble.facility
    outcomes = [outcome for model in facility.models.read() for outcome in facility.models.archive(model).outcomes(DAY)]
    return str([facility.rows("select * from c4_image_failures"), outcomes])


def files(trouble: Trouble) -> str:
    """All that lies in the home as it is: Dagster's storage, its captured output, dagster.yaml, pages, databases."""
    home = trouble.facility.settings.home
    texts = [file.read_bytes().decode(errors="replace") for file in sorted(home.rglob("*")) if file.is_file()]
    assert len(texts) > 5
    return "\n".join(texts)


AT_HOME = "at home"
"""Stands for the imaging database that the facility has, where the variables name one that is away."""

COMMANDS: tuple[tuple[str, ...], ...] = (
    ("config",),
    ("config", "--show-sources"),
    ("config", "--dagster-yaml"),
    ("status",),
    ("status", "--failures"),
    (AT_HOME, "status", "--failures"),
    (AT_HOME, "status", "--json"),
    (AT_HOME, "checks", "list"),
    ("alerts", "list"),
    ("alerts", "test"),
    ("subscriptions",),
    ("subscriptions", "--json"),
    ("model", "list"),
    ("db", "check"),
    (AT_HOME, "db", "check"),
    ("slurm", "check", "--no-gpu", "--patience", "1"),
    ("run", "--date", DAY.isoformat()),
)
"""What is called: with the imaging database away, and some with the one that has the failed images."""


def commands(trouble: Trouble) -> str:
    """What commands print."""
    return "\n".join(printed_by(trouble, *call) for call in COMMANDS)


def printed_by(trouble: Trouble, *call: str, seen: tuple[int, ...] = (0, 1)) -> str:
    """What a command prints that has done its work, or says why it cannot."""
    variables: dict[str, str | None] = {}
    if AT_HOME in call:
        variables |= dict.fromkeys(name for name in trouble.environment if name.startswith("C4_DATABASE_"))
    if call[0] in ("doctor", "slurm"):
        variables |= talkative_cluster(trouble.facility.settings.home.with_name("cluster"))
    arguments = [each for each in call if each != AT_HOME]
    before, output, code = trouble.printed.tell(), io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(output), redirect_stderr(output):
        for name, value in variables.items():
            if value is None:
                patch.delenv(name, raising=False)
            else:
                patch.setenv(name, value)
        patch.setattr("os._exit", sys.exit)  # `c4 doctor` does not wait for its threads
        patch.setattr(sys, "argv", ["c4", *arguments])
        try:
            main()
        except SystemExit as ended:
            code = ended.code
        except Exception as error:  # Python prints it
            traceback.print_exception(error)
            code = 1
    said = f"{output.getvalue()}\n{trouble.printed.getvalue()[before:]}"
    assert code in seen, f"{arguments} ended with {code}: {said}"
    assert not any(word in said for word in ("No such option", "No such command", "Usage:", "Missing ")), said
    return said


def talkative_cluster(folder: Path) -> dict[str, str]:
    """Variables of a site whose Slurm commands print their environment, as a wrapper of a site may, and fail."""
    (folder / "bin").mkdir(parents=True, exist_ok=True)
    for name in ("sbatch", "squeue", "sinfo", "scontrol", "sacct", "scancel"):
        (folder / "bin" / name).write_text("#!/bin/sh\nenv | grep planted\nenv | grep planted >&2\nexit 1\n")
        (folder / "bin" / name).chmod(0o755)
    return {"C4_SLURM_FOLDER": str(folder / "jobs"), "C4_SLURM_COMMANDS": str(folder / "bin")}


def doctor(trouble: Trouble) -> str:
    """What `c4 doctor` prints, of a site whose services are away or quote the secrets."""
    seen = 0, 1, 2  # 2: something could not be seen
    lines, as_json = (printed_by(trouble, "doctor", *options, seen=seen) for options in ((), ("--json",)))
    assert json.loads(as_json)
    return lines + as_json


def metrics(trouble: Trouble) -> str:
    """What Prometheus gets, of a site whose database is there and of one whose database is away."""
    folder = trouble.facility.settings.home / "metrics"
    folder.mkdir()
    said = ""
    for name, call in (("there", (AT_HOME, "metrics")), ("away", ("metrics",))):
        file = folder / f"{name}.prom"
        said += printed_by(trouble, *call, "--textfile", str(file)) + file.read_text()
        assert f"c4_database_up {float(name == 'there')}" in said
    assert 'c4_runs{status="failure"} ' in said
    return said


def backup(trouble: Trouble) -> str:
    """What a backup holds, of a site that has a file of settings as well."""
    home, folder = trouble.facility.settings.home, trouble.facility.settings.home.with_name("backups")
    (home / "c4.toml").write_text("[runs]\nwindow_days = 7\n")
    said = printed_by(trouble, AT_HOME, "backup", str(folder))
    files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
    assert {"c4.toml", "imaging.db"} <= {file.name for file in files}
    assert len(files) > 5
    said += printed_by(trouble, "restore", "--verify", str(folder))
    return "\n".join([said, *(file.read_bytes().decode(errors="replace") for file in files)])


def alerts(trouble: Trouble) -> str:
    """What a server gets of failed runs and ticks, as the watch has seen them."""
    with http_receiver() as receiver, pytest.MonkeyPatch.context() as patch:
        patch.setattr(outboxes, "RATE", timedelta())
        settings, now = trouble.alerted(receiver), datetime.now(UTC)
        for run in trouble.facility.instance.get_runs():  # as those that the sensor asks for
            trouble.facility.instance.add_run_tags(run.run_id, {"dagster/will_retry": "false"})
        watched = [watch(trouble.facility.instance, settings, now + timedelta(minutes=n)) for n in (0, 30, 90)]
        done = deliver(settings, now + timedelta(minutes=91))
        assert not done.away
        got = {path: [each.body.decode() for each in receiver.received if each.path == path] for path in PATHS}
        assert all(got.values()), {path: len(bodies) for path, bodies in got.items()}
        assert "failed in marco_probabilities" in str(got["/webhook"])
        return str([watched, done, got])


PATHS = "/slack", "/webhook", "/apprise"


def spans(trouble: Trouble) -> str:
    """What a collector gets of a run that fails while it is traced, and of those that failed before."""
    facility = trouble.facility
    with http_receiver() as receiver, pytest.MonkeyPatch.context() as patch:
        endpoint = f"{receiver.url}/v1/traces"
        traced = Settings.model_validate({"home": facility.settings.home, "tracing": {"endpoint": endpoint}})
        patch.setattr(traces, "SETTINGS", traced)
        assert not facility.score(noon(2), raise_on_error=False).success
        told = traces.tell(facility.instance, tracing.sender(endpoint), datetime.now(UTC) - timedelta(hours=1))
        assert told.runs > 4
        assert not told.lost
        text = "\n".join(each.body.decode(errors="replace") for each in receiver.received)
    for name in ("run score_images", "step marco_probabilities", "classify inspection"):
        assert name in text
    return text


PYTHON_ERROR = "message className stack errorChain { isExplicitLink error { message stack } } cause { message stack }"
ENTRY = """__typename label description ... on TextMetadataEntry { text } ... on JsonMetadataEntry { jsonString }
... on MarkdownMetadataEntry { mdStr } ... on PathMetadataEntry { path } ... on UrlMetadataEntry { url }
... on TableMetadataEntry { table { records } }"""
REPOSITORY = '{repositoryName: "__repository__", repositoryLocationName: "c4"}'

QUESTIONS = {
    "runs": "{ runsOrError { ... on Runs { results { runId jobName status runConfigYaml tags { key value } } } } }",
    "instance": f"""{{ instance {{ info runLauncher {{ name }} daemonHealth {{ allDaemonStatuses {{ daemonType
        lastHeartbeatErrors {{ {PYTHON_ERROR} }} }} }} }} }}""",
    "location": f"""{{ workspaceOrError {{ ... on Workspace {{ locationEntries {{ name displayMetadata {{ key value }}
        locationOrLoadError {{ __typename ... on PythonError {{ {PYTHON_ERROR} }} }} }} }} }} }}""",
    "resources": f"""{{ allTopLevelResourceDetailsOrError(repositorySelector: {REPOSITORY}) {{ __typename
        ... on ResourceDetailsList {{ results {{ name description configFields {{ name defaultValueAsJson }}
        configuredValues {{ key value }} }} }} }} }}""",
    "assets": f"""{{ assetNodes {{ assetKey {{ path }} description metadataEntries {{ {ENTRY} }}
        assetMaterializations(limit: 5) {{ metadataEntries {{ {ENTRY} }} }} }} }}""",
    "ticks": f"""{{ sensorsOrError(repositorySelector: {REPOSITORY}) {{ __typename ... on Sensors {{ results {{ name
        sensorState {{ ticks(dayRange: 1) {{ status skipReason cursor error {{ {PYTHON_ERROR} }} }} }} }} }} }} }}""",
    "dry run": f"""mutation {{ sensorDryRun(selectorData: {{repositoryName: "__repository__",
        repositoryLocationName: "c4", sensorName: "new_inspections"}}) {{ __typename
        ... on PythonError {{ {PYTHON_ERROR} }} ... on DryRunInstigationTick {{ evaluationResult {{ skipReason cursor
        error {{ {PYTHON_ERROR} }} }} }} }} }}""",
}

EVENTS = f"""query($run: ID!) {{ logsForRun(runId: $run) {{ __typename ... on EventConnection {{ events {{ __typename
    ... on MessageEvent {{ message }} ... on ErrorEvent {{ error {{ {PYTHON_ERROR} }} }}
    ... on LogsCapturedEvent {{ fileKey }} ... on StepEvent {{ stepKey }}
    ... on DisplayableEvent {{ label description metadataEntries {{ {ENTRY} }} }}
    ... on AssetCheckEvaluationEvent {{ evaluation {{ checkName metadataEntries {{ {ENTRY} }} }} }} }} }} }} }}"""


@contextmanager
def served(application: ASGIApp) -> Generator[HTTPConnection]:
    """A connection to an application that is served on a free port."""
    server = uvicorn.Server(uvicorn.Config(application, port=0, log_level="critical", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    ends = time.monotonic() + 30
    while not server.started:
        assert time.monotonic() < ends
        time.sleep(0.02)
    connection = HTTPConnection("127.0.0.1", server.servers[0].sockets[0].getsockname()[1], timeout=60)
    try:
        yield connection
    finally:
        connection.close()
        server.should_exit = True
        thread.join(10)


def pages(trouble: Trouble) -> str:
    """What Dagster's UI shows, behind C4's rules: pages, runs with all their events, ticks, resources, daemons."""
    site = Settings.from_environment(trouble.environment)
    access = Access.of(site.ui, "127.0.0.1")
    password = base64.b64encode(f"ana:{trouble.passwords['C4_UI_PASSWORD']}".encode()).decode()
    allowed = {"Authorization": f"Basic {password}"}
    run_ids = [run.run_id for run in trouble.facility.instance.get_runs()]
    with webserver(trouble.facility.instance, shipped("workspace.yaml")) as application:
        guarded = WithUnsubscribing(Guarded(application, access), access, Subscriptions(site.data))
        with served(guarded) as connection:

            def get(path: str, expected: int = 200, **headers: str) -> str:
                connection.request("GET", path, headers=headers)
                answer = connection.getresponse()
                body = answer.read()
                assert answer.status == expected, f"{path}: {answer.status} {body[:500]!r}"
                text = (gzip.decompress(body) if path.startswith("/download_debug/") else body).decode(errors="replace")
                return f"{answer.getheaders()}\n{text}"

            def ask(query: str, **variables: str) -> str:
                asked = json.dumps({"query": query, "variables": variables})
                connection.request("POST", "/graphql", asked, {**allowed, "Content-Type": "application/json"})
                text = connection.getresponse().read().decode()
                assert "errors" not in json.loads(text), f"{query}: {text[:2000]}"
                return text

            shown = [get("/", 401), get("/runs", 400, Host="evil.org"), get(f"{UNSUBSCRIBE_PATH}?token=none", 404)]
            paths = "/", "/runs", f"/runs/{run_ids[0]}", "/deployment/daemons", "/server_info"
            shown += [get(path, 200, **allowed) for path in paths]
            shown += [get(f"/download_debug/{run_id}", 200, **allowed) for run_id in run_ids]
            answers = {name: ask(query) for name, query in QUESTIONS.items()}
            answers |= {f"events of {run_id}": ask(EVENTS, run=run_id) for run_id in run_ids}
    assert '"RepositoryLocation"' in answers["location"], answers["location"]
    assert "library:" in str(answers) + str(shown)
    for name in ("ticks", "instance"):
        assert HIDDEN in answers[name], f"nothing was taken out of {name}: {answers[name]}"
    return "\n".join([*shown, *answers.values()])


def job_script(trouble: Trouble) -> str:
    settings = trouble.facility.settings
    site = Site(folder=settings.home / "jobs", environment_file=settings.home / "environment")
    python, home = sys.executable, str(settings.dagster_home)
    step = Step("run", "marco_probabilities", 1, "step", "job", StepResources(), "arguments", python, home)
    return write_script(step, site).text


class BrokenChannel:
    """A channel whose server quotes what it was asked with."""

    name = "slack"

    def __init__(self, said: str) -> None:
        self._said = said

    def send(self, message: Message) -> None:
        raise ChannelAway(f"{message.title}: {self._said}")


def messages(trouble: Trouble) -> str:
    """What operators are told of failures, and of a channel that is away; what waits for it is among the files."""
    said, folder, now = trouble.said, trouble.facility.settings.home / "alerts", noon(0)
    failed = Condition("run-failed", Event.RUN_FAILED, Severity.ERROR, said, said, (Subject(said, said),))
    tell(folder, Observation(occurred=(failed,)), Rules(), now)
    told = tell(folder, Observation(), Rules(), now + timedelta(hours=1))
    outbox = Outbox(folder / "outbox")
    outbox.put(told)
    later = now + timedelta(hours=2)
    channels = open_channels(Settings.from_environment(trouble.environment).alerts, folder)
    assert len(channels) >= 4  # nothing listens at the planted addresses
    done = outbox.deliver([BrokenChannel(said), *channels.values()], Rules(), later)
    return str([told, done, outbox.observation(later), *(file.read_text() for file in folder.rglob("*.json"))])


OUTPUTS: dict[str, Callable[[Trouble], str]] = {
    "representation of the settings": lambda trouble: repr(Settings.from_environment(trouble.environment)),
    "job script": job_script,
    "alerts that the watch sends": alerts,
    "messages to operators": messages,
    "traces": spans,
    "metrics": metrics,
    "commands": commands,
    "doctor": doctor,
    "backup": backup,
    "served pages": pages,
    "errors and reasons": lambda trouble: "\n".join(trouble.spoken),
    "event log": events,
    "runs": runs,
    "stored reasons": stored_reasons,
    # Those before have written to these.
    "console": lambda trouble: trouble.printed.getvalue(),
    "log files": log_files,
    "files": files,
}

SOMETHING_TAKEN_OUT = (
    "alerts that the watch sends",
    "messages to operators",
    "commands",
    "doctor",
    "served pages",
    "errors and reasons",
    "event log",
    "stored reasons",
    "console",
    "log files",
)


@pytest.mark.usefixtures("judged_without_great_expectations")
def test_a_secret_of_any_setting_and_of_any_driver_comes_out_nowhere(trouble: Trouble) -> None:
    names = [value.strip('[]"').rpartition("/")[2] for value in planted().values()]
    came_out: list[str] = []
    for output, text_of in OUTPUTS.items():
        text = text_of(trouble)
        assert text.strip(), f"{output} says nothing, so that it shows nothing"
        came_out += [f"{name} in {output}" for name in (*names, IN_AN_ADDRESS, IN_A_VARIABLE) if name in text]
        if output in SOMETHING_TAKEN_OUT:
            assert HIDDEN in text, f"nothing was taken out of {output}: was anything planted there?"
    assert came_out == []


def test_a_secret_at_which_a_long_text_is_cut_is_recognised(tmp_path: Path) -> None:
    register_secrets(["planted-where-it-is-cut"])

    def said(characters: int) -> str:
        return "x" * (characters - 14) + " planted-where-it-is-cut"

    with ephemeral_instance() as instance:
        run = dg.DagsterRun(job_name="score_images", status=dg.DagsterRunStatus.STARTED)
        instance.add_run(run)
        instance.report_run_failed(run, said(500))
        reason = reason_of(instance, run.run_id).words
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        for _ in range(3):
            tick(instance, TickStatus.FAILURE, error=SerializableErrorInfo(said(500), [], "Wrong"))
        (failed,) = look_at_ticks(instance, datetime.now(UTC)).holding
        (tmp_path / "dagster.yaml").touch()

    def broken() -> dg.DagsterInstance:
        raise RuntimeError(said(300))

    seen = storage(tmp_path, OpenedInstance(broken)).fix
    for text in (reason, failed.summary, seen):
        assert "xxx" in text
        assert "planted" not in text
