"""What a source of phrases is, and the list of them; sources/ has a file for each.

Nothing slow is imported here, nor by our own sources before they read: `dx7data --help` asks for their options.
"""

from abc import ABC
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

if TYPE_CHECKING:
    from dx7data.phrases.columns import Phrases
    from dx7data.phrases.report import MusicReport
    from dx7data.phrases.selection import Passage, Wanted

Progress = Callable[[int, int], None]  # how much is done, and of how much, as far as that is known


class Option(NamedTuple):
    """An option of the command line."""

    help: str
    metavar: str
    type: type = str  # str, int, float or pathlib.Path
    limits: tuple[float, float] | None = None  # of a number, both included
    unit: str = ""
    names: tuple[str, ...] = ()  # the values are some of these, with commas between
    many: bool = False  # it takes several values, and gives a list


class PhraseSource(ABC):
    """Where phrases come from. A source is chosen by giving it what it reads: --NAME VALUE."""

    name: ClassVar[str]  # set by `register`
    value: ClassVar[Option | None]  # what it reads; None: it is used where no other source is chosen
    options: ClassVar[dict[str, Option]] = {}  # further ones by name, as in max_notes; they are refused beside other sources
    compiled: ClassVar[str | None] = None  # the module of loops that are compiled when it is used first, for some seconds
    kinds: ClassVar[tuple[str, ...]]  # of its phrases, as in the column `kind`; by default its own name

    def read(self, value: Any, options: Mapping[str, Any], clip: int, report: "MusicReport") -> "Iterator[Passage] | None":
        """The passages that are found; None: phrases are drawn for each sample (plan/drawn.py).

        options: by name, None where one is not given; clip: the length of a clip in ms; report: takes what is read and what
        is refused. Raises InputError where nothing can be read at all.
        """
        raise NotImplementedError

    def collect(
        self, value: Any, options: Mapping[str, Any], wanted: "Wanted", report: "MusicReport", progress: Progress
    ) -> "Phrases | None":
        """The phrases that are wanted of what `read` finds; a source that can do both at once, and faster, does it here."""
        from dx7data.phrases.selection import select

        passages = self.read(value, options, wanted.clip, report)
        return None if passages is None else select(passages, wanted, report)

    def describe(self, about: dict[str, Any]) -> list[str]:
        """What is known of a phrase, in a few words for the page."""
        return [f"{name} {value}" for name, value in about.items()]


SOURCES: dict[str, PhraseSource] = {}


def register(name: str) -> Callable[[type[PhraseSource]], type[PhraseSource]]:
    """Decorates a subclass of PhraseSource: --NAME chooses it."""

    def add(source: type[PhraseSource]) -> type[PhraseSource]:
        source.name = name
        source.kinds = getattr(source, "kinds", (name,))
        SOURCES[name] = source()
        return source

    return add


def find_source(kind: str) -> PhraseSource | None:
    """The source that phrases of a kind come from; None if it is not here any more."""
    return next((source for source in SOURCES.values() if kind in source.kinds), None)
