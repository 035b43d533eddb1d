"""Settings: one file, a variable for each key, secrets apart, and messages that name key, source and rule."""

import json
import os
import re
import resource
import subprocess
import sys
import tomllib
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from resources.errors import ConfigurationError
from resources.settings import Settings
from resources.settings.keys import dotted, flat, known_keys, variable_of
from resources.settings.reference import EXAMPLE, PAGE, SCHEMA, effective, example, page, schema
from testing.settings import in_a_process, refusal

ROOT = Path(__file__).parents[1]
SECRET = "hush-4711"


@pytest.fixture
def site(tmp_path: Path) -> Callable[..., Settings]:
    """Reads a site's file with these lines, and variables over it."""

    def read(text: str, **variables: str) -> Settings:
        file = tmp_path / "c4.toml"
        file.write_text(text)
        return Settings.from_environment({"C4_CONFIG": str(file), **variables})

    return read


def test_everything_lies_below_home_by_default() -> None:
    settings = Settings.from_environment({"C4_HOME": "/srv/c4", "C4_DATA": " "})
    assert settings.database.url == "sqlite:////srv/c4/imaging.db"
    folders = [settings.staging, settings.archive, settings.models, settings.data_docs, settings.dagster_home]
    folders.append(settings.thumbnails)
    assert all(folder.is_relative_to("/srv/c4") for folder in [*folders, Path(settings.store.url)])


def test_what_is_kept_and_what_may_be_lost_have_a_folder_each() -> None:
    settings = Settings.from_environment({"C4_DATA": "/kept", "C4_SCRATCH": "/fast"})
    kept = [settings.archive, settings.models, settings.data_docs, settings.thumbnails]
    assert [str(folder) for folder in kept] == [
        f"/kept/{name}" for name in ("archive", "models", "data-docs", "thumbnails")
    ]
    assert str(settings.staging) == "/fast/staging"


def test_settings_can_be_made_of_values_without_any_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("C4_RUNS_MAX_ATTEMPTS", "9")
    settings = Settings(home="/x", runs={"executor": "slurm"})  # pyright: ignore[reportArgumentType]
    assert (settings.runs.executor, settings.runs.max_attempts) == ("slurm", 3)
    assert settings.database.url == "sqlite:////x/imaging.db"


def test_variables_come_before_secrets_and_secrets_before_the_file(
    site: Callable[..., Settings], tmp_path: Path
) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "database_password").write_text(f"{SECRET}\n")
    (tmp_path / "secrets" / "store_url").write_text("/of/the/secrets")
    (tmp_path / "secrets" / "..2026_data").mkdir()  # as Kubernetes mounts them
    settings = site(
        '[store]\nurl = "/of/the/file"\n[runs]\nmax_attempts = 5\npoll_minutes = 10\n',
        C4_SECRETS=str(tmp_path / "secrets"),
        C4_RUNS_POLL_MINUTES="20",
    )
    assert settings.database.password is not None
    assert settings.database.password.get_secret_value() == SECRET
    assert (settings.store.url, settings.runs.max_attempts, settings.runs.poll_minutes) == ("/of/the/secrets", 5, 20)
    assert settings.source_of(("store", "url")) == str(tmp_path / "secrets" / "store_url")
    assert settings.source_of(("runs", "max_attempts")) == f"{tmp_path / 'c4.toml'}, line 4"
    assert settings.source_of(("runs", "poll_minutes")) == "C4_RUNS_POLL_MINUTES"
    assert settings.source_of(("runs", "window_days")) == "default"


def test_the_file_in_c4s_home_is_read_without_being_named(tmp_path: Path) -> None:
    (tmp_path / "c4.toml").write_text("[runs]\nkeep_days = 3\n")
    assert Settings.from_environment({"C4_HOME": str(tmp_path)}).runs.keep_days == 3


