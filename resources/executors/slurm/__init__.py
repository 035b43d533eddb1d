"""Runs the steps of a Dagster run as Slurm jobs.

From the outside in: ``executor`` speaks Dagster, ``steps`` decides what becomes of a step, ``watch`` polls all jobs of
a run in one thread, ``client`` speaks Slurm's command line, ``transport`` carries it (here or over ssh). Only
``executor`` knows Dagster; only ``site`` and ``script`` know what a site calls its partitions.
"""
