"""What starts runs: new inspections in the imaging database."""
