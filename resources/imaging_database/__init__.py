"""The imaging database: plates, inspections, images and scores. ``schema.py`` defines its relations."""

from resources.imaging_database.database import ImagingDatabase

__all__ = ["ImagingDatabase"]
