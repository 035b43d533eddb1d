"""All checks, by asset."""

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
