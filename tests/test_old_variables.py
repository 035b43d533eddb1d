"""Variables and files of an older release: they keep working, with a word on what they are called now."""

from pathlib import Path

from resources.settings import LegacyModel, Settings
from testing.settings import in_a_process, refusal

SECRET = "hush-4711"


def test_the_old_variables_keep_working() -> None:
    settings = Settings.from_environment(
        {
            "C4_IMAGING_DATABASE_URL": "oracle+oracledb://c4@lims",
            "C4_IMAGING_DATABASE_PASSWORD": SECRET,
            "C4_ORACLE_WALLET": "/etc/wallet",
            "C4_DATABASE_TIMEOUT_SECONDS": "90",
            "C4_SSH_TIMEOUT_SECONDS": "30",
            "C4_IMAGE_STORE_URL": "ssh://c4@storage/images",
            "C4_STAGING": "/fast/c4",
            "C4_ARCHIVE": "/kept/c4",
            "C4_DATA_DOCS": "/www/c4",
            "C4_STAGING_GIGABYTES": "7",
            "C4_EXECUTOR": "multiprocess",
            "C4_SENSOR_MINUTES": "5",
            "C4_BATCH_SIZE": "auto",
            "C4_RETRY_SECONDS": "1",
            "DAGSTER_HOME": "/dagster",
        }
    )
    assert settings.database.url == "oracle+oracledb://c4@lims?wallet_location=/etc/wallet"
    assert settings.database.password is not None
    assert settings.timeout_seconds == 90
    assert settings.store.url == "ssh://c4@storage/images"
    folders = [settings.staging, settings.archive, settings.data_docs, settings.dagster_home]
    assert [str(folder) for folder in folders] == ["/fast/c4", "/kept/c4", "/www/c4", "/dagster"]
    assert settings.scratch_gigabytes == 7
    assert (settings.runs.executor, settings.runs.poll_minutes) == ("multiprocess", 5)
    assert settings.source_of(("runs", "poll_minutes")) == "C4_SENSOR_MINUTES"
    assert settings.legacy_model is None


def test_a_new_variable_comes_before_the_old_one() -> None:
    both = {"C4_STORE_URL": "/new", "C4_IMAGE_STORE_URL": "/old"}
    assert Settings.from_environment(both).store.url == "/new"


def test_the_old_variables_of_the_model_are_kept_together() -> None:
    settings = Settings.from_environment({"C4_ENGINE": "openvino", "C4_CRYSTAL_THRESHOLD": "0.1"})
    assert settings.legacy_model == LegacyModel(engine="openvino", crystal_threshold=0.1)
    message = refusal(C4_ENGINE="torch", C4_CRYSTAL_THRESHOLD="0")
    assert "engine = 'torch' (C4_ENGINE) cannot be used: it must be 'auto', 'tensorflow' or 'openvino'" in message
    assert "crystal_threshold = '0' (C4_CRYSTAL_THRESHOLD) cannot be used: it must be above 0" in message


OLD_SLURM = """
transport: {kind: ssh, host: login, user: c4}
folder: /shared/jobs
defaults: {account: crystals, partition: cpu}
kinds: {gpu: {partition: gpu}}
steps: {db_scores: {where: here}}
backlog: {defaults: {nice: 9}, kinds: {gpu: {qos: low}}}
"""


def test_the_old_files_keep_working(tmp_path: Path) -> None:
    (tmp_path / "slurm.yaml").write_text(OLD_SLURM)
    (tmp_path / "checks.yaml").write_text("images: {plate_format: 96}\nlabels: {scorers: [ana]}\n")
    settings = Settings.from_environment(
        {"C4_SLURM_CONFIG": str(tmp_path / "slurm.yaml"), "C4_CHECKS_CONFIG": str(tmp_path / "checks.yaml")}
    )
    site = settings.slurm
    assert site is not None
    assert site.login is not None
    assert (site.login.host, site.login.user, str(site.folder)) == ("login", "c4", "/shared/jobs")
    assert (site.account, site.partition, site.gpu.partition) == ("crystals", "cpu", "gpu")
    assert (site.steps["db_scores"].where, site.backfill.nice, site.backfill.gpu.qos) == ("here", 9, "low")
    assert (settings.checks.images.plate_format, settings.checks.labels.scorers) == (96, ("ana",))


def test_a_wrong_key_of_an_old_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "slurm.yaml").write_text("folder: /s\nkinds: {gpu: {partitoin: a}}\n")
    message = refusal(C4_SLURM_CONFIG=str(tmp_path / "slurm.yaml"))
    assert "slurm.gpu.partitoin" in message
    assert "slurm.yaml (C4_SLURM_CONFIG)). Did you mean slurm.gpu.partition?" in message


def test_old_variables_are_warned_of_once_with_their_new_names() -> None:
    twice = "from resources.settings import Settings\nfor _ in range(2): Settings.from_environment()"
    old = {"C4_IMAGE_STORE_URL": "/i", "C4_RETRY_SECONDS": "1", "C4_ARCHIVE": "/a"}
    said = in_a_process(twice, **old).stderr
    assert said.count("older release") == 1
    assert "C4_IMAGE_STORE_URL is C4_STORE_URL (store.url in c4.toml) now" in said
    assert "C4_RETRY_SECONDS has no effect any more" in said
    assert "C4_DATA" in said
    in_a_step = in_a_process(twice, **old, DAGSTER_COMPRESSED_EXECUTE_STEP_ARGS="x")
    assert in_a_step.stderr == ""
    assert in_a_process(twice).stderr == ""
