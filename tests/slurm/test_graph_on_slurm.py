"""The project's graph over a real plate with the real MARCO: on Slurm it writes what it writes without."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from resources.imaging_database import ImagingDatabase
from resources.imaging_database.register import NewImage, register_inspection, seed_classes
from testing.slurm_cluster import Cluster
from testing.sshd import Sshd
from tests.conftest import noon
from tests.slurm.cluster import PROJECT

PLATE = "plates/ci022987_subwell_01"
DAY = noon(1)


@dataclass
class Home:
    """A home with one real plate of 96 drops, and a run that scores it in a process of its own."""

    folder: Path
    models: Path

    def fill(self, real_images: Path) -> None:
        self.folder.mkdir()
        (self.folder / "images").mkdir()
        new: list[NewImage] = []
        for number, image in enumerate(sorted((real_images / PLATE).glob("*.jpg")), start=1):
            (self.folder / "images" / image.name).write_bytes(image.read_bytes())
            new.append(NewImage(f"A{number:02d}", 1, image.name))
        self.database.upgrade()
        seed_classes(self.database)
        register_inspection(self.database, "P1", DAY, None, new)

    @property
    def database(self) -> ImagingDatabase:
        return ImagingDatabase(f"sqlite:///{self.folder / 'imaging.db'}")

    def settings_file(self, login: str = "") -> str:
        """A ``c4.toml`` whose jobs run in this home and leave the environment of the GPU step in it."""
        environment = {"C4_HOME": self.folder, "C4_MODELS": self.models, "PYTHONPATH": PROJECT}
        (self.folder / "environment").write_text("".join(f"{name}={value}\n" for name, value in environment.items()))
        file = self.folder / "site.toml"
        file.write_text(f"""
            [runs]
            executor = "slurm"
            [slurm]
            folder = "{self.folder}/jobs"
            environment_file = "{self.folder}/environment"
            poll_seconds = 1
            [slurm.gpu]
            partition = "gpu"
            prologue = ["env >{self.folder}/environment_of_the_step"]
            {login}
        """)
        return str(file)

    def start(self, **settings: str) -> None:
        (self.folder / "dagster").mkdir()
        (self.folder / "dagster" / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
        places = {"C4_HOME": self.folder, "C4_MODELS": self.models, "DAGSTER_HOME": self.folder / "dagster"}
        environment = {**os.environ, **{name: str(value) for name, value in places.items()}, **settings}
        tags = f'{{"dagster/partition": "{DAY.date().isoformat()}"}}'
        command = ["dagster", "job", "execute", "-m", "c4_assets.definitions", "-j", "score_images", "--tags", tags]
        with (self.folder / "run.log").open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *command],
                env={**environment, "PYTHONPATH": str(PROJECT)},
                stdout=log,
                stderr=log,
                cwd=PROJECT,
            )

    def scores(self) -> list[tuple[object, ...]]:
        """Waits for the run and reads what it wrote."""
        from sqlalchemy import text

        assert self.process.wait(280) == 0, (self.folder / "run.log").read_text()
        columns = "image_id, score_class_id, scorer_version, crystal, p_clear, p_crystals, p_other, p_precipitate"
        with self.database.reading() as connection:
            return [tuple(row) for row in connection.execute(text(f"select {columns} from scores order by image_id"))]


def test_a_real_plate_gets_the_same_scores_on_slurm_through_either_transport(
    cluster: Cluster, login_node: Sshd, tmp_path: Path, real_images: Path, models: Path
) -> None:
    local, here, over_ssh = homes = [Home(tmp_path / name, models) for name in ("local", "here", "over_ssh")]
    for home in homes:
        home.fill(real_images)
    login = f"""[slurm.login]
            host = "127.0.0.1"
            port = {login_node.port}
            user = "root"
            key = "{login_node.key}"
            known_hosts = "{login_node.known_hosts}"
    """
    local.start(C4_RUNS_EXECUTOR="in_process", C4_ENGINE="tensorflow")  # which Slurm's nodes take by themselves
    here.start(C4_CONFIG=here.settings_file())
    over_ssh.start(C4_CONFIG=over_ssh.settings_file(login))
    expected = local.scores()
    assert len(expected) == 96
    for home in (here, over_ssh):
        assert home.scores() == expected
        steps = {script.name for script in (home.folder / "jobs").rglob("*.sh")}
        assert steps == {"raw_inspection_images.1.sh", "marco_probabilities.1.sh", "class_predictions.1.sh"}
        of_the_step = (home.folder / "environment_of_the_step").read_text()
        assert "CUDA_VISIBLE_DEVICES=0" in of_the_step
        assert f"C4_CONFIG={home.folder}/site.toml" in of_the_step
