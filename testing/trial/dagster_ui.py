"""What Dagster's UI says to the webserver: to launch and follow a backfill, to show an asset's partitions.

The operations are those of the UI that comes with the pinned Dagster, cut down to the fields that are read here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from testing.trial.deployment import LOCATION, Deployment

REPOSITORY = "__repository__"

DAILY = ("raw_inspection_images", "marco_probabilities", "class_predictions", "db_scores")

_LAUNCH_BACKFILL = """
mutation LaunchPartitionBackfill($backfillParams: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $backfillParams) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
  }
}
"""

_BACKFILL = """
query BackfillStatus($backfillId: String!) {
  partitionBackfillOrError(backfillId: $backfillId) {
    __typename
    ... on PartitionBackfill { status numPartitions error { message } }
  }
}
"""

_CANCEL = """
mutation CancelBackfill($backfillId: String!) { cancelPartitionBackfill(backfillId: $backfillId) { __typename } }
"""

_LAUNCH_RUN = """
mutation LaunchPipelineExecution($executionParams: ExecutionParams!) {
  launchPipelineExecution(executionParams: $executionParams) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
  }
}
"""

_PARTITIONS_PAGE = """
query PartitionHealthQuery($assetKey: AssetKeyInput!) {
  assetNodeOrError(assetKey: $assetKey) {
    ... on AssetNode {
      id
      partitionKeysByDimension { name type partitionKeys }
      assetPartitionStatuses {
        ... on TimePartitionStatuses { ranges { status startTime endTime startKey endKey } }
      }
    }
  }
}
"""

_TICK = """
mutation SensorDryRunMutation($selectorData: SensorSelector!, $cursor: String) {
  sensorDryRun(selectorData: $selectorData, cursor: $cursor) {
    __typename
    ... on DryRunInstigationTick { evaluationResult { skipReason runRequests { runKey } error { message } } }
    ... on PythonError { message }
  }
}
"""


@dataclass(frozen=True)
class Backfill:
    """How a backfill stands: Dagster's word for it (``REQUESTED``, ``COMPLETED_SUCCESS`` …) and its partitions."""

    status: str
    partitions: int
    error: str | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing of it is to come any more."""
        return self.status not in ("REQUESTED", "CANCELING", "FAILING")


def launch_backfill(
    deployment: Deployment, days: Sequence[str] | None, assets: Sequence[str] = DAILY, **tags: str
) -> str:
    """Launches a backfill of days, or of all there are, and returns its id.

    Raises:
        RuntimeError: Dagster refuses.
    """
    parameters: dict[str, Any] = {
        "assetSelection": [{"path": [asset]} for asset in assets],
        "tags": [{"key": key, "value": value} for key, value in tags.items()],
        **({"allPartitions": True} if days is None else {"partitionNames": list(days), "fromFailure": False}),
    }
    answer = deployment.ask(_LAUNCH_BACKFILL, {"backfillParams": parameters})["launchPartitionBackfill"]
    if answer["__typename"] != "LaunchBackfillSuccess":
        raise RuntimeError(f"The backfill was not launched: {answer}")
    return str(answer["backfillId"])


def backfill(deployment: Deployment, backfill_id: str) -> Backfill:
    """How a backfill stands."""
    answer = deployment.ask(_BACKFILL, {"backfillId": backfill_id})["partitionBackfillOrError"]
    error = answer.get("error")
    return Backfill(str(answer["status"]), int(answer["numPartitions"] or 0), error and str(error["message"]))


def cancel_backfill(deployment: Deployment, backfill_id: str) -> None:
    """Asks for a backfill's end; its runs are cancelled."""
    deployment.ask(_CANCEL, {"backfillId": backfill_id})


def launch_run(deployment: Deployment, job: str, tags: Mapping[str, str]) -> str:
    """Launches a run of a job, as the launchpad does, and returns its id.

    Raises:
        RuntimeError: Dagster refuses.
    """
    selector = {"repositoryLocationName": LOCATION, "repositoryName": REPOSITORY, "pipelineName": job}
    metadata = {"tags": [{"key": key, "value": value} for key, value in tags.items()]}
    parameters = {"selector": selector, "runConfigData": {}, "mode": "default", "executionMetadata": metadata}
    answer = deployment.ask(_LAUNCH_RUN, {"executionParams": parameters})["launchPipelineExecution"]
    if answer["__typename"] != "LaunchRunSuccess":
        raise RuntimeError(f"The run was not launched: {answer}")
    return str(answer["run"]["runId"])


def partitions_page(deployment: Deployment, asset: str) -> Mapping[str, Any]:
    """What the asset's page asks to show its partitions: all their keys, and which of them are in which state."""
    return deployment.ask(_PARTITIONS_PAGE, {"assetKey": {"path": [asset]}})["assetNodeOrError"]


def tick(deployment: Deployment, sensor: str) -> Mapping[str, Any]:
    """Has a sensor evaluated as in its tick, without consequences («Preview tick result»).

    Raises:
        RuntimeError: the tick fails.
    """
    selector = {"sensorName": sensor, "repositoryName": REPOSITORY, "repositoryLocationName": LOCATION}
    answer = deployment.ask(_TICK, {"selectorData": selector, "cursor": None})["sensorDryRun"]
    result = answer.get("evaluationResult")
    if result is None or result["error"]:
        raise RuntimeError(f"The tick of {sensor} failed: {answer}")
    return result
