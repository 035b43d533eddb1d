"""One materialisation of a day on which several models worked: the current model's numbers first, and all checks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

from c4_assets.checks.data_checks import Judged
from c4_assets.checks.pictures import Pictures
from c4_assets.models.classifier import Classifier
from c4_assets.runs.check_results import Evaluated, evaluated
from c4_assets.runs.days import Result
from c4_assets.runs.metadata import scorer_version_metadata


@dataclass(frozen=True)
class ModelDay:
    """What a step did for one model on one day: numbers and pictures, and what checks say of them.

    ``pictures`` is where those of offending images come from.
    """

    model: Classifier
    metadata: Mapping[str, Any]
    judged: Judged
    pictures: Pictures

    @property
    def evaluated(self) -> Evaluated:
        return evaluated(self.judged, self.pictures)


def by_model(days: Sequence[ModelDay]) -> Result:
    """The result of a day.

    The current model's metadata stand under their own names, so that Dagster plots them over partitions whatever other
    models there are; those of another model under its name. A check that the current model passes and another does not
    warns, and blocks nothing: people see the current model's scores.

    Args:
        days: of the active models, the current one first.
    """
    results: dict[str, dg.AssetCheckResult] = {}
    metadata: dict[str, Any] = {}
    for number, day in enumerate(days):
        checked = day.evaluated
        found = {**day.metadata, **checked.metadata, **scorer_version_metadata(day.model.version.name)}
        prefix = f"{day.model.name}: " if number else ""
        # Names with a slash are Dagster's own.
        metadata |= {f"{prefix}{name}": value for name, value in found.items() if not (number and "/" in name)}
        for result in checked.check_results:
            name = result.check_name or ""
            if not number:
                results[name] = result
            elif not result.passed and results[name].passed:
                results[name] = _warning(day.model.name, result)
    return dg.MaterializeResult(metadata=metadata, check_results=list(results.values()))


def _warning(model: str, result: dg.AssetCheckResult) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        check_name=result.check_name,
        passed=False,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{model}: {result.description}",
        metadata=result.metadata,
    )
