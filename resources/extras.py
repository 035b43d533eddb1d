"""Packages that only some machines need: pyproject.toml sorts them into extras by role."""

from collections.abc import Generator
from contextlib import contextmanager

from resources.errors import ConfigurationError

EXTRA_OF = {
    "apprise": "alerts",
    "argon2": "web",
    "asyncssh": "ssh",
    "authlib": "web",
    "dagster_k8s": "k8s",
    "dagster_postgres": "postgres",
    "fastapi": "web",
    "great_expectations": "checks",
    "httpx": "web",
    "imagehash": "scoring",
    "openvino": "openvino",
    "oracledb": "oracle",
    "opentelemetry": "tracing",
    "pandas": "checks",
    "prometheus_client": "metrics",
    "psycopg2": "postgres",
    "pyarrow": "scoring",
    "python_multipart": "web",
    "scipy": "checks",
    "simplejpeg": "scoring",
    "slack_sdk": "alerts",
    "statsmodels": "checks",
    "tensorflow": "tensorflow",
}
"""Names to import, and the extra that brings them."""


def how_to_install(*extras: str) -> str:
    """How extras are added to C4's environment, from a checkout or from its wheel. No registry is asked for C4."""
    named = " ".join(extras)
    quoted = f'"{named}"' if len(extras) > 1 else named
    wheel = f"'c4-….whl[{','.join(extras)}]'"
    return f"make install EXTRAS={quoted} in C4's checkout, or uv pip install {wheel} with C4's wheel"


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
            f"{package} is not installed on this machine: {how_to_install(EXTRA_OF[package])}."
        ) from error
