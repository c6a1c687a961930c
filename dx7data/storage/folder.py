"""What a data set needs of the folder that it lies in. Files have plain names: there are no folders in it.

A file that is written is whole or not there. It survives a power cut, where its folder is of this machine, or has been
accepted by the store. Messages name a file as `folder.where(name)`.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import BinaryIO, Protocol, TextIO, TypeVar

T = TypeVar("T")
S = TypeVar("S")


class Folder(Protocol):
    """A place for files. All methods raise InputError, a sentence, for what a person can mend."""

    name: str  # as a person gave it
    title: str  # its last part
    identity: str  # the same for two ways to write one place
    simultaneous: int  # so many files at a time are read fastest; and so many shards at most are copied to this machine

    def where(self, name: str) -> str:
        """How messages name a file."""

    # --- Reading ---

    def list_sizes(self) -> dict[str, int | None] | None:
        """The names of all files, with their lengths where the list has them; None if there can be no list, as of a website.

        Raises InputError when there is no such folder.
        """

    def exists(self, name: str) -> bool:
        """Whether there is a file."""

    def measure(self, name: str) -> int:
        """How many bytes a file has. Raises FileNotFoundError."""

    def read(self, name: str, limit: int) -> bytes:
        """All of a file of no more than `limit` bytes. Raises FileNotFoundError."""

    def read_part(self, name: str, offset: int, size: int) -> bytes:
        """Some bytes of a file, fewer at its end. Raises FileNotFoundError."""

    def open(self, name: str, limit: int) -> AbstractContextManager[BinaryIO]:
        """A file of this machine to read and seek in, for the block: the file itself, or a copy without a name.

        Raises FileNotFoundError, and InputError for a copy of more than `limit` bytes.
        """

    def map(self, function: Callable[[S], T], items: Iterable[S]) -> Iterator[T]:
        """As `map`, some calls at once where it is waiting that takes time."""

    # --- Writing ---

    def check_writable(self) -> None:
        """Raises InputError if nothing can be written here, before anything is rendered; makes the folder."""

    def create(self, name: str) -> AbstractContextManager[BinaryIO]:
        """A file to write; at the end of the block it is there, in the place of an older one, or not if the block raises."""

    def write(self, name: str, data: bytes) -> None:
        """Write a whole file, which is safe afterwards, and with it all that `create` has made before."""

    def claim(self, name: str, data: bytes) -> bool:
        """Write a file unless there is one; whether the file has this content. No more than True where a lock guards it."""

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""

    def remove_partial(self, chosen: Callable[[str], bool]) -> None:
        """Remove what killed processes had begun to write, of the names that are chosen, not what others are writing."""

    def open_log(self, name: str) -> AbstractContextManager[TextIO]:
        """A text file to add lines to."""

    def lock(self, shared: bool = False) -> AbstractContextManager[None]:
        """Inside the block nobody else writes here, or, if shared, only others who share it. A store has no locks."""

    def lock_plan(self) -> AbstractContextManager[None]:
        """Waits while others who share the folder put their plan into it, which takes moments."""

    # --- What is odd in a folder of this machine ---

    def list_links(self) -> dict[str, str]:
        """Names that are links, and where they lead."""

    def is_blocked(self, name: str) -> bool:
        """Whether a folder with something in it stands in the place of a file."""
