"""Which URLs there are, and what each kind of them needs."""

import difflib
from typing import Any

import fsspec

from dx7data.errors import InputError, suggest_install

WEBSITES = ("http", "https")  # without lists of files, and without writing
EXTRAS = {  # of pyproject.toml, by scheme
    **dict.fromkeys(WEBSITES, "http"),
    "s3": "s3",
    "gs": "gcs",
    "gcs": "gcs",
    "az": "azure",
    "abfs": "azure",
    "abfss": "azure",
    "hf": "hf",
}
READ_ONLY = {
    **dict.fromkeys(WEBSITES, "name a folder, or a bucket such as s3://bucket/folder"),
    "file": "name the folder without file://",
    "hf": "each file would be a commit; name a folder, and `dx7data publish` brings it there",
}
_CONNECT, _READ = 10, 60  # seconds without an answer, after which a request is tried again


def get_scheme(url: str) -> str:
    return url.partition("://")[0]


def check(url: str) -> None:
    """Raises InputError for a URL that can't be opened, whatever is there."""
    scheme, _, path = url.partition("://")
    known = {*EXTRAS, "memory", "file"}
    if scheme not in known and scheme not in fsspec.available_protocols():
        near = difflib.get_close_matches(scheme, sorted(known), 1, cutoff=0.5)
        guess = f"did you mean {near[0]}://? " if near else ""
        raise InputError(f"{url} begins with no scheme that is known: {guess}There are {', '.join(sorted(known))}")
    if not path.strip("/"):
        raise InputError(f"{url} names no bucket: it must be as in {scheme}://bucket/folder")
    try:
        fsspec.get_filesystem_class(scheme)
    except ImportError as error:
        extra = EXTRAS.get(scheme)
        advice = f"{suggest_install(extra)} installs what it needs" if extra else str(error)
        raise InputError(f"{url} can't be opened: {advice}") from None


def connect(url: str) -> tuple[Any, str]:
    """The file system of fsspec and the path in it; it keeps no list of files, and has no patience beside our own.

    Called for each request: the sessions of file systems do not survive a fork. fsspec keeps them for each process.
    """
    scheme, options = get_scheme(url), dict[str, Any](use_listings_cache=False)
    if scheme == "s3":
        retries = {"total_max_attempts": 1}
        options["config_kwargs"] = {"retries": retries, "connect_timeout": _CONNECT, "read_timeout": _READ}
    elif scheme in WEBSITES:
        from aiohttp import ClientTimeout

        timeout = ClientTimeout(total=None, sock_connect=_CONNECT, sock_read=_READ)
        options = {"client_kwargs": {"timeout": timeout}}
    fs, path = fsspec.core.url_to_fs(url, **options)
    if scheme == "s3":
        fs.retries = 1
    return fs, path
