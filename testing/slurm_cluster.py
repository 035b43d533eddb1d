#!/usr/bin/env python3
"""A whole Slurm cluster on one machine: to try C4 on Slurm, and for its tests.

    python deploy/slurm/one_machine_cluster.py start --folder /tmp/cluster     (as root; packages.txt beside this file)
    export SLURM_CONF=/tmp/cluster/slurm.conf; sinfo
    python deploy/slurm/one_machine_cluster.py stop --folder /tmp/cluster

Several emulated nodes share the machine; all but the first have GPUs, which are copies of /dev/null: Slurm counts
them, hands them out and sets CUDA_VISIBLE_DEVICES. Everything a cluster writes is in its folder, every daemon is ended
by its own process id, and clusters on different ports do not see each other. Needs no systemd and no configuration
in /etc. Standard library only.
"""

import argparse
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "scancel")
PROGRAMS_OF_ACCOUNTING = ("mariadbd", "mariadb-install-db", "slurmdbd", "sacct", "sacctmgr")

SLURM_CONF = """\
ClusterName=one-machine
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# A credential lives 5 s instead of 2 min: as long a job that is put back in the queue waits.
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.own.pid
SlurmdPidFile={folder}/slurmd-%n.own.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd-%n.log
# The nodes are emulated: no cgroups of their own, and the sizes below instead of the machine's.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SlurmdParameters=config_overrides
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
DefMemPerCPU=100
ReturnToService=2
# Faults are noticed in seconds: a dead node, a job that ignores SIGTERM, a job that has ended.
SlurmctldTimeout=30
SlurmdTimeout={node_timeout}
KillWait=3
MinJobAge={min_job_age}
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,sched_interval=3,bf_interval=3
{accounting}
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE DefaultTime=60 State=UP PriorityTier=2
PartitionName=gpu Nodes={gpu_nodes} MaxTime=INFINITE DefaultTime=60 State=UP PriorityTier=2
# The same nodes for what can wait: a job of a higher tier is always looked at first.
PartitionName=backlog Nodes=ALL MaxTime=INFINITE DefaultTime=60 State=UP PriorityTier=1
"""

ACCOUNTING = """\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={port}
# Not a password: where the munge daemon of the accounting service listens.
AccountingStoragePass={folder}/munge.socket
AccountingStorageTRES=gres/gpu
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
# The quality of service decides who comes first, and one that the account does not have is refused.
AccountingStorageEnforce=associations,qos
PriorityType=priority/multifactor
PriorityWeightQOS=1000"""

SLURMDBD_CONF = """\
DbdHost={host}
DbdAddr=127.0.0.1
DbdPort={port}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
LogFile={folder}/log/slurmdbd.log
PidFile={folder}/slurmdbd.own.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={sql_port}
StorageUser=slurm
StoragePass={password}
StorageLoc=slurm_acct_db
"""


@dataclass(frozen=True)
class Shape:
    """What the cluster is made of. ``port`` is the first of ``nodes + 3`` TCP ports, all on 127.0.0.1.

    Args:
        cpus: CPUs that each node claims.
        memory_mb: memory that each node claims, MiB.
        gpus: fake GPUs of every node but the first.
        accounting: also start MariaDB and slurmdbd, so that ``sacct`` knows the jobs.
        min_job_age: seconds for which the controller remembers a job that has ended; Slurm's own default is 300.
        node_timeout: seconds after which a node that does not answer is down.
    """

    port: int = 26810
    nodes: int = 3
    cpus: int = 8
    memory_mb: int = 32000
    gpus: int = 2
    accounting: bool = False
    min_job_age: int = 300
    node_timeout: int = 10


def missing_programs(accounting: bool = False) -> list[str]:
    """The programs that a cluster needs and this machine lacks (packages.txt names their Debian packages)."""
    wanted = PROGRAMS + (PROGRAMS_OF_ACCOUNTING if accounting else ())
    return [program for program in wanted if _program(program) is None]


