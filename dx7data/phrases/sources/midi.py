"""Phrases from MIDI files, cut into windows."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from dx7data.phrases.source import Option, PhraseSource, register

if TYPE_CHECKING:
    from dx7data.phrases.report import MusicReport
    from dx7data.phrases.selection import Passage


@register("midi")
class MidiFiles(PhraseSource):
    value = Option("MIDI files, folders and zips (default: phrases are drawn)", metavar="PATH", many=True)
    options: ClassVar = {
        "beats": Option("cut MIDI files every N beats, not every clip", metavar="N", type=int, limits=(1, 1000))
    }

    def read(self, value: Any, options: Mapping[str, Any], clip: int, report: "MusicReport") -> "Iterator[Passage]":
        from dx7data.phrases import corpus

        return corpus.read_midi(value, clip, options["beats"], report)

    def describe(self, about: dict[str, Any]) -> list[str]:
        return [about["file"] + (f" from {about['start']:g} s" if "start" in about else "")]
