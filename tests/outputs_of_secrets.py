"""What comes out of a deployment in which secrets are planted, one function an output: the text of all of it."""

import base64
import gzip
import io
import json
import sys
import threading
import time
import traceback
from collections.abc import Generator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from pathlib import Path

import dagster as dg
import pytest
import uvicorn
from starlette.types import ASGIApp

from c4_assets.command import main
from c4_assets.deployment_home import shipped
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
from c4_assets.runs.watch.watching import deliver, watch
from c4_assets.runs.webserver import webserver
from c4_assets.web.access import Access, Guarded
from c4_assets.web.unsubscribing import WithUnsubscribing
from resources import tracing
from resources.archive.subscriptions import Subscriptions
from resources.executors.slurm.script import Step, write_script
from resources.executors.step_resources import StepResources
from resources.redaction import HIDDEN
from resources.settings import Settings, Site
from testing.http_receiver import http_receiver
from tests.conftest import noon
from tests.planted_secrets import DAY, Trouble


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
    ("import", str(Path(__file__).parent)),
    ("subscribe", "ada@facility.org", "--plates", "P*"),
    ("unsubscribe", "ada@facility.org"),
    ("backlog",),
    (AT_HOME, "backlog", "--json"),
    ("backlog", "start", "--from", DAY.isoformat(), "--to", DAY.isoformat()),
    ("backlog", "pause"),
    ("backlog", "resume"),
    ("checks", "run", "--date", DAY.isoformat()),
    (AT_HOME, "checks", "run", "--date", DAY.isoformat()),
    ("checks", "files", "--date", DAY.isoformat()),
    (AT_HOME, "checks", "files", "--date", DAY.isoformat()),
    ("checks", "release", "1", "--reason", "seen"),
    ("checks", "rescore", "1"),
    ("alerts", "send"),
    ("db", "upgrade"),
    ("db", "seed-classes"),
    ("db", "ddl"),
    *(("model", command, "marco") for command in ("add", "current", "activate", "deactivate")),
    ("model", "threshold", "marco", "0.5"),
    ("service", "install", "--print", "--metrics"),
    ("prune", "--dry-run"),
    ("retry",),
    ("web", "admin", "ada"),
    ("people", "list"),
    (AT_HOME, "people", "add", "ada", "--no-password"),
    (AT_HOME, "people", "alias", "ada", "A. Lovelace"),
    (AT_HOME, "people", "link", "ada", "--issuer", "https://login.facility.org", "--subject", "4711"),
    (AT_HOME, "people", "list", "--json"),
    *((AT_HOME, "people", command, "ada") for command in ("token", "password", "disable", "enable")),
    (AT_HOME, "people", "role", "ada", "viewer"),
)
"""What is called: with the imaging database away, and some with the one that has the failed images."""

CALLED_APART = {"doctor", "metrics", "backup", "restore", "ui"}
"""Commands whose output is one of its own."""

NOT_CALLED = {
    "demo": "it has a home of its own",
    "score": "it reads files and a model, and asks nobody",
    "model fetch": "it asks for a model at a public address, and reads no secret",
    "service remove": "it prints names of units",
}
"""Commands that are not called, and why."""


def called() -> set[str]:
    """Names of the commands of :data:`COMMANDS`, those of a group with both words."""
    names = [[word for word in call if word != AT_HOME][:2] for call in COMMANDS]
    return {" ".join(words) for words in names} | {words[0] for words in names}


def commands(trouble: Trouble) -> str:
    """What commands print."""
    page = trouble.facility.settings.home / "backlog.html"
    said = [printed_by(trouble, *call) for call in (*COMMANDS, (AT_HOME, "backlog", "--html", str(page)))]
    assert page.is_file(), "it is among the files"
    return "\n".join(said)


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
        patch.setattr(sys, "stdin", io.StringIO())  # who asks for a password gets none
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
        patch.setattr(outboxes, "MESSAGE_INTERVAL", timedelta())
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
