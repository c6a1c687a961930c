"""Phrases from MIDI files, cut into windows."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from dx7data.phrases.source import Option, PhraseSource, Progress, register

if TYPE_CHECKING:
    from dx7data.phrases.columns import Phrases
    from dx7data.phrases.report import MusicReport
    from dx7data.phrases.selection import Wanted


@register("midi")
class MidiFiles(PhraseSource):
    value = Option("MIDI files, folders and zips (default: phrases are drawn)", metavar="PATH", many=True)
    compiled = "cut"
    options: ClassVar = {
        "beats": Option("cut MIDI files every N beats, not every clip", metavar="N", type=int, limits=(1, 1000)),
        "max_phrases_per_file": Option(
            "keep at most N phrases of each MIDI file, chosen by --seed", metavar="N", type=int, limits=(1, 10**6)
        ),
    }

    def collect(
        self, value: Any, options: Mapping[str, Any], wanted: "Wanted", report: "MusicReport", progress: Progress
    ) -> "Phrases":
        from dx7data.phrases import corpus

        return corpus.collect(value, options["beats"], options["max_phrases_per_file"], wanted, report, progress)

    def describe(self, about: dict[str, Any]) -> list[str]:
        return [about["file"] + (f" from {about['start']:g} s" if "start" in about else "")]
