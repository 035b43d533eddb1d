"""Plates whose scores are judged, and what the checks of a run said of them."""

from collections.abc import Mapping

import dagster as dg

from tests.conftest import Facility, photograph

PLATE: Mapping[str, bytes | None] = {f"{n:02d}.jpg": photograph(n) for n in range(24)}
OTHER: Mapping[str, bytes | None] = {f"{n:02d}.jpg": photograph(100 + n) for n in range(24)}

Failed = dict[str, dg.AssetCheckEvaluation]


def evaluations(result: dg.ExecuteInProcessResult) -> Failed:
    return {evaluation.check_name: evaluation for evaluation in result.get_asset_check_evaluations()}


def failed(result: dg.ExecuteInProcessResult) -> Failed:
    return {name: evaluation for name, evaluation in evaluations(result).items() if not evaluation.passed}


def named(evaluation: dg.AssetCheckEvaluation) -> str:
    return str(evaluation.metadata["rows"].value)


def scored_plates(facility: Facility) -> dict[str, int]:
    query = (
        "select p.barcode, count(*) as n from scores s join images i on i.id = s.image_id "
        "join inspections n on n.id = i.inspection_id join plates p on p.id = n.plate_id group by p.barcode"
    )
    return {row.barcode: row.n for row in facility.rows(query)}
