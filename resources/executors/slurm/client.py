"""Slurm's command line in text mode, for many jobs at once.

It reads text, because the JSON of Slurm 22.05 is wrong (``squeue --json`` ignores ``-j``; ``sacct --json`` reports a
job that exited with 3 as a success) and the REST API is bound to a version. A controller that does not answer is never
taken for a job that is gone: :meth:`SlurmClient.poll` tells the two apart, and every command has a time-out of its own
(Slurm waits 18 s).
"""

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from resources.errors import C4Error, ConfigurationError, Unavailable
from resources.executors.slurm.accounts import SACCT_FIELDS, read_sacct, read_scontrol
from resources.executors.slurm.job import Job, JobEnd
from resources.executors.slurm.transport import Completed, Transport

UNREACHABLE_MESSAGES = re.compile(
    r"unable to contact|connect(ion)? (failure|refused)|timed? ?out|zero bytes|communication|unexpected message|"
    r"temporarily unable|try again|slurm_persist_conn|problem talking to",
    re.IGNORECASE,
)
"""What Slurm's commands print when the controller did not answer, or when its answer was lost."""


class SubmissionRefused(C4Error):
    """Slurm refused a job and would refuse it again. The message has Slurm's reason."""


@dataclass(frozen=True)
class Poll:
    """The answer to one query about many jobs. Jobs that Slurm does not know, or no longer knows, are absent.

    ``unreachable`` says why there is no answer; nothing is known about any job then.
    """

    jobs: Mapping[str, Job] = field(default_factory=dict[str, Job])
    unreachable: str | None = None


@dataclass(frozen=True)
class Partition:
    """A partition; ``gpus`` is the number in all its nodes."""

    name: str
    up: bool
    gpus: int


