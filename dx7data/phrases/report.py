"""What was met on the way from music to phrases: read, mended, refused and left out, for people and for programs."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from dx7data.output import format_count
from dx7data.patches.report import Line, format_list, make_printable


@dataclass
class MusicReport:
    """Counts are of files, phrases and notes; `read` has a row for each file."""

    files: int = 0  # read
    found: int = 0  # phrases
    left_out: Counter = field(default_factory=Counter)  # of them, by the name of the filter
    duplicates: int = 0  # and of what the filters let through
    cut: int = 0  # kept, but they go on when the clip has ended
    zero_length: int = 0  # notes that round to 0 ms, left out
    never_ending: int = 0  # notes that nothing ends, so they last until the end of their file
    read: list[dict] = field(default_factory=list)
    refused: list[Line] = field(default_factory=list)
    warnings: list[Line] = field(default_factory=list)

    def refuse(self, file: object, reason: str) -> None:
        """Note that a file was left out; any name is safe here."""
        self.refused.append(Line(make_printable(file), None, reason))

    def warn(self, file: object, sentence: str) -> None:
        """Note something about a whole file; any name is safe here."""
        self.warnings.append(Line(make_printable(file), None, sentence))

    def add(
        self,
        file: object,
        notes: int,
        zero_length: int,
        never_ending: int = 0,
        warnings: Sequence[tuple[int | None, str]] = (),
    ) -> None:
        """Count what a file holds; warnings: byte offset, or None, and sentence."""
        self.files += 1
        self.zero_length += zero_length
        self.never_ending += never_ending
        row = {"file": make_printable(file), "notes": notes, "zero_length": zero_length, "never_ending": never_ending}
        self.read.append(row | {"warnings": len(warnings)})
        self.warnings += [Line(make_printable(file), *warning) for warning in warnings]

    def extend(self, other: "MusicReport") -> None:
        """Go on with what was met in later files."""
        for name in ("files", "found", "duplicates", "cut", "zero_length", "never_ending"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.left_out += other.left_out
        self.read += other.read
        self.refused += other.refused
        self.warnings += other.warnings

    def text(self) -> str:
        """A few lines for people; of refused files and of warnings the first ten."""
        kept = self.found - self.left_out.total() - self.duplicates
        lines = [
            f"{format_count(self.files, 'file')} of music, {len(self.refused):,} refused, "
            f"{format_count(len(self.warnings), 'warning')}",
            f"{format_count(self.found, 'phrase')}, {kept:,} kept ({self.cut:,} cut short at the end of a clip), "
            f"{format_count(self.duplicates, 'duplicate')}",
            f"{format_count(self.zero_length, 'note')} of no length, {self.never_ending:,} without an end",
        ]
        lines += [f"filters: {self.filters()}"] * bool(self.left_out)
        return "\n".join(lines + format_list("refused", self.refused) + format_list("warnings", self.warnings))

    def filters(self) -> str:
        """How many phrases each filter left out, the greediest first."""
        return ", ".join(f"{name} left out {count:,}" for name, count in self.left_out.most_common())

    def to_dict(self) -> dict:
        """Everything, ready for JSON."""
        return asdict(self) | {"left_out": dict(self.left_out)}
