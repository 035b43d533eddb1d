"""How many steps may use the storage host and the database at once, over all runs of the deployment."""

import dagster as dg

POOLS = {"image_store": 10, "imaging_database": 4}
"""Limits by pool. The storage host of the C4 paper allowed ten connections, and a step holds one. Each pool gets a
limit by name, because a new instance was seen to exceed the default limit."""


def set_pool_limits(instance: dg.DagsterInstance) -> None:
    """Gives every pool that has no limit the one of :data:`POOLS`. A limit that an operator has set stays."""
    known = {pool.name for pool in instance.event_log_storage.get_pool_limits()}
    for pool, limit in POOLS.items():
        if pool not in known:
            instance.event_log_storage.set_concurrency_slots(pool, limit)
