"""Every setting of C4, read from the environment in this one place (the table is in docs/configuration.md)."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TypeVar

from resources.errors import ConfigurationError
from resources.ssh import SshAccess

T = TypeVar("T")

EXECUTORS = ("in_process", "multiprocess", "slurm")
ENGINES = ("auto", "tensorflow", "openvino")
PRECISIONS = ("fp32", "bf16", "fp16")


LEGACY_MODEL_VARIABLES = ("C4_MODEL", "C4_ENGINE", "C4_PRECISION", "C4_CRYSTAL_THRESHOLD")


@dataclass(frozen=True)
class LegacyModel:
    """The one model of release 0.1, which variables described. Models stand in the imaging database now."""

    model: str
    engine: str
    precision: str
    crystal_threshold: float


@dataclass(frozen=True)
class Settings:
    """What a deployment decides. Passwords, and the addresses that may hold one, are left out of ``repr``."""

    home: Path
    imaging_database_url: str = field(repr=False)
    imaging_database_password: str | None = field(repr=False)
    database_timeout_seconds: int
    oracle_wallet: Path | None
    oracle_wallet_password: str | None = field(repr=False)
    image_store_url: str = field(repr=False)
    staging: Path
    archive: Path
    models: Path
    dagster_home: Path
    legacy_model: "LegacyModel | None"
    executor: str
    slurm_config: Path | None
    checks_config: Path | None
    data_docs: Path
    start_date: date
    sensor_minutes: int
    sensor_window_days: int
    backfill_days: int
    max_attempts: int
    batch_size: int | None
    staging_gigabytes: float
    retry_seconds: int
    keep_runs_days: int
    ssh: SshAccess

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Settings":
        """Reads the ``C4_*`` variables; what is not set takes its default below ``C4_HOME``.

        Raises:
            ConfigurationError: a variable has a value that cannot be used; the message names it.
        """

        def text(name: str, default: str) -> str:
            return environment.get(name, "").strip() or default

        def read(name: str, default: str, parse: Callable[[str], T], rule: str, ok: Callable[[T], bool]) -> T:
            value = text(name, default)
            try:
                parsed = parse(value)
            except ValueError:
                parsed = None
            if parsed is None or not ok(parsed):
                raise ConfigurationError(f"{name}={value!r} cannot be used: it must be {rule}.")
            return parsed

        def whole(name: str, default: str) -> int:
            return read(name, default, int, "a whole number of at least 1", lambda n: n >= 1)

        def one_of(name: str, values: tuple[str, ...]) -> str:
            return read(name, values[0], str, " or ".join(values), lambda value: value in values)

        def file(name: str) -> Path | None:
            return Path(value).expanduser() if (value := text(name, "")) else None

        def legacy_model() -> LegacyModel | None:
            threshold = ("C4_CRYSTAL_THRESHOLD", "0.25", float, "a probability above 0 and up to 1")
            model = LegacyModel(
                text("C4_MODEL", "marco"),
                one_of("C4_ENGINE", ENGINES),
                one_of("C4_PRECISION", PRECISIONS),
                read(*threshold, lambda p: 0 < p <= 1),
            )
            return model if any(environment.get(name) for name in LEGACY_MODEL_VARIABLES) else None

        home = Path(text("C4_HOME", "~/.c4")).expanduser().absolute()
        return cls(
            home=home,
            imaging_database_url=text("C4_IMAGING_DATABASE_URL", f"sqlite:///{home / 'imaging.db'}"),
            imaging_database_password=text("C4_IMAGING_DATABASE_PASSWORD", "") or None,
            database_timeout_seconds=whole("C4_DATABASE_TIMEOUT_SECONDS", "60"),
            oracle_wallet=path if (path := Path(text("C4_ORACLE_WALLET", "")).expanduser()).name else None,
            oracle_wallet_password=text("C4_ORACLE_WALLET_PASSWORD", "") or None,
            image_store_url=text("C4_IMAGE_STORE_URL", str(home / "images")),
            staging=Path(text("C4_STAGING", str(home / "staging"))).expanduser().absolute(),
            archive=Path(text("C4_ARCHIVE", str(home / "archive"))).expanduser().absolute(),
            models=Path(text("C4_MODELS", str(home / "models"))).expanduser().absolute(),
            dagster_home=Path(text("DAGSTER_HOME", str(home / "dagster"))).expanduser().absolute(),
            legacy_model=legacy_model(),
            executor=one_of("C4_EXECUTOR", EXECUTORS),
            slurm_config=file("C4_SLURM_CONFIG"),
            checks_config=file("C4_CHECKS_CONFIG"),
            data_docs=Path(text("C4_DATA_DOCS", str(home / "data-docs"))).expanduser().absolute(),
            start_date=read(
                "C4_START_DATE", "2006-01-01", date.fromisoformat, "a date like 2006-01-01", lambda _: True
            ),
            sensor_minutes=whole("C4_SENSOR_MINUTES", "60"),
            sensor_window_days=whole("C4_SENSOR_WINDOW_DAYS", "30"),
            backfill_days=whole("C4_BACKFILL_DAYS", "7"),
            max_attempts=whole("C4_MAX_ATTEMPTS", "3"),
            batch_size=None if text("C4_BATCH_SIZE", "auto") == "auto" else whole("C4_BATCH_SIZE", "auto"),
            staging_gigabytes=read("C4_STAGING_GIGABYTES", "50", float, "a number above 0", lambda size: size > 0),
            retry_seconds=whole("C4_RETRY_SECONDS", "10"),
            keep_runs_days=whole("C4_KEEP_RUNS_DAYS", "30"),
            ssh=SshAccess(
                key=file("C4_SSH_KEY"),
                known_hosts=file("C4_SSH_KNOWN_HOSTS"),
                timeout=whole("C4_SSH_TIMEOUT_SECONDS", "30"),
            ),
        )
