"""The work on images without Dagster: fetch, classify, predict, write."""
