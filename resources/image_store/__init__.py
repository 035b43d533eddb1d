"""Image stores: one small interface over local folders, hosts reached by ssh, HTTP servers, and fsspec addresses.

A store fetches the images of one inspection per call, because the inspection is the unit of work and because every kind
of store is fastest when it knows all that is wanted.
"""

from resources.image_store.base import FetchedImage, ImageStore
from resources.image_store.fsspec_store import FsspecStore
from resources.image_store.http_store import HttpStore
from resources.image_store.local import LocalStore
from resources.image_store.ssh_store import SshStore
from resources.ssh import SshAccess

__all__ = [
    "FetchedImage",
    "FsspecStore",
    "HttpStore",
    "ImageStore",
    "LocalStore",
    "SshStore",
    "is_folder",
    "open_image_store",
]


def is_folder(url: str) -> bool:
    """Whether a store is a folder of this machine, by its path or an address of ``file``."""
    return "://" not in url or url.startswith(("file://", "local://"))


def open_image_store(url: str, ssh: SshAccess | None = None) -> ImageStore:
    """Opens the store at a folder's path or an address: ``file``, ``ssh``, ``sftp``, ``http``, or another of fsspec.

    Nothing is connected or read before the first fetch.

    Args:
        ssh: key, known host keys and time-out for ``ssh://`` and ``sftp://``; every store takes its time-out.

    Raises:
        ConfigurationError: the address is of no kind that C4 knows.
    """
    access = ssh or SshAccess()
    if is_folder(url):
        return LocalStore.at(url.removeprefix("file://").removeprefix("local://"), access.timeout)
    if url.startswith(("ssh://", "sftp://")):
        return SshStore(url, access)
    if url.startswith(("http://", "https://")):
        return HttpStore(url, access.timeout)
    return FsspecStore(url, access.timeout)
