"""Packages that only some machines need: pyproject.toml sorts them into extras by role."""

from collections.abc import Generator
from contextlib import contextmanager

from resources.errors import ConfigurationError

EXTRA_OF = {
    "apprise": "alerts",
    "asyncssh": "ssh",
    "dagster_k8s": "k8s",
    "dagster_postgres": "postgres",
    "great_expectations": "checks",
    "imagehash": "scoring",
    "openvino": "openvino",
    "oracledb": "oracle",
    "opentelemetry": "tracing",
    "pandas": "checks",
    "prometheus_client": "metrics",
    "psycopg2": "postgres",
    "pyarrow": "scoring",
    "scipy": "checks",
    "simplejpeg": "scoring",
    "slack_sdk": "alerts",
    "statsmodels": "checks",
    "tensorflow": "tensorflow",
}
"""Names to import, and the extra that brings them."""


@contextmanager
def naming_extras() -> Generator[None]:
    """Turns the failed import of a package that is not installed into an error that names the extra with it.

    Raises:
        ConfigurationError: the block needs an extra that is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRA_OF:
            raise
        raise ConfigurationError(
            f"{package} is not installed on this machine: pip install 'c4[{EXTRA_OF[package]}]' into C4's environment "
            f"(from a checkout: make install EXTRAS={EXTRA_OF[package]})."
        ) from error
