"""``c4 import``: a folder of images becomes inspections of the imaging database."""

from datetime import datetime
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import typer

from c4_assets.command.console import console, errors
from c4_assets.deployment_home import ready
from c4_assets.importing.folder import import_folder
from c4_assets.importing.names import aware
from resources.errors import ConfigurationError
from resources.image_store import LocalStore, open_image_store
from resources.settings import Settings


def import_(
    folder: Annotated[Path, typer.Argument(help="A folder with the images of one or more plates.")],
    csv: Annotated[
        Path | None,
        typer.Option(help="Columns file, plate, well, drop and perhaps imaged_at, for names of another kind."),
    ] = None,
    imaged_at: Annotated[
        str | None,
        typer.Option(help="Time of imaging, ISO 8601; UTC if it says no time zone. Default: EXIF, names, files."),
    ] = None,
    timezone: Annotated[str, typer.Option(help="Time zone of EXIF times, for example Australia/Melbourne.")] = "UTC",
) -> None:
    """Register a folder's images: each plate as one inspection. Doing it again adds only what is new."""
    settings = Settings.from_environment()
    store = open_image_store(settings.store.url, settings.ssh)
    if not isinstance(store, LocalStore):
        raise ConfigurationError("c4 import registers folders; C4_STORE_URL is not one.")
    result = import_folder(
        folder, ready(settings), store, csv=csv, imaged_at=_time(imaged_at), timezone=_zone(timezone)
    )
    for done in result.inspections:
        known = f", {done.known_images} were there before" if done.known_images else ""
        console.print(
            f"Plate {done.plate}, imaged {done.imaged_at:%Y-%m-%d %H:%M} UTC (from {done.time_source}): "
            f"{done.new_images} images registered{known}.",
        )
    for file, reason in list(result.left_out.items())[:10]:
        errors.print(f"Left out {file}: {reason}.")
    if len(result.left_out) > 10:
        errors.print(f"Left out {len(result.left_out) - 10} more files.")
    console.print("Score them with `c4 run --pending`, or leave it to the sensor (`c4 ui`).")


def _time(text: str | None) -> datetime | None:
    try:
        return aware(datetime.fromisoformat(text)) if text else None
    except ValueError as error:
        raise ConfigurationError(f"--imaged-at {text!r} is not a time like 2026-03-31T14:05+11:00.") from error


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ConfigurationError(
            f"--timezone {name!r} is no time zone; one is called Europe/Berlin, or UTC."
        ) from error