def test_every_key_can_be_overridden_by_its_variable() -> None:
    values = {
        ("home",): "/h",
        ("runs", "start_date"): "2020-02-29",
        ("slurm", "folder"): "/shared",
        ("slurm", "partition"): "cpu",
        ("slurm", "gpu", "partition"): "gpu",
        ("slurm", "steps", "db_scores", "where"): "here",
        ("slurm", "backfill", "nice"): "9",
        ("slurm", "options"): '["--exclude=n7", "--mail-type=FAIL"]',
        ("checks", "images", "plate_format"): "96",
    }
    settings = Settings.from_environment({variable_of(key): value for key, value in values.items()})
    assert settings.slurm is not None
    assert settings.runs.start_date == date(2020, 2, 29)
    assert (settings.slurm.partition, settings.slurm.gpu.partition, settings.slurm.backfill.nice) == ("cpu", "gpu", 9)
    assert settings.slurm.steps["db_scores"].where == "here"
    assert settings.slurm.options == ("--exclude=n7", "--mail-type=FAIL")
    assert settings.checks.images.plate_format == 96
    assert all(settings.source_of(key) == variable_of(key) for key in values)


def test_no_two_keys_share_a_variable() -> None:
    variables = [variable_of(key) for key, _ in known_keys(Settings)]
    assert len(set(variables)) == len(variables)


@pytest.mark.parametrize(
    ("variable", "value", "rule"),
    [
        (
            "C4_RUNS_EXECUTOR",
            "cron",
            "runs.executor = 'cron' (C4_RUNS_EXECUTOR) cannot be used: it must be 'in_process'",
        ),
        ("C4_RUNS_START_DATE", "1 March", "it must be a date like 2006-01-01"),
        ("C4_RUNS_POLL_MINUTES", "0", "it must be at least 1"),
        ("C4_RUNS_MAX_ATTEMPTS", "often", "it must be a whole number"),
        ("C4_SCRATCH_GIGABYTES", "-1", "it must be above 0"),
        ("C4_SCRATCH_GIGABYTES", "nan", "it must be a finite number"),
        ("C4_CHECKS_LABELS__LEAST_KAPPA", "2", "it must be at most 1"),
        ("C4_CHECKS_LABELS__SCORERS", "ana", 'it must be a list as in the file, like ["one", "two"]'),
        ("C4_SLURM_PARTITION", "cpu", "slurm.folder cannot be used: it is required"),
        ("C4_SLURM_FOLDER", "jobs", "it must be an absolute path"),
        ("C4_SLURM_OPTIONS", '["--requeue"]', "--requeue is set by C4"),
        ("C4_CHECKS", "3", "it must be a table with keys of its own"),
    ],
)
def test_a_value_that_cannot_be_used_is_named_with_its_variable_and_the_rule(
    variable: str, value: str, rule: str
) -> None:
    message = refusal(**{variable: value})
    assert rule in message
    assert variable in message or "required" in rule


def test_all_problems_are_told_at_once_with_file_and_line(site: Callable[..., Settings]) -> None:
    text = '[database]\nuri = "x"\n\n[runs]\nexecutor = "cron"\nmax_attempts = 0\n[slurm]\ngpu = { partitoin = "g" }\n'
    with pytest.raises(ConfigurationError) as error:
        site(text, C4_RUNS_POLL_MINUTES="soon", C4_DATABSE_URL="x")
    message = str(error.value)
    assert message.startswith("6 settings cannot be used:\n")
    for told in (
        "There is no setting database.uri (",
        "c4.toml, line 2). Did you mean database.url?",
        "c4.toml, line 5) cannot be used: it must be 'in_process', 'multiprocess' or 'slurm'.",
        "runs.max_attempts = 0 (",
        "c4.toml, line 6) cannot be used: it must be at least 1.",
        "c4.toml, line 8). Did you mean slurm.gpu.partition?",
        "runs.poll_minutes = 'soon' (C4_RUNS_POLL_MINUTES)",
        "C4_DATABSE_URL names no setting. Did you mean C4_DATABASE_URL?",
    ):
        assert told in message


