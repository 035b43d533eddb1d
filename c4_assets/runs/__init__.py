"""What knows Dagster, assets and sensors aside.

Partitions, days of a run, jobs, pools, step failures, metadata and its keys, checks as Dagster shows them, backfills,
observed runs, pruning and Dagster's storage.
"""
