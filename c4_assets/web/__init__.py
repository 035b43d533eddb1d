"""What stands between a browser and C4's pages."""