def test_a_misspelt_table_is_taken_for_the_table_and_not_for_one_of_its_keys(site: Callable[..., Settings]) -> None:
    with pytest.raises(ConfigurationError, match=r"Did you mean alerts\.email\?"):
        site("[alerts]\nemial = 3\n")


def test_a_key_that_only_a_secret_beside_it_requires_is_told_with_the_file_of_that_secret(tmp_path: Path) -> None:
    (secret := tmp_path / "alerts_email__password").write_text("planted-4711")
    message = refusal(C4_SECRETS=str(tmp_path))
    assert "alerts.email.host cannot be used: it is required" in message
    assert f"because alerts.email.password is set ({secret})" in message
    assert "planted" not in message


def test_an_unknown_variable_of_a_section_is_refused_with_the_nearest_name() -> None:
    assert "C4_STORE_SSHKEY names no setting. Did you mean C4_STORE_SSH_KEY?" in refusal(C4_STORE_SSHKEY="x")


def test_variables_that_kubernetes_makes_of_a_service_named_c4_are_none_of_its_settings() -> None:
    injected = {
        "C4_WEB_SERVICE_HOST": "10.0.0.7",
        "C4_WEB_SERVICE_PORT_HTTP": "80",
        "C4_PORT": "tcp://10.0.0.7:80",
        "C4_PORT_80_TCP_ADDR": "10.0.0.7",
    }
    Settings.from_environment({"KUBERNETES_SERVICE_HOST": "10.0.0.1", **injected})
    assert "4 settings" in refusal(**injected)


@pytest.mark.parametrize(
    ("lines", "named"),
    [
        (f'[database]\npassword = "{SECRET}"', "C4_DATABASE_PASSWORD"),
        (f'[database]\nwallet_password = "{SECRET}"', "database_wallet_password"),
        (f'[database]\nurl = "postgresql+psycopg2://c4:{SECRET}@lims/imaging"', "C4_DATABASE_URL"),
        (f'[database]\nurl = "postgresql://c4:a/{SECRET}@lims/imaging"', "C4_DATABASE_URL"),
        (f'[database]\nurl = "postgresql://lims/imaging?user=c4&password={SECRET}"', "C4_DATABASE_URL"),
        (f'[store]\nurl = "s3://key:{SECRET}@bucket"', "C4_STORE_URL"),
        (f'[store]\nurl = "ssh://c4:{SECRET}@storage/images"', "C4_STORE_URL"),
        (f'[store]\nurl = "sftp://c4:a/{SECRET}@storage:22/images"', "C4_STORE_URL"),
    ],
)
def test_a_secret_in_the_file_is_refused_and_not_repeated(
    site: Callable[..., Settings], lines: str, named: str
) -> None:
    with pytest.raises(ConfigurationError) as error:
        site(lines)
    assert "line 2) holds a secret" in str(error.value)
    assert named in str(error.value)
    assert SECRET not in str(error.value)


@pytest.mark.parametrize(
    "url", ["ssh://c4@storage:22/images/a@b", "ssh://storage:22/images", "s3://bucket/images", "/images/a:b@c"]
)
def test_an_address_without_a_secret_may_stand_in_the_file(site: Callable[..., Settings], url: str) -> None:
    settings = site(f'[store]\nurl = "{url}"')
    assert settings.store.url == url
    assert f'url = "{url}"' in effective(settings)


def test_secrets_are_shown_nowhere() -> None:
    settings = Settings.from_environment(
        {
            "C4_DATABASE_URL": f"oracle+oracledb://c4:{SECRET}@lims/x?wallet_password={SECRET}",
            "C4_DATABASE_PASSWORD": SECRET,
            "C4_DATABASE_WALLET_PASSWORD": SECRET,
            "C4_STORE_URL": f"s3://key:{SECRET}@bucket",
        }
    )
    shown = effective(settings, show_sources=True)
    assert SECRET not in repr(settings) + str(settings) + shown
    assert '#password = "********"  # C4_DATABASE_PASSWORD' in shown
    assert '#url = "oracle+oracledb://c4:********@lims/x?wallet_password=********"  # C4_DATABASE_URL' in shown
    assert SECRET not in refusal(C4_DATABASE_URL=f"postgresql://c4:{SECRET}@x/y", C4_RUNS_KEEP_DAYS="x")


