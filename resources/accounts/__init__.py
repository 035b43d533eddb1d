"""Accounts of C4's pages: people and their rights, passwords, sessions and tokens, over the imaging database."""
