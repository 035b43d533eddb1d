"""Findings of checks of the set-up on a console: of ``c4 doctor``, ``c4 db check`` and ``c4 slurm check`` alike."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from rich.console import Console
from rich.text import Text

from c4_assets.operations.doctor.render import STYLES, lines_of
from resources.findings import Finding
from resources.redaction import redacted


def print_sections(console: Console, sections: Mapping[str, Iterable[Finding]]) -> None:
    """Prints findings below their headings: on a terminal folded to its width, else a line each."""
    for section, findings in sections.items():
        console.print(section, style="bold")
        print_findings(console, findings)
        console.print()


def print_findings(console: Console, findings: Iterable[Finding]) -> None:
    """Prints findings, a line each, with what to do below."""
    width = console.width - 1 if console.is_terminal else None
    for finding in findings:
        clean = replace(finding, what=redacted(finding.what), fix=redacted(finding.fix))
        first, *rest = lines_of(clean, width, console.encoding)
        line = Text.assemble((first[0], STYLES[finding.verdict]), first[1:])
        console.print(line, soft_wrap=True)
        for each in rest:
            console.print(each, soft_wrap=True)
