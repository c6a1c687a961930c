"""What was met in the input files: found, repaired, refused and doubtful, for people and for programs."""

from collections import Counter
from dataclasses import asdict, dataclass, field

from dx7data.errors import make_printable
from dx7data.output import format_count
from dx7data.patches.reading import Reading

_LINES = 10  # of a kind in a report for people


@dataclass(frozen=True)
class Line:
    """Something about a file: byte offset in it, or None for the whole file, and a sentence."""

    file: str
    offset: int | None
    reason: str

    def __str__(self) -> str:
        return f"{self.file}: {self.reason}" if self.offset is None else f"{self.file}, byte {self.offset:,}: {self.reason}"


def format_list(title: str, entries: list) -> list[str]:
    """The lines of a list under its title, the first ten entries; none for an empty list."""
    more = [f"  and {len(entries) - _LINES:,} more"] * (len(entries) > _LINES)
    return [title, *(f"  {entry}" for entry in entries[:_LINES]), *more] if entries else []


@dataclass
class Report:
    """What `load` met. Counts are of files read and of voices; `repaired_fields` counts voices for each field."""

    files: int = 0
    found: int = 0
    repaired: int = 0
    repaired_fields: Counter = field(default_factory=Counter)
    duplicates: int = 0
    refused: list[Line] = field(default_factory=list)
    warnings: list[Line] = field(default_factory=list)

    def text(self) -> str:
        """A few lines for people; of long lists the first ten."""
        found = f"{format_count(self.files, 'file')}: {format_count(self.found, 'patch')} found"
        doubtful = (
            f"{self.repaired:,} repaired, {len(self.refused):,} refused, {format_count(len(self.warnings), 'warning')}"
        )
        lines = [f"{found}, {format_count(self.duplicates, 'duplicate')}, {doubtful}"]
        fields = [f"{name}: {count:,}" for name, count in self.repaired_fields.most_common()]
        for title, entries in (("repaired fields", fields), ("refused", self.refused), ("warnings", self.warnings)):
            lines += format_list(title, entries)
        return "\n".join(lines)

    def to_dict(self) -> dict:
        """Everything, ready for JSON."""
        return asdict(self) | {"repaired_fields": dict(self.repaired_fields)}

    def refuse(self, file: object, reason: str) -> None:
        """Note that a whole file was left out; any name is safe here."""
        self.refused.append(Line(make_printable(file), None, reason))

    def warn(self, file: object, sentence: str) -> None:
        """Note something about a whole file; any name is safe here."""
        self.warnings.append(Line(make_printable(file), None, sentence))

    def add(self, file: str, reading: Reading) -> None:
        """Count what sysex.read found in a file."""
        self.files += 1
        self.found += len(reading.voices)
        self.repaired += sum(bool(record.repaired) for record in reading.voices)
        for record in reading.voices:
            self.repaired_fields.update(record.repaired)
        self.refused += [Line(file, *line) for line in reading.refused]
        self.warnings += [Line(file, *line) for line in reading.warnings]
