"""Where a data set lies: a folder of this machine, or an object store at a URL."""

from pathlib import Path

from dx7data.storage.folder import Folder
from dx7data.storage.local import LocalFolder

__all__ = ["Folder", "LocalFolder", "Where", "open_folder"]

Where = str | Path | Folder


def open_folder(where: Where) -> Folder:
    """The folder at a path or a URL; a folder is given back as it is. Raises InputError for a URL that can't be opened.

    What reads URLs is imported only for one.
    """
    if isinstance(where, str) and "://" in where:
        from dx7data.storage import remote

        return remote.open_url(where)
    return LocalFolder(Path(where)) if isinstance(where, str | Path) else where
