"""Data quality checks: what must hold before a score is trusted or a label is learnt from."""
