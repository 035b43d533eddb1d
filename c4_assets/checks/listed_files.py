"""Whether the listed files are in the image store: a mistake in all paths is seen before it costs images attempts."""

from resources.errors import C4Error
from resources.findings import Finding, Verdict
from resources.image_store import ImageStore
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.odd_rows import newest_paths

INSPECTIONS_SAMPLED = 20
"""Inspections of which one image is looked for."""


def files_of_newest(database: ImagingDatabase, store: ImageStore) -> list[Finding]:
    """Looks one image each of the newest inspections up in the store. Nothing is found where none is listed.

    Raises:
        Unavailable, ConfigurationError: the database cannot be asked.
    """
    paths = newest_paths(database, INSPECTIONS_SAMPLED)
    if not paths:
        return []
    try:
        reasons = [fetched.error for fetched in store.fetch(paths) if fetched.error is not None]
    except C4Error as error:
        return [Finding("store.files", "the image store could not be looked into", Verdict.NOT_SEEN, str(error))]
    if not reasons:
        return []
    return [
        Finding(
            "store.files",
            f"lacks the files of {len(reasons)} of {len(paths)} images, one each of the newest inspections",
            Verdict.WARNED,
            f"For example: {reasons[0]}. Where files come later than rows, wait; otherwise correct the paths in the "
            "view, or C4_STORE_URL",
        )
    ]
