"""Backups of a deployment: made while it works, checked score by score, and put back."""
