"""All checks, and what Dagster is told of them."""

import warnings

import dagster as dg

from c4_assets.checks import images, labels, predictions, probabilities, rows
from c4_assets.checks.check import Check

CHECKS: tuple[Check, ...] = (*images.CHECKS, *probabilities.CHECKS, *predictions.CHECKS, *rows.CHECKS, *labels.CHECKS)

_STOPS = {
    "inspection": "Blocking: the inspection is withheld from the database.",
    "step": "Blocking: the step fails.",
    "label": "Blocking: the label is left out.",
}


def checks_of(asset: str) -> tuple[Check, ...]:
    """The checks that an asset's step evaluates."""
    return tuple(check for check in CHECKS if check.asset == asset)


def withholding_checks(asset: str) -> tuple[Check, ...]:
    """The checks of an asset that withhold an inspection."""
    return tuple(check for check in checks_of(asset) if check.stops == "inspection")


def severity_of(check: Check) -> str:
    """What a failure of the check does, in a sentence."""
    return _STOPS[check.stops] if check.stops else f"{check.severity.capitalize()}."


def specs_of(asset: str, partitions: dg.PartitionsDefinition[str]) -> list[dg.AssetCheckSpec]:
    """The ``check_specs`` of an asset.

    Only a check of a whole partition is blocking in Dagster's sense, which fails the step. One that withholds an
    inspection is not: the others of its day go on.
    """
    with warnings.catch_warnings():
        # Checks of single partitions are new in Dagster, and it says so at every import.
        warnings.filterwarnings("ignore", message=".*partitions_def.*")
        return [
            dg.AssetCheckSpec(
                check.name,
                asset=asset,
                description=f"{check.holds} {severity_of(check)}",
                blocking=check.stops == "step",
                partitions_def=partitions,
            )
            for check in checks_of(asset)
        ]
