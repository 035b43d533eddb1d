"""How many steps may use the storage host and the database at once, over all runs of the deployment."""

import dagster as dg

POOLS = {"image_store": 10, "imaging_database": 4}
"""Ten is what the storage host of the C4 paper allowed. A step holds one connection. A limit is set for every pool by
name, because a default limit was seen to be exceeded on a new instance."""


def set_pool_limits(instance: dg.DagsterInstance) -> None:
    """Gives every pool that has no limit of its own the one of :data:`POOLS`. What an operator has set stays."""
    known = {pool.name for pool in instance.event_log_storage.get_pool_limits()}
    for pool, limit in POOLS.items():
        if pool not in known:
            instance.event_log_storage.set_concurrency_slots(pool, limit)
