"""Makes the archive of a day again where a file of it could not be read: from what the imaging database knows."""

import logging
from datetime import date
from itertools import groupby

from resources.archive.score_archive import ScoreArchive
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.inspections import inspections_of_day
from resources.imaging_database.read_back import written_outcomes

log = logging.getLogger("c4.restore")


def restore_day(day: date, database: ImagingDatabase, archive: ScoreArchive) -> int:
    """Puts scores that the database has and a damaged archive has lost back into the archive, as checkpoints.

    What only the archive knew (how the images look, thumbnails) is not known again. Images whose scores had not been
    written are pending, and are classified anew without this.

    Returns:
        The number of scores that were put back.

    Raises:
        Unavailable: the database does not answer.
    """
    known = {outcome.image.image_id for outcome in archive.outcomes(day)}  # reading notices what is damaged
    if not archive.set_aside(day):
        return 0
    listed = [image for inspection in inspections_of_day(database, day) for image in inspection.images]
    lost = [image for image in listed if image.image_id not in known]
    outcomes = written_outcomes(database, archive.scorer_version, lost)
    outcomes.sort(key=lambda outcome: outcome.image.inspection_id)
    for inspection_id, of_inspection in groupby(outcomes, key=lambda outcome: outcome.image.inspection_id):
        archive.checkpoint(day, inspection_id, list(of_inspection))
    if outcomes:
        log.warning("%d scores of %s were put back into the archive from the database", len(outcomes), day)
    return len(outcomes)
