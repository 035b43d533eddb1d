"""All settings of a deployment. Only :meth:`Settings.from_environment` reads anything; nothing here knows Dagster."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, PrivateAttr, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from resources.errors import ConfigurationError
from resources.redaction import register_secrets
from resources.settings import old_variables
from resources.settings.alerts import Alerts
from resources.settings.checks import Thresholds
from resources.settings.freshness import Freshness
from resources.settings.keys import Key, is_secret, known_keys, nested
from resources.settings.logs import Logs
from resources.settings.old_variables import (
    LegacyModel,
    Old,
    put_wallet_into_address,
    read_old_variables,
    warn_once,
)
from resources.settings.secret_values import secret_values, secrets_in
from resources.settings.sections import Database, Importing, Runs, Store, Tracing, Ui
from resources.settings.slurm import Site
from resources.settings.sources import (
    Found,
    read_secrets,
    read_site_file,
    read_variables,
    site_file,
)
from resources.settings.subscriptions import Subscriptions
from resources.settings.types import LocalPath
from resources.settings.words import problems_of
from resources.ssh import SshAccess

STEP_ARGUMENTS = "DAGSTER_COMPRESSED_EXECUTE_STEP_ARGS"
"""Set for the process of a step. What is to be said of the settings, the run's process has said already."""


