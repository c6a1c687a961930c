"""How a program ends early, the error that is a person's to mend, and what sentences about such errors have in common."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


class Ending(Exception):
    """One clear sentence that a program prints on stderr as it ends, and its exit status."""

    status = 1

    def __init__(self, sentence: str, status: int | None = None):
        super().__init__(sentence)
        if status is not None:
            self.status = status


class InputError(Ending):
    """About a wrong input."""

    status = 2


@contextmanager
def explain_os_errors(what: str) -> Iterator[None]:
    """Raises InputError in place of an OSError: what can't be done, such as "can't write x.wav", and the system's reason."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{what}: {error.strerror or error}") from None


def suggest_name(wrong: str, known: Iterable[str]) -> str:
    """A part of a sentence, `did you mean NAME? `, with the known name that is most like a wrong one; empty if none is."""
    import difflib  # only here: every command reads this file

    near = difflib.get_close_matches(wrong, known, 1)
    return f"did you mean {near[0]}? " if near else ""


def suggest_install(extra: str) -> str:
    """The command that installs an extra of pyproject.toml: of the checkout that this runs from, else of the package."""
    checkout = (Path(__file__).resolve().parents[1] / "pyproject.toml").exists()
    return f"pip install -e '.[{extra}]'" if checkout else f"pip install 'dx7data[{extra}]'"


def make_printable(name: object) -> str:
    """A name or a sentence that is safe to print and to store: what is not printable is escaped."""
    text = str(name)
    return text if text.isprintable() else "".join(c if c.isprintable() else _escape(c) for c in text)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()
