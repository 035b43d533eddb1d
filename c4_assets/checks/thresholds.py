"""The thresholds of all checks: one YAML file with explained defaults, and a site's file over it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from resources.errors import ConfigurationError
from resources.executors.step_resources import validation_message

DEFAULT_THRESHOLDS = Path(__file__).with_name("thresholds.yaml")


class _ThresholdGroup(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ImageThresholds(_ThresholdGroup):
    """Files and their number."""

    plate_format: int = Field(ge=1)
    settling_hours: float = Field(ge=0)
    least_kilobytes: float = Field(ge=0)
    least_of_median: float = Field(ge=0, le=1)
    hours_from_inspection: float = Field(gt=0)
    one_frame_share: float = Field(gt=0, le=1)


class ExposureThresholds(_ThresholdGroup):
    """What the pixels show."""

    black_share: float = Field(gt=0, le=1)
    saturated_share: float = Field(gt=0, le=1)
    unexposed_share: float = Field(gt=0, le=1)


class ProbabilityThresholds(_ThresholdGroup):
    """What the model says."""

    sum_tolerance: float = Field(gt=0, lt=1)
    same_vector_share: float = Field(gt=0, le=1)
    least_images: int = Field(ge=2)


class PredictionThresholds(_ThresholdGroup):
    """What a day looks like."""

    stability_index: float = Field(gt=0)
    trailing_days: int = Field(ge=1)
    least_images: int = Field(ge=1)
    most_crystals: float = Field(gt=0, le=1)


class RowThresholds(_ThresholdGroup):
    """What the database holds."""

    probability_tolerance: float = Field(gt=0, lt=1)


class LabelThresholds(_ThresholdGroup):
    """What people say."""

    scorers: tuple[str, ...]
    least_kappa: float = Field(ge=-1, le=1)
    least_images: int = Field(ge=2)
    below_other_scorers: float = Field(gt=0, le=1)
    least_category_share: float = Field(ge=0, le=1)
    near_duplicate_bits: int = Field(ge=0, le=256)
    compared_weeks: int = Field(ge=1)
    held_out_plates: tuple[str, ...]


class Thresholds(_ThresholdGroup):
    """See ``thresholds.yaml``, which explains each of them."""

    images: ImageThresholds
    exposure: ExposureThresholds
    probabilities: ProbabilityThresholds
    predictions: PredictionThresholds
    rows: RowThresholds
    labels: LabelThresholds

    @classmethod
    def load(cls, site: Path | None = None) -> "Thresholds":
        """The defaults, with what a site's file changes.

        Raises:
            ConfigurationError: the file cannot be read, or a key or value of it cannot be used.
        """
        content = yaml.safe_load(DEFAULT_THRESHOLDS.read_text(encoding="utf-8"))
        if site is not None:
            try:
                own = yaml.safe_load(site.read_text(encoding="utf-8")) or {}
            except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
                raise ConfigurationError(f"C4_CHECKS_CONFIG={site} cannot be read: {error}.") from error
            content = _merged(content, own)
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            raise ConfigurationError(f"C4_CHECKS_CONFIG={site} cannot be used: {validation_message(error)}.") from error


def _merged(defaults: Any, own: Any) -> Any:
    if not isinstance(defaults, Mapping) or not isinstance(own, Mapping):
        return own
    return {**defaults, **{key: _merged(defaults.get(key), value) for key, value in own.items()}}