class Settings(BaseSettings):
    """What a deployment decides. Passwords, and addresses that may hold one, are left out of ``repr``.

    ``Settings(home=…, runs={"executor": "slurm"})`` takes what it is given and defaults, and reads no environment.
    """

    model_config = SettingsConfigDict(
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        env_prefix="C4_",
        env_nested_delimiter="__",
        enable_decoding=False,  # texts of variables are read by the keys' own types
    )

    home: LocalPath = Field(
        default=Path("~/.c4"), description="The folder for everything that has no place of its own."
    )
    data: LocalPath = Field(
        default=Path("{home}"),
        description="What is kept for ever, in folders: archive (probabilities, predictions and disagreements as "
        "Parquet) and data-docs (pages about the checks). Every machine that runs steps must see it.",
    )
    models: LocalPath = Field(
        default=Path("{data}/models"), description="Where fetched models are kept; several deployments may share it."
    )
    thumbnails: LocalPath = Field(
        default=Path("{data}/thumbnails"),
        description="Small pictures of all drops, 3 kB each: they can be made again. Every machine that runs steps or "
        "shows drops must see it.",
    )
    thumbnails_days: int | None = Field(
        default=None,
        ge=1,
        description="How long thumbnails are kept after they were made; pruning removes older ones. Without: for ever.",
        examples=[365],
    )
    scratch: LocalPath = Field(
        default=Path("{home}"),
        description="What may be lost, in a folder staging: images between the store and the classifier. Every "
        "machine that runs steps must see it.",
    )
    scratch_gigabytes: float = Field(
        default=50,
        gt=0,
        description="How much fetching may put there ahead of classification; what a day has more is left for its "
        "next run.",
    )
    timeout_seconds: int = Field(
        default=60, ge=1, description="Longest wait for one answer of the imaging database or the storage host."
    )
    database: Database = Field(default=Database(), description="The imaging database.")
    store: Store = Field(default=Store(), description="Where the images are.")
    runs: Runs = Field(default=Runs(), description="What runs when, and how.")
    ui: Ui = Field(default=Ui(), description="Who may use Dagster's UI, and what it shows of people.")
    logs: Logs = Field(default=Logs(), description="Log files for programs.")
    importing: Importing = Field(default=Importing(), description="How names of image files are read.")
    alerts: Alerts = Field(
        default=Alerts(), description="Messages to operators: over which channels, what of, how often."
    )
    slurm: Site | None = Field(default=None, description="The Slurm cluster, if there is one.")
    tracing: Tracing = Field(default=Tracing(), description="Traces of runs.")
    checks: Thresholds = Field(default=Thresholds(), description="Thresholds of the data quality checks.")
    subscriptions: Subscriptions = Field(
        default=Subscriptions(), description="Mails with new crystals to those who subscribed to plates."
    )
    freshness: Freshness = Field(default=Freshness(), description="By when Dagster expects assets to be made again.")

    _old: Old = PrivateAttr(default_factory=Old)
    _sources: dict[Key, str] = PrivateAttr(default_factory=dict[Key, str])
    _file: Path | None = PrivateAttr(default=None)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)

    @model_validator(mode="before")
    @classmethod
    def _below_home(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Fills in the defaults that lie below other folders."""
        places = {"home": str(Path(values.get("home") or "~/.c4").expanduser().absolute())}
        places["data"] = str(values.get("data") or places["home"])
        filled: dict[str, Any] = {"home": places["home"]}
        for name in ("data", "models", "thumbnails", "scratch"):
            filled[name] = str(cls.model_fields[name].default).format(**places)
        filled |= values
        for name, section, key in (
            ("database", Database, "url"),
            ("store", Store, "url"),
            ("runs", Runs, "dagster_home"),
            ("logs", Logs, "folder"),
        ):
            given = values.get(name, {})
            if isinstance(given, Mapping):
                filled[name] = {key: str(section.model_fields[key].default).format(**places), **given}
        return filled

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Settings":
        """Reads the site's file, the secrets folder and the variables; the later ones come before the earlier.

        The secrets among them are registered, so that they are taken out of what this process says.

        Raises:
            ConfigurationError: something cannot be used. The message names every such key, its source and the rule.
        """
        file, old = site_file(environment), read_old_variables(cls, environment)
        layers = (
            read_site_file(cls, file),
            read_secrets(cls, environment),
            old,
            read_variables(cls, environment, also_known=old_variables.ALL),
        )
        found = {key: each for layer in layers for key, each in layer.found.items()}
        if dagster_home := environment.get("DAGSTER_HOME", "").strip():
            found["runs", "dagster_home"] = Found(dagster_home, "DAGSTER_HOME")
        if old.wallet:
            put_wallet_into_address(found, old.wallet)
        register_secrets(secret_values(cls, found, environment))  # also those of settings that cannot be used
        settings = cls._validated(found, [problem for layer in layers for problem in layer.problems])
        register_secrets(secrets_in(settings))
        settings._old, settings._file = old, file
        settings._sources = {key: each.source for key, each in found.items()}
        if STEP_ARGUMENTS not in environment:
            warn_once(tuple(old.names))
        return settings

    @classmethod
    def _validated(cls, found: Mapping[Key, Found], problems: list[str]) -> "Settings":
        try:
            settings = cls(**nested({key: each.value for key, each in found.items()}))
        except ValidationError as error:
            secrets = [key for key, field in known_keys(cls) if is_secret(field)]
            raise ConfigurationError(_in_words([*problems, *problems_of(error, found, secrets)])) from None
        if problems:
            raise ConfigurationError(_in_words(problems))
        return settings

    @property
    def file(self) -> Path | None:
        """The site's file, if one was read."""
        return self._file

    @property
    def old_variables(self) -> tuple[str, ...]:
        """The variables of an older release that are set."""
        return tuple(self._old.names)

    @property
    def archive(self) -> Path:
        """Probabilities, predictions and disagreements as Parquet, kept for ever."""
        return self._old.folders.get("archive", self.data / "archive")

    @property
    def data_docs(self) -> Path:
        """Pages about the checks: Great Expectations' Data Docs and the labels report."""
        return self._old.folders.get("data_docs", self.data / "data-docs")

    @property
    def staging(self) -> Path:
        """Images between the store and the classifier: a buffer."""
        return self._old.folders.get("staging", self.scratch / "staging")

    @property
    def dagster_home(self) -> Path:
        """Dagster's own folder."""
        return self.runs.dagster_home

    @property
    def ssh(self) -> SshAccess:
        """How to log in to the storage host."""
        return SshAccess(self.store.ssh_key, self.store.known_hosts, self.timeout_seconds)

    @property
    def legacy_model(self) -> LegacyModel | None:
        """What the old variables say of the model, engine, precision and operating point, if one of them is set."""
        return self._old.model

    def source_of(self, key: Key) -> str:
        """Where the value of a key comes from: a line of the file, a variable, a file of a secret, or ``default``."""
        known = (key[:length] for length in range(len(key), 0, -1))
        return next((self._sources[each] for each in known if each in self._sources), "default")


def _in_words(problems: list[str]) -> str:
    if len(problems) == 1:
        return problems[0]
    return f"{len(problems)} settings cannot be used:\n" + "\n".join(f"* {problem}" for problem in problems)
