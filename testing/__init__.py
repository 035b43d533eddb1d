"""What tests and benchmarks share: real servers on this machine, trials of whole deployments, and the import graph.

Every server is started in a folder and on ports of its own, and ended by its process ids.
"""
