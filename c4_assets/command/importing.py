"""``c4 import``: folders and archives of images become inspections of the imaging database, and back."""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import typer

from c4_assets.command.console import console, errors
from c4_assets.deployment_home import ready
from c4_assets.importing.folder import Imported, import_folder, inspections_of
from c4_assets.importing.names import COLUMNS_OF_FORMAT, aware
from c4_assets.importing.patterns import patterns_of
from c4_assets.importing.reading import Import
from c4_assets.scoring.image_files import readable, summary
from resources.errors import ConfigurationError
from resources.image_store import LocalStore, open_image_store
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.listed import is_time_of_imaging
from resources.imaging_database.withdraw import withdraw_inspections
from resources.settings import Settings
from resources.wording import counted

MAX_LINES = 10
"""Most reasons for which files were left out that are printed."""


def import_(
    folder: Annotated[
        str,
        typer.Argument(
            help="A folder or a zip or tar archive with images; with --withdraw also an inspection's number."
        ),
    ],
    csv: Annotated[
        Path | None,
        typer.Option(
            help="Columns file, plate, well, drop, perhaps imaged_at and inspection: for names of another kind."
        ),
    ] = None,
    imaged_at: Annotated[
        str | None,
        typer.Option(help="Time of imaging, ISO 8601; UTC if it says no time zone. Default: names, EXIF, files."),
    ] = None,
    timezone: Annotated[str, typer.Option(help="Time zone of EXIF times, for example Australia/Melbourne.")] = "UTC",
    plate_format: Annotated[
        int | None, typer.Option(help="Wells of a plate, where names count them: 96, 384 or 1536.")
    ] = None,
    withdraw: Annotated[
        bool, typer.Option("--withdraw", help="Take back what was imported. Machine scores become superseded ones.")
    ] = False,
) -> None:
    """Register images: each imaging of each plate as one inspection. Doing it again adds only what is new."""
    settings = Settings.from_environment()
    store = open_image_store(settings.store.url, settings.ssh)
    if not isinstance(store, LocalStore):
        raise ConfigurationError("c4 import registers folders; C4_STORE_URL is not one.")
    if plate_format not in (None, *COLUMNS_OF_FORMAT):
        raise ConfigurationError(f"--plate-format {plate_format} is none of 96, 384 and 1536.")
    what = Import(
        Path(folder),
        csv,
        _zone(timezone),
        plate_format,
        patterns_of(settings.importing.patterns),
        settings.importing.other_light,
    )
    if withdraw:
        _withdraw(what, folder, ready(settings), store)
        return
    time = _time(imaged_at)
    result = import_folder(what, ready(settings), store, time)
    for done in result.inspections:
        _print_imported(done, settings.runs.start_date)
    for note in result.notes:
        errors.print(note, soft_wrap=True)
    _print_left_out(result.left_out)
    console.print("Score them with `c4 run --pending`, or leave it to the sensor (`c4 ui`).")


def _print_imported(done: Imported, start_date: date) -> None:
    known = f", {done.known_images} were there before" if done.known_images else ""
    console.print(
        f"Plate {done.plate}, inspection {done.inspection_id}, imaged {done.imaged_at:%Y-%m-%d %H:%M} UTC "
        f"(from {done.time_source}): {counted(done.new_images, 'image')} registered{known}.",
        soft_wrap=True,
    )
    warnings = list(done.warnings)
    if done.imaged_at.date() < start_date:
        warnings.append(f"it lies before runs.start_date ({start_date}), so that nothing scores it")
    if done.imaged_at > datetime.now(UTC):
        warnings.append("it lies in the future, and is scored when its day has come")
    for warning in warnings:
        errors.print(f"Plate {done.plate}, inspection {done.inspection_id}: {warning}.", soft_wrap=True)


def _print_left_out(left_out: Mapping[str, str]) -> None:
    lines = summary(left_out)
    for line in lines[:MAX_LINES]:
        errors.print(line, soft_wrap=True)
    if len(lines) > MAX_LINES:
        errors.print(f"Files were left out for {len(lines) - MAX_LINES} more reasons.")
    if left_out:
        errors.print(f"Left out: {counted(len(left_out), 'file or line', 'files or lines')}.")


def _withdraw(what: Import, told: str, database: ImagingDatabase, store: LocalStore) -> None:
    numbers = [int(told)] if told.isascii() and told.isdecimal() else list(inspections_of(what, database, store))
    if not numbers:
        raise ConfigurationError(f"Nothing in {readable(told)} is registered, so there is nothing to withdraw.")
    for done in withdraw_inspections(database, numbers):
        console.print(
            f"Withdrawn: plate {done.plate}, inspection {done.inspection_id}, imaged "
            f"{done.imaged_at:%Y-%m-%d %H:%M} UTC: {done.images} images. {done.superseded} machine scores are in "
            "c4_superseded_scores now.",
            soft_wrap=True,
        )
    console.print(f"The files stay in the image store ({store.root}).", soft_wrap=True)


def _time(text: str | None) -> datetime | None:
    if not text:
        return None
    try:
        time = aware(datetime.fromisoformat(text))
    except (ValueError, OverflowError) as error:
        raise ConfigurationError(f"--imaged-at {text!r} is not a time like 2026-03-31T14:05+11:00.") from error
    if not is_time_of_imaging(time):
        raise ConfigurationError(f"--imaged-at {text!r} stands for no time of imaging.")
    return time


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ConfigurationError(
            f"--timezone {name!r} is no time zone; one is called Europe/Berlin, or UTC."
        ) from error
