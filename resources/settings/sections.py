"""The sections ``database``, ``store``, ``runs``, ``ui``, ``importing`` and ``tracing``."""

from datetime import date
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr

from resources.settings.types import LocalPath, Networks, Section, Texts


class Database(Section):
    """The imaging database."""

    url: str = Field(
        default="sqlite:///{home}/imaging.db",
        repr=False,
        description="Its SQLAlchemy address. Without: SQLite, imaging.db in home. For Oracle with a wallet, end it "
        "with ?wallet_location=FOLDER, which has tnsnames.ora and, for TLS, ewallet.pem.",
        examples=["postgresql+psycopg2://c4@lims.facility.org/imaging"],
    )
    password: SecretStr | None = Field(default=None, description="Its password, in place of one in the address.")
    wallet_password: SecretStr | None = Field(default=None, description="The password of Oracle's wallet.")


class Store(Section):
    """Where the images are."""

    url: str = Field(
        default="{home}/images",
        repr=False,
        description="Where the paths of the table images begin: a folder, ssh://[user@]host[:port]/folder, sftp://… "
        "(the same, without ever trying tar), or an address that fsspec knows, such as s3://bucket/images. Without: "
        "images in home.",
        examples=["ssh://c4@storage.facility.org/images"],
    )
    ssh_key: LocalPath | None = Field(
        default=None,
        description="Private key for ssh:// and sftp://. Without: the keys of the ssh agent and those in ~/.ssh.",
        examples=["~/.ssh/c4"],
    )
    known_hosts: LocalPath | None = Field(
        default=None,
        description="File with the storage host's key. Without: ~/.ssh/known_hosts.",
        examples=["/etc/c4/known_hosts"],
    )


class Runs(Section):
    """What runs when, and how."""

    executor: Literal["in_process", "multiprocess", "slurm"] = Field(
        default="in_process",
        description="What runs the steps: the run's own process, a process each, or a Slurm job each (section slurm).",
    )
    start_date: date = Field(default=date(2006, 1, 1), description="The first day of imaging that is scored.")
    poll_minutes: int = Field(default=60, ge=1, description="Minutes between two polls of the imaging database.")
    window_days: int = Field(
        default=30,
        ge=1,
        description="How far back the sensor looks. Older days are scored by `c4 backlog` and `c4 run`.",
    )
    backfill_days: int = Field(default=7, ge=1, description="Most days that one run of a backfill takes.")
    max_attempts: int = Field(
        default=3,
        ge=1,
        description="How often an image is tried whose file is wrong. An absent file or a store that fails does not "
        "count.",
    )
    absent_days: int = Field(
        default=7,
        ge=1,
        description="How long after its imaging an image whose file is absent counts as pending. Then it is failed; "
        "C4 still looks for it once a week.",
    )
    keep_days: int = Field(default=30, ge=1, description="How long Dagster keeps runs that nothing needs any more.")
    dagster_home: LocalPath = Field(
        default=Path("{home}/dagster"),
        description="Dagster's own folder. The variable DAGSTER_HOME comes before this key.",
    )
    dagster_storage: Literal["sqlite", "postgres"] = Field(
        default="sqlite",
        description="Where Dagster keeps its runs: SQLite in its folder, for one machine, or PostgreSQL, which five "
        "variables DAGSTER_POSTGRES_… name (HOST, PORT, USER, PASSWORD, DB).",
    )


class Ui(Section):
    """Who may use Dagster's UI, which `c4 ui` serves, and what it shows of people."""

    hosts: Texts = Field(
        default=(),
        description="Names under which browsers ask for it besides localhost, with the port where it is not 80 or 443. "
        "Requests under other names, and from pages of other places, are refused.",
        examples=[["c4.facility.org"]],
    )
    password: SecretStr | None = Field(
        default=None, description="What browsers must say before they are answered, under any name of a user."
    )
    user_header: str | None = Field(
        default=None,
        min_length=1,
        description="The header in which a proxy that asks people to log in says who is there. The proxy must take it "
        "out of what browsers send. A request without it is refused, unless it brings the password.",
        examples=["X-Forwarded-User"],
    )
    proxies: Networks = Field(
        default=("127.0.0.1", "::1"), description="Addresses, or networks, of proxies that are believed."
    )
    show_names: bool = Field(
        default=False,
        description="Name people in the labels report, Data Docs, contact sheets and Dagster's metadata. Without, each "
        "is called person 1, person 2 …; who that is stands in people.json in data, which C4's account alone may read.",
    )


class Importing(Section):
    """How `c4 import` and `c4 score` read the names of image files."""

    patterns: Texts = Field(
        default=(),
        description="Names that the site's imagers give to files, besides those that C4 knows: regular expressions "
        "over the end of a path without its ending, whose named groups say what is what (docs/operations.md).",
        examples=[["(?P<plate>\\w+)-(?P<row>[A-H])(?P<column>\\d\\d)-d(?P<drop>\\d)"]],
    )
    other_light: Texts = Field(
        default=(),
        description="Names of lights and imaging profiles, as they stand in file names, that are not visible light. "
        "UV, fluorescence, SONICC and polarised light are known by their usual names.",
        examples=[["Blue488", "14"]],
    )


class Tracing(Section):
    """Traces of runs for an OpenTelemetry collector (docs/metrics.md)."""

    endpoint: str | None = Field(
        default=None,
        pattern=r"^https?://\S+$",
        repr=False,
        description="Where spans are sent: OTLP over HTTP, the address with its path. Without: nothing is traced.",
        examples=["http://collector.facility.org:4318/v1/traces"],
    )
