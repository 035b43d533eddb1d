"""A deployment in which a secret is planted in every setting, and in which everything goes wrong."""

import io
import logging
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_origin

import dagster as dg
import pytest
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteInstigatorOrigin, RemoteRepositoryOrigin
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus, TickData, TickStatus
from dagster._daemon.types import DaemonHeartbeat
from dagster_shared.error import SerializableErrorInfo
from pydantic.fields import FieldInfo
from rich.console import Console

from c4_assets.command import console
from c4_assets.command.console import reporting_errors
from c4_assets.command.run import failure_reason
from c4_assets.deployment_home import dagster_instance
from c4_assets.models.active import ActiveModels
from c4_assets.models.engine import Classification
from c4_assets.runs.watch.watching import watch
from resources.errors import ImageError
from resources.imaging_database import ImagingDatabase
from resources.settings import Settings
from resources.settings.keys import ANY_STEP, Key, is_secret, known_keys, variable_of
from resources.settings.logs import write_logs_of
from sensors.new_inspections import new_inspections
from testing.always import always
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
