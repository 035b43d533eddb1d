"""MARCO: its graph, its preprocessing of images, and the two engines that compute it."""
