"""Phrases that are drawn for each sample, of kinds that are composed (compose.py)."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from dx7data.phrases.source import Option, PhraseSource, register

if TYPE_CHECKING:
    from dx7data.phrases.report import MusicReport

KINDS = ("walk", "scale", "arpeggio", "chords", "repeated", "melody")  # compose.KINDS, which would take time to import


@register("drawn")
class Drawn(PhraseSource):
    value = None
    options: ClassVar = {
        "kinds": Option(
            f"draw only phrases of these kinds, of {', '.join(KINDS)} (default: all)", metavar="A,B,...", names=KINDS
        )
    }
    kinds = KINDS

    def read(self, value: Any, options: Mapping[str, Any], clip: int, report: "MusicReport") -> None:
        return None

    def describe(self, about: dict[str, Any]) -> list[str]:
        from dx7data.phrases.phrase import name_key

        scale = [f"{about['scale']} on {name_key(about['root'])}"] if "scale" in about else []
        return scale + [f"{about['bpm']:g} bpm"] * ("bpm" in about)