class Cluster:
    """One cluster in one folder. Daemons are called by name: munged, mariadbd, slurmdbd, slurmctld, n1, n2, …"""

    def __init__(self, folder: Path, shape: Shape = Shape()) -> None:
        self.folder = folder.absolute()
        self.shape = shape
        self.conf = self.folder / "slurm.conf"
        self.environment = {**os.environ, "SLURM_CONF": str(self.conf), "LC_ALL": "C"}

    @classmethod
    def found_in(cls, folder: Path) -> "Cluster":
        """The cluster that was started in a folder."""
        return cls(folder, Shape(**json.loads((folder / "shape.json").read_text())))

    @property
    def node_names(self) -> list[str]:
        return [f"n{number}" for number in range(1, self.shape.nodes + 1)]

    def start(self) -> None:
        """Starts what is not running and returns when every node takes jobs."""
        if os.geteuid() != 0:
            raise SystemExit("The one-machine cluster must be started as root: slurmd starts jobs under their users.")
        if missing := missing_programs(self.shape.accounting):
            raise SystemExit(f"Not installed: {', '.join(missing)}. Install the packages of deploy/slurm/packages.txt.")
        self._write_configuration()
        self.start_daemon("munged")
        _wait_until("munged answers", (self.folder / "munge.socket").exists, 10)
        if self.shape.accounting:
            self._start_accounting()
        self.start_daemon("slurmctld")
        for node in self.node_names:
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
        for node in self.node_names:
            self.stop_daemon(node)
        self._end_jobs()
        for daemon in ("slurmctld", "slurmdbd", "mariadbd", "munged"):
            self.stop_daemon(daemon)
        if remove:
            shutil.rmtree(self.folder, ignore_errors=True)

    def reconfigure(self, shape: Shape) -> None:
        """Changes the configuration of a running cluster; its ports and nodes must stay the same."""
        self.shape = shape
        self._write_configuration()
        self._slurm("scontrol", "reconfigure")

    def start_daemon(self, name: str) -> None:
        """Starts one daemon in the background, unless it runs."""
        if self.is_running(name):
            return
        command = self._command(name)
        with (self.folder / "log" / f"{name}.out").open("ab") as out:
            process = subprocess.Popen(
                [_program(command[0]) or command[0], *command[1:]],
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

    def _write_configuration(self) -> None:
        folder, shape = self.folder, self.shape
        for part in ("log", "state", "spool", "dev"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        for node in self.node_names:
            (folder / "spool" / node).mkdir(exist_ok=True)
        (folder / "shape.json").write_text(json.dumps(asdict(shape)))
        host = socket.gethostname().split(".")[0]
        gpu_nodes = self.node_names[1:]
        if not (folder / "munge.key").exists():
            (folder / "munge.key").write_bytes(secrets.token_bytes(1024))
            (folder / "munge.key").chmod(0o400)
        for number in range(shape.gpus):
            device = folder / "dev" / f"nvidia{number}"
            if not device.exists():
                os.mknod(device, 0o666 | 0o020000, os.makedev(1, 3))  # a character device that is /dev/null
        node_lines = [
            f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={shape.port + 2 + number} CPUs={shape.cpus} "
            f"CoresPerSocket={shape.cpus} RealMemory={shape.memory_mb} State=UNKNOWN"
            + (f" Gres=gpu:{shape.gpus}" if name in gpu_nodes else "")
            for number, name in enumerate(self.node_names, start=1)
        ]
        self.conf.write_text(
            SLURM_CONF.format(
                host=host,
                port=shape.port,
                folder=folder,
                min_job_age=shape.min_job_age,
                node_timeout=shape.node_timeout,
                accounting=ACCOUNTING.format(port=shape.port + 1, folder=folder) if shape.accounting else "",
                nodes="\n".join(node_lines),
                gpu_nodes=",".join(gpu_nodes),
            )
        )
        devices = f"{folder}/dev/nvidia[0-{shape.gpus - 1}]" if shape.gpus > 1 else f"{folder}/dev/nvidia0"
        gres = [f"NodeName={name} Name=gpu File={devices}" for name in gpu_nodes]
        (folder / "gres.conf").write_text("\n".join(["AutoDetect=off", *gres]) + "\n")
        (folder / "cgroup.conf").write_text("CgroupAutomount=no\n")

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
        conf = folder / "slurmdbd.conf"
        conf.touch(mode=0o600)
        host = socket.gethostname().split(".")[0]
        conf.write_text(
            SLURMDBD_CONF.format(
                host=host, port=shape.port + 1, sql_port=shape.port + 2, folder=folder, password=password
            )
        )
        conf.chmod(0o600)
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


def _program(name: str) -> str | None:
    return shutil.which(name, path=os.environ.get("PATH", "") + os.pathsep + "/usr/sbin:/sbin")


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
        cluster.start()
        sys.stdout.write(f"export SLURM_CONF={cluster.conf}\n")
    else:
        Cluster.found_in(arguments.folder).stop(remove=arguments.remove)


if __name__ == "__main__":
    main()
