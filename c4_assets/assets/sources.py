"""What others put into the imaging database: the ends of the lineage that C4 does not make."""

import dagster as dg

from c4_assets.runs.freshness import POLICIES
from c4_assets.runs.metadata import FACILITY, GROUP

inspections = dg.AssetSpec(
    "inspections",
    group_name=GROUP,
    kinds={"sql"},
    owners=[FACILITY],
    description="Inspections and their images, as the imagers pushed them into the imaging database.",
    freshness_policy=POLICIES["inspections"],
)

human_scores = dg.AssetSpec(
    "human_scores",
    group_name=GROUP,
    kinds={"sql"},
    owners=[FACILITY],
    description="What crystallographers scored: rows of `scores` without a scorer version.",
)
