"""The backlog: how far history has been scored, how fast it goes, what holds it up, and its backfills."""
