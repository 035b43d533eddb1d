"""What the assets use: imaging database, image store, staging area, score and label archives, Slurm, and settings."""
