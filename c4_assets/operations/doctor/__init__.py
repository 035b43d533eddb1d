"""Whether the set-up is well: checks that never hang, a line each, and what is to be done."""
