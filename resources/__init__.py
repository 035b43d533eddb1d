"""What the assets talk to: the imaging database, the image store, the staging area and the score archive."""
