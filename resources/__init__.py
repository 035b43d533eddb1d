"""What all else stands on: records, errors, settings, imaging database, image store, archive and executors."""
