"""The files of a Slurm cluster whose nodes are all on one machine. Standard library only."""

import json
import os
import secrets
import socket
from dataclasses import asdict, dataclass
from pathlib import Path

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

    @property
    def node_names(self) -> list[str]:
        """n1, n2, …"""
        return [f"n{number}" for number in range(1, self.nodes + 1)]


def write_configuration(folder: Path, shape: Shape) -> None:
    """Writes everything that munge and Slurm read, and ``shape.json``. The key that is there stays."""
    for part in ("log", "state", "spool", "dev", *(f"spool/{node}" for node in shape.node_names)):
        (folder / part).mkdir(parents=True, exist_ok=True)
    (folder / "shape.json").write_text(json.dumps(asdict(shape)))
    if not (folder / "munge.key").exists():
        (folder / "munge.key").write_bytes(secrets.token_bytes(1024))
        (folder / "munge.key").chmod(0o400)
    for number in range(shape.gpus):
        device = folder / "dev" / f"nvidia{number}"
        if not device.exists():
            os.mknod(device, 0o666 | 0o020000, os.makedev(1, 3))  # a character device that is /dev/null
    gpu_nodes = shape.node_names[1:]
    host = host_name()
    node_lines = [
        f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={shape.port + 2 + number} CPUs={shape.cpus} "
        f"CoresPerSocket={shape.cpus} RealMemory={shape.memory_mb} State=UNKNOWN"
        + (f" Gres=gpu:{shape.gpus}" if name in gpu_nodes else "")
        for number, name in enumerate(shape.node_names, start=1)
    ]
    (folder / "slurm.conf").write_text(
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


def write_slurmdbd_conf(folder: Path, shape: Shape, password: str) -> None:
    """Writes the configuration of the accounting daemon, for root alone: it holds the database's password."""
    conf = folder / "slurmdbd.conf"
    conf.touch(mode=0o600)
    ports = {"port": shape.port + 1, "sql_port": shape.port + 2}
    conf.write_text(SLURMDBD_CONF.format(host=host_name(), folder=folder, password=password, **ports))
    conf.chmod(0o600)


def host_name() -> str:
    """This machine's name as Slurm's daemons find it."""
    return socket.gethostname().split(".")[0]
