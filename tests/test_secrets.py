"""A secret that is planted in every setting, and in what drivers say, comes out nowhere.

The secret settings are found by walking over the model, so a new one is planted as well. A new output (a message, a
metric, a page) is one more entry of :data:`OUTPUTS`.
"""

import io
import logging
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, get_origin

import dagster as dg
import pytest
from pydantic.fields import FieldInfo
from rich.console import Console
from typer.testing import CliRunner

from c4_assets.command import app, console
from c4_assets.command.console import reporting_errors
from c4_assets.command.run import failure_reason
from c4_assets.deployment_home import dagster_instance
from c4_assets.models.active import ActiveModels
from c4_assets.models.engine import Classification
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
from resources.errors import ImageError
from resources.executors.slurm.script import Step, write_script
from resources.executors.step_resources import StepResources
from resources.imaging_database import ImagingDatabase
from resources.redaction import HIDDEN
from resources.settings import Settings, Site
from resources.settings.keys import ANY_STEP, Key, is_secret, known_keys, variable_of
from resources.settings.logs import write_logs_of
from sensors.new_inspections import new_inspections
from testing.always import always
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
    before = list(logger.handlers), logger.level
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


def let_everything_go_wrong(trouble: Trouble) -> None:
    facility, said = trouble.facility, trouble.said
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
        except Exception as error:
            trouble.spoken += traceback.format_exception(error)
    for error in (ImageError(said), OSError(5, said, said), RuntimeError(said)):
        try:
            with reporting_errors():
                raise error
        except SystemExit:  # what was to be said is on the console
            continue
        except Exception as shown:
            trouble.spoken += traceback.format_exception(shown)


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


def commands(trouble: Trouble) -> str:
    """What commands print: the settings, dagster.yaml, and an error of a database that is away."""
    calls = (
        ["config"],
        ["config", "--sources"],
        ["config", "--dagster-yaml"],
        ["status", "--failures"],
        ["alerts", "list"],
        ["alerts", "test"],
    )
    done = [CliRunner().invoke(app, call) for call in calls]
    return "\n".join(f"{each.output}\n{''.join(traceback.format_exception(each.exception))}" for each in done)


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
    "log files": log_files,
    "console": lambda trouble: trouble.printed.getvalue(),
    "errors and reasons": lambda trouble: "\n".join(trouble.spoken),
    "event log": events,
    "runs": runs,
    "stored reasons": stored_reasons,
    "messages to operators": messages,
    "files": files,
    "commands": commands,
    "job script": job_script,
    "representation of the settings": lambda trouble: repr(Settings.from_environment(trouble.environment)),
}


@pytest.mark.usefixtures("judged_without_great_expectations")
def test_a_secret_of_any_setting_and_of_any_driver_comes_out_nowhere(trouble: Trouble) -> None:
    names = [value.strip('[]"').rpartition("/")[2] for value in planted().values()]
    came_out: list[str] = []
    for output, text_of in OUTPUTS.items():
        text = text_of(trouble)
        assert text.strip(), f"{output} says nothing, so that it shows nothing"
        came_out += [f"{name} in {output}" for name in (*names, IN_AN_ADDRESS, IN_A_VARIABLE) if name in text]
    assert came_out == []
    for output in (
        "log files",
        "console",
        "errors and reasons",
        "event log",
        "stored reasons",
        "messages to operators",
    ):
        assert HIDDEN in OUTPUTS[output](trouble), f"nothing was taken out of {output}: was anything planted there?"
