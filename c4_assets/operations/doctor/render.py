"""What was found, as lines for people and as JSON for programs, and the exit status."""

import json
import textwrap
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from c4_assets.operations.doctor.examine import Examined
from resources.findings import Finding, Verdict

MARKS = {Verdict.PASSED: "✓", Verdict.WARNED: "!", Verdict.FAILED: "✗", Verdict.NOT_SEEN: "?"}

PLAIN_MARKS = {Verdict.PASSED: "+", Verdict.WARNED: "!", Verdict.FAILED: "x", Verdict.NOT_SEEN: "?"}
"""For terminals that know no other characters than ASCII's."""

STYLES = {Verdict.PASSED: "green", Verdict.WARNED: "yellow", Verdict.FAILED: "bold red", Verdict.NOT_SEEN: "magenta"}

WELL, TO_MEND, NOT_SEEN = 0, 1, 2
"""Exit statuses."""

Redact = Callable[[str], str]


def exit_status(findings: Iterable[Finding]) -> int:
    """0 where all is well but for warnings, 1 where something is to be mended, 2 where something was not seen."""
    verdicts = {finding.verdict for finding in findings}
    if Verdict.FAILED in verdicts:
        return TO_MEND
    return NOT_SEEN if Verdict.NOT_SEEN in verdicts else WELL


def lines_of(finding: Finding, width: int | None = None, encoding: str = "utf-8") -> list[str]:
    """A finding as lines: what was seen, and indented below it what to do.

    Args:
        width: characters of the terminal. Without one nothing is folded, so that what is piped stays a line.
        encoding: the terminal's, whose characters are used.
    """
    what = textwrap.fill(_one_line(finding.what), width or 10**6, subsequent_indent="  ", **_FOLDING).splitlines()
    marks = MARKS if _can_write("".join(MARKS.values()), encoding) else PLAIN_MARKS
    lines = [f"{marks[finding.verdict]} {what[0] if what else ''}", *what[1:]]
    for paragraph in finding.fix.splitlines():
        folded = textwrap.fill(
            paragraph, width or 10**6, initial_indent="    ", subsequent_indent="    ", **_FOLDING
        ).splitlines()
        lines += folded
    return lines


_FOLDING: Any = {"break_long_words": False, "break_on_hyphens": False, "replace_whitespace": False}
"""A path or command that is longer than the terminal stays whole, so that it can be copied."""


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _can_write(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def by_section(examined: Sequence[Examined]) -> dict[str, list[Finding]]:
    """The findings below their headings, in the order in which these first come."""
    sections: dict[str, list[Finding]] = {}
    for each in examined:
        sections.setdefault(each.check.section, []).extend(each.findings)
    return sections


def summary(findings: Sequence[Finding]) -> str:
    """How it ended, in one sentence."""
    count = {verdict: sum(each.verdict is verdict for each in findings) for verdict in Verdict}
    parts = [
        f"{count[verdict]} {words}"
        for verdict, words in (
            (Verdict.FAILED, "to mend"),
            (Verdict.NOT_SEEN, "not seen"),
            (Verdict.WARNED, "to look at"),
        )
        if count[verdict]
    ]
    return f"{count[Verdict.PASSED]} well" + (f", {', '.join(parts)}." if parts else ".")


def as_json(findings: Iterable[Finding], redact: Redact, mended: Sequence[str] | None = None) -> str:
    """One object: ``ok``, ``checks`` with ``id``, ``status``, ``what``, ``fix`` and ``seconds``, and what was mended.

    Names stay as they are from release to release; more of them may come.
    """
    found = list(findings)
    report: dict[str, Any] = {
        "ok": exit_status(found) == WELL,
        "checks": [
            {
                "id": each.id,
                "status": each.verdict.value,
                "what": redact(each.what),
                "fix": redact(each.fix),
                "seconds": round(each.seconds, 3),
            }
            for each in found
        ],
    }
    if mended is not None:
        report["mended"] = [redact(each) for each in mended]
    return json.dumps(report, indent=2, ensure_ascii=False)