def test_what_is_in_effect_is_a_file_that_has_the_same_effect(site: Callable[..., Settings], tmp_path: Path) -> None:
    text = '[slurm]\nfolder = "/s"\nprologue = ["module load \\"a=b\\""]\n[slurm.steps.db_scores]\nwhere = "here"\n'
    settings = site(text, C4_CHECKS_LABELS__SCORERS='["ana", "bé"]', C4_RUNS_START_DATE="2020-02-29")
    printed = tmp_path / "printed.toml"
    printed.write_text(effective(settings, show_sources=True))
    assert Settings.from_environment({"C4_CONFIG": str(printed)}).model_dump() == settings.model_dump()


@pytest.mark.parametrize(
    ("content", "told"),
    [(None, "cannot be read: No such file"), ("[runs", "is not TOML"), ("a = 1\na = 2", "is not TOML")],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: str | None, told: str) -> None:
    file = tmp_path / "site.toml"
    if content:
        file.write_text(content)
    message = refusal(C4_CONFIG=str(file))
    assert told in message
    assert str(file) in message


def test_a_folder_of_secrets_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert f"C4_SECRETS names {tmp_path / 'none'}, which cannot be read" in refusal(C4_SECRETS=str(tmp_path / "none"))


def test_the_example_file_holds_every_key_and_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "c4.toml"
    file.write_text(example())
    assert Settings.from_environment({"C4_CONFIG": str(file)}).model_dump() == Settings().model_dump()
    text = example()
    assert all(f"#{key[-1]} = " in text or variable_of(key) in text for key, _ in known_keys(Settings))


def test_the_example_file_with_every_comment_taken_away_is_accepted(tmp_path: Path) -> None:
    lines = [line.removeprefix("#") for line in example().splitlines() if not line.startswith("# ")]
    file = tmp_path / "c4.toml"
    file.write_text("\n".join(lines))
    settings = Settings.from_environment({"C4_CONFIG": str(file)})
    assert settings.slurm is not None
    assert settings.slurm.login is not None
    given = flat(tomllib.loads(file.read_text()))
    assert len(given) > 50


def test_what_is_made_from_the_settings_is_up_to_date() -> None:
    again = "run python -m resources.settings.reference"
    assert EXAMPLE.read_text() == example(), again
    assert SCHEMA.read_text() == schema(), again
    assert page(PAGE.read_text()) == PAGE.read_text(), again


def test_every_key_says_what_it_decides() -> None:
    assert [dotted(key) for key, field in known_keys(Settings) if not field.description] == []


def test_the_schema_knows_the_file_and_no_secret() -> None:
    properties = json.loads(SCHEMA.read_text())["properties"]
    assert set(properties) >= {"home", "data", "scratch", "database", "store", "runs", "slurm", "checks"}
    assert "wallet_password" not in SCHEMA.read_text()


def test_settings_need_no_dagster() -> None:
    code = "import sys; sys.modules['dagster'] = None; from resources.settings import Settings; Settings()"
    in_a_process(code)


def cpu_seconds(command: list[str], environment: dict[str, str]) -> tuple[float, str]:
    """What a command took of a core, however busy the machine is, and what it printed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout


def test_c4_help_and_c4_config_answer_at_once(tmp_path: Path) -> None:
    c4 = str(Path(sys.executable).with_name("c4"))
    command = [c4, "config", "--show-sources"]
    environment = {**os.environ, "C4_HOME": str(tmp_path), "C4_DATABASE_PASSWORD": SECRET}
    took, printed = zip(*(cpu_seconds(command, environment) for _ in range(5)), strict=True)
    assert f'home = "{tmp_path}"  # C4_HOME' in printed[0]
    assert SECRET not in printed[0]
    assert min(took) < 0.5
    assert min(cpu_seconds([c4, "--help"], environment)[0] for _ in range(5)) < 0.5


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
