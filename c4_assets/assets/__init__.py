"""The assets, a thin shell each over the functions that do the work."""
