"""What tests and benchmarks share: servers that they start, and the import graph."""
