"""The backlog is the history to score: its coverage, throughput, limits and backfills."""
