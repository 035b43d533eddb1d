"""Registers folders of images as inspections of an imaging database that is C4's own."""
