"""Where the images lie: one small interface over local folders and fsspec addresses.

A store fetches the images of one inspection at a time, because that is the unit of work and because every kind of
store is fastest when it knows what is wanted.
"""

from resources.image_store.base import FetchedImage, ImageStore
from resources.image_store.fsspec_store import FsspecStore
from resources.image_store.local import LocalStore

__all__ = ["FetchedImage", "FsspecStore", "ImageStore", "LocalStore", "open_image_store"]


def open_image_store(url: str) -> ImageStore:
    """The store at a folder's path, a ``file://`` address or any address that fsspec knows (``s3://…``).

    Raises:
        ConfigurationError: no store can be made of the address.
    """
    if "://" not in url or url.startswith("file://"):
        return LocalStore.at(url.removeprefix("file://"))
    return FsspecStore(url)
