"""The output of a step on a node, as it is kept for Dagster's UI: bounded, and never cut within a secret."""

from resources.executors.slurm.step_output import shown
from resources.executors.slurm.tracker import OUTPUT_BYTES
from resources.redaction import HIDDEN


def test_of_a_long_output_the_end_is_kept_from_the_beginning_of_a_line() -> None:
    line = b"postgresql://c4:hunter2@lims/imaging\n"
    kept = shown(line * 40_000)
    first, second, *_, last = kept.splitlines()
    assert first == "… the beginning is left out"
    assert second == last == f"postgresql://c4:{HIDDEN}@lims/imaging"
    assert "hunter2" not in kept
    assert len(kept) <= OUTPUT_BYTES * 1.1
