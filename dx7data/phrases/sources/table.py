"""Phrases from a Parquet table of notes."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from dx7data.phrases.source import Option, PhraseSource, register

if TYPE_CHECKING:
    from dx7data.phrases.report import MusicReport
    from dx7data.phrases.selection import Passage


@register("phrases")
class Table(PhraseSource):
    value = Option(
        "Parquet table with columns phrase_id, start_time, duration, note, velocity; times in seconds",
        metavar="FILE",
        type=Path,
    )
    options: ClassVar = {
        "bpm": Option(
            "the times of the table are beats at this tempo",
            metavar="BPM",
            type=float,
            limits=(1, 1000),
            unit="beats a minute",
        )
    }
    kinds = ("table",)

    def read(self, value: Any, options: Mapping[str, Any], clip: int, report: "MusicReport") -> "Iterator[Passage]":
        from dx7data.phrases import table

        return table.read_table(value, options["bpm"], report)

    def describe(self, about: dict[str, Any]) -> list[str]:
        return [about["file"]]
