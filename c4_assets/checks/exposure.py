"""Whether a picture shows anything: what the graph's checks call black or saturated, image by image."""

from resources.records import Appearance
from resources.settings.checks import ExposureThresholds

BLANK_SHARPNESS = 2.0
"""Variance of the Laplacian below which a picture is one even tone. Real empty wells have 25 and more (60 images of
two imagers): a camera has noise, and a placeholder that a program wrote has none."""


def exposure_fault(appearance: Appearance | None, thresholds: ExposureThresholds) -> str | None:
    """«black», «saturated» or «blank», for a picture of which no score says anything; ``None`` for any other."""
    if appearance is None:
        return None
    if appearance.black > thresholds.black_share:
        return "black"
    if appearance.saturated > thresholds.saturated_share:
        return "saturated"
    return "blank" if appearance.sharpness < BLANK_SHARPNESS else None
