"""Runs the steps of a Dagster run as Slurm jobs.

From the outside in: ``executor`` is what Dagster calls, ``tracker`` submits and polls all jobs of a run in one thread,
``script`` writes job scripts, ``client`` runs Slurm's commands, and ``transport`` carries them (on this machine or over
ssh). Only ``site`` and ``script`` know what a site calls its partitions.
"""
