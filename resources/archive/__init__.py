"""What is kept on disk: scores, labels, and the staging area."""
