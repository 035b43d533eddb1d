"""The imaging database: plates, inspections, images and scores. ``schema.py`` is the contract."""

from resources.imaging_database.database import ImagingDatabase

__all__ = ["ImagingDatabase"]
