"""Where steps run: the resources that they ask for, steps as local processes, steps as Slurm jobs."""