class SlurmClient:
    """Submits, watches and cancels jobs. Holds no state but whether the cluster keeps accounts.

    Args:
        timeout: seconds that any command but sbatch may take.
        submit_timeout: seconds that sbatch may take: it waits itself while a controller is busy.
    """

    def __init__(self, transport: Transport, timeout: float = 10, submit_timeout: float = 60) -> None:
        self.transport = transport
        self.calls = 0
        self._timeout = timeout
        self._submit_timeout = submit_timeout
        self._accounts = True

    def submit(self, script: Path) -> str:
        """Submits a job script and returns the job's id.

        Raises:
            SubmissionRefused: Slurm does not accept the job.
            Unavailable: no answer, or a lost one: **the job may have been submitted**. Look its name up with
                :meth:`find` before submitting it again.
        """
        done = self._run("sbatch", "--parsable", str(script), timeout=self._submit_timeout)
        # A site's wrapper around sbatch may add lines of its own.
        answer = re.search(r"^(\d+)(?:;(\S+))?$", done.out, re.MULTILINE)
        if done.code == 0 and answer and answer[2]:
            self._run("scancel", f"--clusters={answer[2]}", answer[1])
            raise SubmissionRefused(
                f"sbatch on {self.transport.name} gave the job to the cluster {answer[2]}, where C4 does not ask for "
                "it; it was cancelled. What is run as sbatch must leave the cluster alone."
            )
        if done.code == 0 and answer:
            return answer[1]
        message = _errors(done)
        if done.code == 0 or UNREACHABLE_MESSAGES.search(message):
            raise Unavailable(f"sbatch on {self.transport.name} gave no sure answer: {message}")
        raise SubmissionRefused(f"Slurm refused the job: {message}")

    def refusal(self, script: Path) -> str | None:
        """Why sbatch would refuse a job script; ``None`` if it would accept it. Submits nothing.

        Raises:
            Unavailable: the controller did not answer.
        """
        done = self._run("sbatch", "--test-only", str(script), timeout=self._submit_timeout)
        message = _errors(done)
        if done.code and UNREACHABLE_MESSAGES.search(message):
            raise Unavailable(f"sbatch on {self.transport.name}: {message}")
        return message if done.code else None

    def poll(self, job_ids: Iterable[str]) -> Poll:
        """Asks for the state of many jobs with one command. Never raises when the cluster does not answer."""
        wanted = ",".join(job_ids)
        if not wanted:
            return Poll()
        try:
            return Poll({job.job_id: job for job in self._queue(f"--jobs={wanted}")})
        except Unavailable as error:
            return Poll(unreachable=str(error))

    def find(self, name: str) -> list[Job]:
        """Finds jobs by name that are in the queue or ended a short while ago, oldest first.

        Raises:
            Unavailable: the controller did not answer.
        """
        # A refused submission stays in the queue for a while as well: as a failed job that never had a node.
        jobs = [job for job in self._queue(f"--name={name}") if job.nodes or job.state != "FAILED"]
        return sorted(jobs, key=lambda job: int(re.sub(r"\D.*", "", job.job_id) or 0))

    def cancel(self, job_ids: Sequence[str]) -> None:
        """Cancels jobs. Jobs that have ended or are unknown are ignored.

        Raises:
            Unavailable: the controller did not answer: they may run on.
        """
        if job_ids:
            done = self._run("scancel", *job_ids)
            message = _errors(done)
            if done.code and not re.search(r"invalid job id|already|completing", message, re.IGNORECASE):
                raise Unavailable(f"scancel on {self.transport.name}: {message}")

    def ends(self, job_ids: Sequence[str]) -> dict[str, JobEnd]:
        """How jobs ended, from the accounts or, where the cluster keeps none, from the controller's memory.

        Jobs that these do not know are absent, and so are jobs that have not ended according to them.
        """
        if not job_ids:
            return {}
        ends = self._from_accounts(job_ids)
        for job_id in job_ids:
            if job_id not in ends and (end := self._from_controller(job_id)):
                ends[job_id] = end
        return ends

    def version(self) -> str:
        """The version of Slurm's commands: ``slurm 22.05.8``.

        Raises:
            ConfigurationError: what is called sinfo there is not Slurm's.
        """
        done = self._run("sinfo", "--version")
        if found := re.search(r"^slurm\S* \S+", done.out, re.MULTILINE):
            return found[0]
        raise ConfigurationError(f"sinfo --version on {self.transport.name} names no version of Slurm: {_errors(done)}")

    def partitions(self) -> dict[str, Partition]:
        """The cluster's partitions by name.

        Raises:
            Unavailable: the controller did not answer.
        """
        done = self._run("sinfo", "--noheader", "--all", "--format=%R|%a|%D|%G")
        if done.code:
            raise Unavailable(f"sinfo on {self.transport.name}: {_errors(done)}")
        found: dict[str, Partition] = {}
        rows = (line.strip().split("|", 3) for line in done.out.splitlines() if line.count("|") >= 3)
        for name, state, nodes, gres in rows:
            gpus = sum(map(int, re.findall(r"gpu:(?:[^:,(]+:)?(\d+)", gres))) * int(nodes)
            gpus += found[name].gpus if name in found else 0
            found[name] = Partition(name, state == "up", gpus)
        return found

    def keeps_accounts(self) -> bool:
        """Whether the cluster keeps accounts that ``sacct`` can read."""
        self.ends(["1"])
        return self._accounts

    def write_file(self, path: Path, text: str) -> None:
        """Writes a file on the machine where Slurm's commands run.

        Raises:
            Unavailable: the machine did not answer.
            ConfigurationError: the folder cannot be written to.
        """
        command = 'umask 077; mkdir -p "$1" && cat >"$2.new" && mv -f "$2.new" "$2"'
        done = self._run("sh", "-c", command, "sh", str(path.parent), str(path), stdin=text)
        if done.code:
            raise ConfigurationError(
                f"{path} cannot be written on {self.transport.name}: {done.err.strip()}. `folder` of the Slurm "
                "configuration must be a shared folder that the account of C4 may write to."
            )

    def read_files(self, paths: Sequence[Path]) -> dict[Path, str]:
        """Reads the first line of each file that exists, all with one command.

        Raises:
            Unavailable: the machine did not answer.
        """
        if not paths:
            return {}
        command = 'for f; do if [ -r "$f" ]; then read -r line <"$f"; echo "$f|$line"; fi; done'
        done = self._run("sh", "-c", command, "sh", *map(str, paths))
        rows = (line.rpartition("|") for line in done.out.splitlines())
        return {Path(path): content for path, _, content in rows}

    def read_ends(self, paths: Sequence[Path], size: int) -> list[bytes]:
        """The last bytes of each file, all with one command; none of a file that cannot be read.

        Raises:
            Unavailable: the machine did not answer.
        """
        command = 'n=$1; shift; for f; do [ -r "$f" ] && tail -c "$n" "$f" | base64 | tr -d "\\n"; echo; done'
        done = self._run("sh", "-c", command, "sh", str(size), *map(str, paths))
        lines = done.out.splitlines()
        found = lines if len(lines) == len(paths) else []
        return [base64.b64decode(line) for line in found] or [b""] * len(paths)

    def _queue(self, selection: str) -> list[Job]:
        done = self._run("squeue", "--noheader", "--all", "--states=all", "--format=%i|%j|%T|%N|%r", selection)
        if done.code and not re.search("invalid job id", done.err, re.IGNORECASE):
            raise Unavailable(f"squeue on {self.transport.name}: {_errors(done)}")
        rows = (line.split("|", 4) for line in done.out.splitlines() if line.count("|") >= 4)
        return [Job(*(part.strip() for part in row)) for row in rows]

    def _from_accounts(self, job_ids: Sequence[str]) -> dict[str, JobEnd]:
        if not self._accounts:
            return {}
        try:
            done = self._run(
                "sacct", "-n", "-P", "-D", f"--format={','.join(SACCT_FIELDS)}", f"--jobs={','.join(job_ids)}"
            )
        except Unavailable:
            return {}
        except ConfigurationError:  # there is no sacct
            self._accounts = False
            return {}
        if done.code:
            self._accounts = not re.search("disabled|not found", done.err)
            return {}
        return {
            job_id: replace(end, cancelled_by=self._user_name(end.cancelled_by)) if end.cancelled_by else end
            for job_id, end in read_sacct(done.out).items()
        }

    def _from_controller(self, job_id: str) -> JobEnd | None:
        try:
            done = self._run("scontrol", "--oneliner", "show", "job", job_id)
        except Unavailable:
            return None
        return read_scontrol(done.out) if done.code == 0 else None

    def _user_name(self, user_id: str) -> str:
        try:
            return self._run("id", "-nu", user_id).out.strip() or f"user {user_id}"
        except C4Error:
            return f"user {user_id}"

    def _run(self, *command: str, stdin: str = "", timeout: float | None = None) -> Completed:
        self.calls += 1
        return self.transport.run(command, stdin, timeout or self._timeout)


def _errors(done: Completed) -> str:
    return " ".join((done.err.strip() or done.out.strip() or f"exit code {done.code}").split())
