"""A whole Slurm cluster on one machine: to try C4 on Slurm, and for its tests and benchmarks.

    python -m testing.slurm_cluster start --folder /tmp/cluster     (as root)
    export SLURM_CONF=/tmp/cluster/slurm.conf; sinfo
    python -m testing.slurm_cluster stop --folder /tmp/cluster

Several emulated nodes share the machine; all but the first have GPUs, which are copies of /dev/null: Slurm counts
them, hands them out and sets CUDA_VISIBLE_DEVICES. Everything a cluster writes is in its folder, every daemon is ended
by its own process id, and clusters on different ports do not see each other. Needs no systemd and no configuration
in /etc. Standard library only; ``deploy/slurm/packages.txt`` names the Debian packages.
"""

import argparse
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from testing.programs import NotInstalled, path_of, require
from testing.slurm_configuration import Shape, write_configuration, write_slurmdbd_conf

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "scancel")
PROGRAMS_OF_ACCOUNTING = ("mariadbd", "mariadb-install-db", "slurmdbd", "sacct", "sacctmgr")


class Cluster:
    """One cluster in one folder. Daemons are called by name: munged, mariadbd, slurmdbd, slurmctld, n1, n2, …"""

    def __init__(self, folder: Path, shape: Shape) -> None:
        self.folder = folder.absolute()
        self.shape = shape
        self.conf = self.folder / "slurm.conf"
        self.environment = {**os.environ, "SLURM_CONF": str(self.conf), "LC_ALL": "C"}

    @classmethod
    def found_in(cls, folder: Path) -> "Cluster":
        """The cluster that was started in a folder."""
        return cls(folder, Shape(**json.loads((folder / "shape.json").read_text())))

    def start(self) -> None:
        """Starts what is not running and returns when every node takes jobs.

        Raises:
            NotInstalled: a program is missing, or the rights of root: slurmd starts jobs under their users.
        """
        accounting = PROGRAMS_OF_ACCOUNTING if self.shape.accounting else ()
        require("A Slurm cluster", *PROGRAMS, *accounting, root=True)
        write_configuration(self.folder, self.shape)
        self.start_daemon("munged")
        _wait_until("munged answers", (self.folder / "munge.socket").exists, 10)
        if self.shape.accounting:
            self._start_accounting()
        self.start_daemon("slurmctld")
        for node in self.shape.node_names:
            self.start_daemon(node)
        _wait_until("every node takes jobs", self._nodes_are_up, 60)

    def _nodes_are_up(self) -> bool:
        code, out = self._slurm("sinfo", "-h", "-N", "-p", "main", "-o", "%N %T", check=False)
        states = dict(line.split() for line in out.splitlines())
        for node, state in states.items():
            # What a fault has left: a node that is out of service until an operator says otherwise.
            if state.startswith(("drain", "down")):
                self._slurm("scontrol", "update", f"nodename={node}", "state=resume", check=False)
        return code == 0 and all(state in ("idle", "mixed") for state in states.values())

    def stop(self, remove: bool = False) -> None:
        """Ends every job and every daemon of this cluster; ``remove`` deletes its folder, too."""
        if self.is_running("slurmctld"):
            self._slurm("scancel", "--user=root", check=False)
        for node in self.shape.node_names:
            self.stop_daemon(node)
        self._end_jobs()
        for daemon in ("slurmctld", "slurmdbd", "mariadbd", "munged"):
            self.stop_daemon(daemon)
        if remove:
            shutil.rmtree(self.folder, ignore_errors=True)

    def reconfigure(self, shape: Shape) -> None:
        """Changes the configuration of a running cluster; its ports and nodes must stay the same."""
        self.shape = shape
        write_configuration(self.folder, self.shape)
        self._slurm("scontrol", "reconfigure")

    def start_daemon(self, name: str) -> None:
        """Starts one daemon in the background, unless it runs."""
        if self.is_running(name):
            return
        command = self._command(name)
        with (self.folder / "log" / f"{name}.out").open("ab") as out:
            process = subprocess.Popen(
                [path_of(command[0]), *command[1:]],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                cwd=self.folder,
            )
        self._pid_file(name).write_text(f"{process.pid} {_start_time(process.pid)}")

    def stop_daemon(self, name: str, how: signal.Signals = signal.SIGTERM, within: float = 15) -> None:
        """Ends one daemon by its process id; one that does not end within that many seconds is killed."""
        pid = self._pid(name)
        if pid is None:
            return
        _signal(pid, how)
        try:
            _wait_until(f"{name} ends", lambda: not self.is_running(name), within)
        except TimeoutError:
            _signal(pid, signal.SIGKILL)
            _wait_until(f"{name} ends", lambda: not self.is_running(name), within)
        self._pid_file(name).unlink(missing_ok=True)

    def is_running(self, name: str) -> bool:
        return self._pid(name) is not None

    def _pid(self, name: str) -> int | None:
        try:
            pid, started = self._pid_file(name).read_text().split()
        except (FileNotFoundError, ValueError):
            return None
        # A process id is used again in time: the start time tells this cluster's daemon from a stranger.
        return int(pid) if _start_time(int(pid)) == started else None

    def _pid_file(self, name: str) -> Path:
        return self.folder / f"{name}.pid"

    def _command(self, name: str) -> list[str]:
        folder, shape = self.folder, self.shape
        if name == "munged":
            files = {"key-file": "munge.key", "socket": "munge.socket", "pid-file": "munged.own.pid"}
            files |= {"log-file": "log/munged.log", "seed-file": "munged.seed"}
            # --force: the folder may be private; everything here runs as root.
            return [
                "munged",
                "--foreground",
                "--force",
                *(f"--{option}={folder / file}" for option, file in files.items()),
            ]
        if name == "mariadbd":
            return [
                *("mariadbd", "--no-defaults", "--user=root", f"--datadir={folder}/mysql", "--bind-address=127.0.0.1"),
                *(f"--port={shape.port + 2}", f"--socket={folder}/mysql.socket", f"--pid-file={folder}/mysql.own.pid"),
                *("--innodb-buffer-pool-size=64M", "--innodb-lock-wait-timeout=900", "--skip-log-bin"),
            ]
        if name in ("slurmctld", "slurmdbd"):
            return [name, "-D"]
        return ["slurmd", "-D", "-N", name]

    def _start_accounting(self) -> None:
        folder, shape = self.folder, self.shape
        if not (folder / "mysql").exists():
            with (folder / "log" / "mariadb-install.out").open("wb") as out:
                subprocess.run(
                    [
                        "mariadb-install-db",
                        "--no-defaults",
                        "--user=root",
                        f"--datadir={folder}/mysql",
                        "--skip-test-db",
                    ],
                    check=True,
                    stdout=out,
                    stderr=out,
                )
        self.start_daemon("mariadbd")
        client = ["mariadb", "--no-defaults", f"--socket={folder}/mysql.socket"]
        _wait_until("MariaDB answers", lambda: _succeeds([*client, "-e", "SELECT 1"]), 60)
        password_file = folder / "mysql.password"
        if not password_file.exists():
            password_file.touch(mode=0o600)
            password_file.write_text(secrets.token_hex(16))
        password = password_file.read_text()
        statements = (
            "CREATE DATABASE IF NOT EXISTS slurm_acct_db;"
            f"CREATE USER IF NOT EXISTS 'slurm'@'127.0.0.1' IDENTIFIED BY '{password}';"
            f"CREATE USER IF NOT EXISTS 'slurm'@'localhost' IDENTIFIED BY '{password}';"
            "GRANT ALL ON slurm_acct_db.* TO 'slurm'@'127.0.0.1';"
            "GRANT ALL ON slurm_acct_db.* TO 'slurm'@'localhost';"
        )
        subprocess.run(client, input=statements, text=True, check=True)
        write_slurmdbd_conf(folder, shape, password)
        self.start_daemon("slurmdbd")
        _wait_until(
            "slurmdbd answers", lambda: self._slurm("sacctmgr", "-n", "show", "cluster", check=False)[0] == 0, 60
        )
        self._slurm("sacctmgr", "-i", "add", "cluster", "one-machine", check=False)
        self._slurm("sacctmgr", "-i", "add", "account", "c4", check=False)
        self._slurm("sacctmgr", "-i", "add", "user", "root", "account=c4", check=False)
        self._slurm("sacctmgr", "-i", "modify", "qos", "normal", "set", "priority=100", check=False)
        self._slurm("sacctmgr", "-i", "add", "qos", "backlog", "priority=1", check=False)
        self._slurm("sacctmgr", "-i", "modify", "user", "root", "set", "qos=normal,backlog", check=False)
        self._slurm("sacctmgr", "-i", "modify", "user", "root", "set", "defaultqos=normal", check=False)

    def _slurm(self, *command: str, check: bool = True) -> tuple[int, str]:
        try:
            done = subprocess.run(
                command, env=self.environment, capture_output=True, text=True, timeout=20, check=check
            )
        except subprocess.TimeoutExpired:
            return 124, ""
        return done.returncode, done.stdout

    def _end_jobs(self) -> None:
        """Jobs and their slurmstepd outlive a slurmd. Their environment names this cluster's configuration."""
        mine = f"SLURM_CONF={self.conf}".encode()
        for process in Path("/proc").glob("[0-9]*"):
            try:
                environment = (process / "environ").read_bytes().split(b"\0")
                name = (process / "comm").read_text().strip()
            except OSError:
                continue
            of_a_job = any(variable.startswith(b"SLURM_JOB_ID=") for variable in environment)
            if mine in environment and (of_a_job or name == "slurmstepd"):
                _signal(int(process.name), signal.SIGKILL)


