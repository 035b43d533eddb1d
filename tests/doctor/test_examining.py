"""Checks run side by side, none holds up another, and what they find becomes lines and a status."""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

import pytest

from c4_assets.operations.doctor.examine import Check, Examined, examine, mend
from c4_assets.operations.doctor.render import as_json, exit_status, lines_of
from resources.errors import Unavailable
from resources.findings import Finding, Verdict

PASSED, WARNED, FAILED, NOT_SEEN = Verdict


def seen(*verdicts: Verdict) -> list[Finding]:
    return [Finding(f"a.{number}", "seen", verdict) for number, verdict in enumerate(verdicts)]


@pytest.mark.parametrize(
    ("verdicts", "status"),
    [
        ((), 0),
        ((PASSED, WARNED), 0),
        ((PASSED, NOT_SEEN, WARNED), 2),
        ((NOT_SEEN, FAILED), 1),
    ],
)
def test_the_exit_status_says_well_to_mend_or_not_seen(verdicts: Sequence[Verdict], status: int) -> None:
    assert exit_status(seen(*verdicts)) == status
    assert json.loads(as_json(seen(*verdicts), str))["ok"] is (status == 0)


def check(id_: str, look: Callable[[], Iterable[Finding]], *after: str, silence: str = "") -> Check:
    return Check(id_, "Section", f"thing {id_}", look, after, patience=0.3, silence=silence)


def test_what_rests_on_something_that_fails_is_not_seen_and_names_what_is_at_the_bottom() -> None:
    bad = check("a", lambda: [Finding("a", "bad", FAILED)])
    found = examine([check("c", seen, "b"), check("b", seen, "a"), bad, check("d", lambda: seen(PASSED))])
    assert [each.findings[0].verdict for each in found] == [NOT_SEEN, NOT_SEEN, FAILED, PASSED]
    assert "rests on thing a (a)" in found[0].findings[0].what


def test_a_check_that_hangs_keeps_what_it_has_seen_and_holds_up_no_other() -> None:
    def hangs() -> Iterator[Finding]:
        yield Finding("a", "seen before")
        time.sleep(30)

    began = time.monotonic()
    late, silent, other = examine(
        [check("a", hangs), check("b", hangs, silence="Ask its administrator."), check("c", lambda: seen(PASSED))]
    )
    assert time.monotonic() - began < 3
    assert [each.verdict for each in late.findings] == [PASSED, NOT_SEEN]
    assert [each.verdict for each in silent.findings] == [PASSED, FAILED]
    assert silent.findings[1].fix == "Ask its administrator."
    assert other.holds


def test_all_checks_together_have_a_limit() -> None:
    def hangs() -> Iterator[Finding]:
        time.sleep(30)
        yield Finding("a", "never")

    began = time.monotonic()
    chain = [Check("a", "S", "a", lambda: seen(PASSED), patience=9), Check("b", "S", "b", hangs, ("a",), patience=9)]
    found = examine(chain, together=0.5)
    assert time.monotonic() - began < 2
    assert [each.findings[0].verdict for each in found] == [PASSED, NOT_SEEN]


def test_a_check_that_is_itself_broken_is_a_line() -> None:
    def broken() -> list[Finding]:
        raise KeyError("oh")

    (found,) = examine([check("a", broken)])
    assert found.findings[0].verdict is NOT_SEEN
    assert "KeyError" in found.findings[0].what


def test_checks_that_rest_on_each_other_or_on_none_are_refused() -> None:
    with pytest.raises(ValueError, match="rest on each other: a, b"):
        examine([check("a", seen, "b"), check("b", seen, "a")])
    with pytest.raises(ValueError, match="rest on z"):
        examine([check("a", seen, "z")])


def test_mending_that_fails_is_said_and_the_rest_is_mended() -> None:
    def fails() -> Iterator[str]:
        raise OSError("no room")

    broken = (Finding("a", "bad", FAILED, "do", safe=True),)
    checks = [Check("a", "S", "a", seen, mend=fails), Check("b", "S", "b", seen, mend=lambda: ["mended b"])]
    assert mend([Examined(each, broken) for each in checks]) == ["a could not be mended: no room", "mended b"]


def test_a_narrow_terminal_folds_words_and_leaves_commands_whole() -> None:
    finding = Finding(
        "a", "the folder is not there, and nobody knows why", FAILED, "mkdir -p /a/long/path/of/a/whole/site"
    )
    lines = lines_of(finding, width=30)
    assert lines[0] == "✗ the folder is not there, and"
    assert lines[1] == "  nobody knows why"
    assert lines[-1].strip() == "/a/long/path/of/a/whole/site"
    assert lines_of(finding) == ["✗ " + finding.what, "    " + finding.fix]


def test_a_terminal_without_such_characters_gets_others() -> None:
    assert lines_of(Finding("a", "seen", FAILED), encoding="ascii") == ["x seen"]


def test_what_fails_while_it_is_looked_at_has_failed_in_its_own_words_and_is_no_broken_check() -> None:
    def fails() -> Iterator[Finding]:
        yield Finding("a", "seen before")
        raise Unavailable("The disk fails.")

    (found,) = examine([check("a", fails)])
    assert [(each.verdict, each.fix) for each in found.findings] == [(PASSED, ""), (FAILED, "The disk fails.")]
