"""The imaging database: plates, inspections, images and scores. The contract is in ``schema.py``."""

from resources.imaging_database.database import ImagingDatabase

__all__ = ["ImagingDatabase"]
