"""How many images the first step of a run has left for want of room in staging."""

from datetime import date

import dagster as dg

from c4_assets.runs.metadata import IMAGES_LEFT_KEY

FIRST_STEP = dg.AssetKey("raw_inspection_images")

LOOKED_AT = 20
"""Newest materialisations of a day among which a run's own is looked for: others may have staged it meanwhile."""


def images_left(context: dg.AssetExecutionContext, day: date) -> int:
    """Images of a day for which staging had no room, as this run or the one that it repeats has reported.

    0 where neither has staged the day: then nothing is known to be left.
    """
    run = context.run
    mine = {run.run_id, run.parent_run_id, run.root_run_id}
    of_day = dg.AssetRecordsFilter(asset_key=FIRST_STEP, asset_partitions=[day.isoformat()])
    for record in context.instance.fetch_materializations(of_day, limit=LOOKED_AT).records:
        if record.run_id in mine and record.asset_materialization:
            left = record.asset_materialization.metadata[IMAGES_LEFT_KEY].value
            return left if isinstance(left, int) else 0
    return 0
