"""Runs the steps of a Dagster run as Slurm jobs.

From the outside in: ``executor`` is what Dagster calls, ``tracker`` submits and polls all jobs of a run in one thread
(``tracked_job`` is one of them), ``script`` writes job scripts, ``client`` makes Slurm's commands, and ``transport``
runs them on this machine or over ssh. ``job`` and ``accounts`` read Slurm's answers, and ``job_folders`` removes what
jobs leave on disk. ``check`` and ``probe`` find out whether a site works, and ``shared_files`` whether its file systems
do. ``site`` holds the settings.
"""
