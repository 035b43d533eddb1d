"""Image stores: one small interface over local folders, hosts reached by ssh, and fsspec addresses.

A store fetches the images of one inspection per call, because the inspection is the unit of work and because every kind
of store is fastest when it knows all that is wanted.
"""

from resources.image_store.base import FetchedImage, ImageStore
from resources.image_store.fsspec_store import FsspecStore
from resources.image_store.local import LocalStore
from resources.image_store.ssh_store import SshStore
from resources.ssh import SshAccess

__all__ = ["FetchedImage", "FsspecStore", "ImageStore", "LocalStore", "SshStore", "open_image_store"]


def open_image_store(url: str, ssh: SshAccess | None = None) -> ImageStore:
    """Opens the store at a folder's path, a ``file://``, ``ssh://`` or ``sftp://`` address, or any that fsspec knows.

    Nothing is connected or read before the first fetch.

    Args:
        ssh: key, known host keys and time-out for ``ssh://`` and ``sftp://``.

    Raises:
        ConfigurationError: the address is of no kind that C4 knows.
    """
    if "://" not in url or url.startswith("file://"):
        return LocalStore.at(url.removeprefix("file://"))
    if url.startswith(("ssh://", "sftp://")):
        return SshStore(url, ssh or SshAccess())
    return FsspecStore(url)
