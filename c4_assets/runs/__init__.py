"""All else that knows Dagster: partitions, days, jobs, backfills, checks as Dagster shows them, pruning."""
