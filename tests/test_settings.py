"""Settings: one place, documented, with errors that name the variable."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from resources.errors import ConfigurationError
from resources.settings import Settings

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("C4_EXECUTOR", "cron"),
        ("C4_CRYSTAL_THRESHOLD", "0"),
        ("C4_CRYSTAL_THRESHOLD", "nan"),
        ("C4_CRYSTAL_THRESHOLD", "half"),
        ("C4_START_DATE", "1 March"),
        ("C4_SENSOR_MINUTES", "0"),
        ("C4_MAX_ATTEMPTS", "-1"),
        ("C4_BATCH_SIZE", "many"),
        ("C4_ENGINE", "torch"),
        ("C4_PRECISION", "int8"),
        ("C4_STAGING_GIGABYTES", "-1"),
        ("C4_SSH_TIMEOUT_SECONDS", "0"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{name}='{value}' cannot be used: it must be"):
        Settings.from_environment({name: value})


def test_everything_lies_below_c4_home_by_default() -> None:
    settings = Settings.from_environment({"C4_HOME": "/srv/c4", "C4_BATCH_SIZE": " "})
    assert settings.imaging_database_url == "sqlite:////srv/c4/imaging.db"
    folders = [settings.staging, settings.archive, settings.models, settings.dagster_home]
    assert all(folder.is_relative_to("/srv/c4") for folder in [*folders, Path(settings.image_store_url)])
    assert settings.batch_size is None


def test_the_database_address_is_not_shown_with_the_settings() -> None:
    settings = Settings.from_environment({"C4_IMAGING_DATABASE_URL": "oracle+oracledb://c4:secret@lims/x"})
    assert "secret" not in repr(settings)


def test_every_variable_is_documented_and_every_documented_one_exists() -> None:
    read = set(re.findall(r'"(C4_[A-Z_]+|DAGSTER_HOME)"', (ROOT / "resources" / "settings.py").read_text()))
    documented = set(re.findall(r"^\| `(\w+)`", (ROOT / "docs" / "configuration.md").read_text(), re.MULTILINE))
    assert documented == read


def test_loading_the_code_location_imports_nothing_heavy() -> None:
    heavy = ["tensorflow", "great_expectations", "pandas", "matplotlib", "keras", "scipy", "pyarrow"]
    heavy += ["openvino", "simplejpeg", "asyncssh", "statsmodels", "imagehash", "oracledb", "psycopg2"]
    script = f"import c4_assets.definitions, sys; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]", "every run is a process that pays for these imports"


def test_the_command_starts_without_dagster() -> None:
    script = "import c4_assets.command, sys; print([m for m in ['dagster'] if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]", "`c4 --help` would take seconds"


def test_nothing_imports_upwards() -> None:
    """``sensors`` may import ``c4_assets``, which may import ``resources``; not the other way round."""
    forbidden = {"resources": ("c4_assets", "sensors"), "c4_assets": ("sensors",)}
    allowed = {"c4_assets/definitions.py"}  # the one place that puts everything together
    for package, above in forbidden.items():
        for file in (ROOT / package).rglob("*.py"):
            name = file.relative_to(ROOT).as_posix()
            imports = re.findall(r"^\s*(?:from|import) (\w+)", file.read_text(), re.MULTILINE)
            assert name in allowed or not set(imports) & set(above), name
