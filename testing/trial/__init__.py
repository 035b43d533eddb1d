"""Trials of a whole deployment: a history is scored by a backfill, struck with faults on the way, and judged."""
