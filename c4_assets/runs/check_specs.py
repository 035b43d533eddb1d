"""The checks of an asset as Dagster's ``check_specs``."""

import warnings

import dagster as dg

from c4_assets.checks.catalogue import checks_of, severity_of


def specs_of(asset: str, partitions: dg.PartitionsDefinition[str]) -> list[dg.AssetCheckSpec]:
    """The ``check_specs`` of an asset.

    Only a check of a whole partition is blocking in Dagster's sense, which fails the step. A check that withholds an
    inspection is not, because the others of its day go on.
    """
    with warnings.catch_warnings():
        # Dagster warns at every import that checks of partitions are a preview.
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