def _start_time(pid: int) -> str:
    """Clock ticks after boot at which a process started; empty if it has ended (or waits to be reaped)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    if fields[0] in "ZX":
        return ""
    return fields[19]


def _signal(pid: int, how: signal.Signals) -> None:
    try:
        os.kill(pid, how)
    except ProcessLookupError:
        return


def _succeeds(command: list[str]) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _wait_until(what: str, happened: Callable[[], bool], within: float) -> None:
    end = time.monotonic() + within
    while not happened():
        if time.monotonic() > end:
            raise TimeoutError(f"Waited {within:g} s in vain until {what}; see the folder log of the cluster.")
        time.sleep(0.05)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="A whole Slurm cluster on one machine.")
    commands = parser.add_subparsers(dest="command", required=True)
    start = commands.add_parser("start", help="start a cluster and wait until it takes jobs")
    stop = commands.add_parser("stop", help="end a cluster, its jobs and its daemons")
    for command in (start, stop):
        command.add_argument("--folder", type=Path, required=True, help="everything that the cluster writes")
    defaults = Shape()
    for name, default in asdict(defaults).items():
        option = f"--{name.replace('_', '-')}"
        if isinstance(default, bool):
            start.add_argument(option, action="store_true")
        else:
            start.add_argument(option, type=int, default=default, help=f"default {default}")
    stop.add_argument("--remove", action="store_true", help="delete the folder, too")
    arguments = parser.parse_args()
    if arguments.command == "start":
        cluster = Cluster(arguments.folder, Shape(**{name: getattr(arguments, name) for name in asdict(defaults)}))
        try:
            cluster.start()
        except NotInstalled as error:
            raise SystemExit(str(error)) from error
        sys.stdout.write(f"export SLURM_CONF={cluster.conf}\n")
    else:
        Cluster.found_in(arguments.folder).stop(remove=arguments.remove)


if __name__ == "__main__":
    main()
