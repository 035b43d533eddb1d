"""Where steps run: the resources that they ask for, steps on this machine, steps as Slurm jobs."""
