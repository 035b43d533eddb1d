"""What every asset declares in the same way: the deployment, owners, retries and kinds of metadata."""

import dagster as dg

from c4_assets.marco.classifier import Classifier
from resources.settings import Settings

SETTINGS = Settings.from_environment()
"""The deployment's settings, read when the code location is loaded."""

SCORER = Classifier(SETTINGS).version
"""The scorer version of this deployment: the ``code_version`` of every asset whose content depends on it."""

FACILITY = "team:crystallisation-facility"

CPU_RETRIES = dg.RetryPolicy(max_retries=3, delay=10, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS)
"""A database or storage host that goes away is usually back within a minute (10 + 20 + 40 s)."""

GPU_RETRIES = dg.RetryPolicy(max_retries=1, delay=10)
"""A node that dies under a step: once more elsewhere. Finished inspections are not classified again."""


def column_schema(**columns: str) -> dict[str, dg.TableSchemaMetadataValue]:
    """Metadata that shows a dataset's columns (name: Arrow type) on the asset's page."""
    schema = dg.TableSchema(columns=[dg.TableColumn(name, kind) for name, kind in columns.items()])
    return {"dagster/column_schema": dg.MetadataValue.table_schema(schema)}


def column_lineage(upstream: str, *columns: str, **derived: tuple[str, ...]) -> dict[str, dg.MetadataValue]:
    """Metadata that shows which columns of an upstream asset a dataset's columns come from.

    Args:
        columns: taken over under the same name.
        derived: name of a column: names of the upstream columns that it is made of.
    """
    made_of = {**{name: (name,) for name in columns}, **derived}
    lineage = dg.TableColumnLineage(
        {
            name: [dg.TableColumnDep(dg.AssetKey(upstream), column) for column in sources]
            for name, sources in made_of.items()
        }
    )
    return {"dagster/column_lineage": dg.MetadataValue.column_lineage(lineage)}


def scorer_version(name: str) -> dg.MetadataValue:
    """The scorer version that a materialisation belongs to."""
    return dg.MetadataValue.text(name)
