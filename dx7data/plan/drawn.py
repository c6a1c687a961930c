"""Drawn phrases of a data set: those of the composer that pass its filters, and none in two splits."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from dx7data.errors import InputError
from dx7data.files import to_canonical_json
from dx7data.phrases import compose
from dx7data.phrases.filters import measure
from dx7data.phrases.phrase import Phrase
from dx7data.plan.spec import SPLITS, Spec
from dx7data.rng import KeyedRng

# Draws for one phrase: about 20 s of work, whatever the length of a clip (0.2 ms, and 27 us for each of its seconds). A plan
# has seen to it that a few hundred suffice, or a few dozen of long clips.
_MAX_DRAWS, _AS_LONG_TO_DRAW = 80_000, 8  # a draw for a clip of 8 s takes as long again as one for the shortest
_ESTIMATED_WITH, _MIN_ESTIMATED_WITH = 300, 30  # draws for each split: of clips of up to a minute, and of the longest


def draw_phrase(rng: KeyedRng, spec: Spec, split: str) -> Phrase:
    """The first phrase from the rng that passes the filters. Raises InputError after some seconds without one."""
    left_out: Counter[str] = Counter()
    for drawn in _draw(rng, spec, split):
        name = spec.filters.first_to_refuse(drawn, spec.milliseconds)
        if name is None:
            return drawn
        left_out[name] += 1
    if not left_out:
        raise InputError(_TOO_FEW.format(split))
    refused = ", ".join(f"{name} left out {count:,}" for name, count in left_out.most_common())
    raise InputError(
        f"of {left_out.total():,} drawn phrases none passes the filters ({spec.filters.text()}): {refused}; "
        f"ask for another {_name_option(left_out)}"
    )


_TOO_FEW = "too few drawn phrases for {}: ask for less strict filters, other --kinds or --split 1,0,0"


def _draw(rng: KeyedRng, spec: Spec, split: str) -> Iterator[Phrase]:
    """The phrases from the rng that belong to the split, until too many were drawn."""
    for _ in range(int(_MAX_DRAWS / (1 + spec.seconds / _AS_LONG_TO_DRAW))):
        drawn = compose.draw(rng, spec.seconds, spec.kinds, spec.filters)
        if find_split(drawn, spec) == split:
            yield drawn


def find_split(phrase: Phrase, spec: Spec) -> str:
    """The split that a drawn phrase belongs to, by a hash of all that a DX7 can be heard to do with it in the clip.

    So no clip of one split is in another too, and the phrases of all splits are alike. Not heard are the notes that begin
    after the clip, how long a key is held beyond its end, and whether a velocity is 2 k or 2 k + 1 (engine-spec.md).
    """
    asked = [split for split, part in zip(SPLITS, spec.split, strict=True) if part]
    end = spec.milliseconds
    heard = [
        (note.start, min(note.held, end - note.start), note.note, note.velocity >> 1)
        for note in phrase.notes
        if note.start < end
    ]
    return asked[int.from_bytes(hashlib.sha256(to_canonical_json(heard)).digest()[:4]) % len(asked)]


@dataclass
class Acceptance:
    """How many of some drawn phrases pass the filters."""

    drawn: int = 0
    left_out: Counter = field(default_factory=Counter)  # of them, by the name of the filter

    def text(self) -> str:
        """One line for people, the greediest filter first."""
        passed = self.drawn - self.left_out.total()
        failed = ", ".join(
            f"{_format_percent(count, self.drawn)} fail {name}" for name, count in self.left_out.most_common()
        )
        return f"drawn phrases: {_format_percent(passed, self.drawn)} pass the filters" + f", {failed}" * bool(failed)


def _format_percent(count: int, total: int) -> str:
    share = 100 * count / total
    return f"{share:.1f} %" if 0 < share < 1 or 99 < share < 100 else f"{share:.0f} %"


def estimate(spec: Spec) -> Acceptance:
    """How many pass, from up to 300 draws for each split that is asked for, and fewer of clips of more than a minute.

    Raises InputError when in one of them none does, with the filter that refused most.
    """
    found, count = Acceptance(), max(_MIN_ESTIMATED_WITH, min(_ESTIMATED_WITH, int(_ESTIMATED_WITH * 60 / spec.seconds)))
    for split, part in zip(SPLITS, spec.split, strict=True):
        if part:
            left_out, measured = _count_refused(spec, split, count)
            if left_out.total() == count:
                raise InputError(_explain(left_out, measured))
            found.drawn += count
            found.left_out += left_out
    return found


def _count_refused(spec: Spec, split: str, count: int) -> tuple[Counter, dict[str, list]]:
    """Of the first draws: how many each filter refuses; and by filter, what those that it refused measure."""
    left_out: Counter[str] = Counter()
    measured: dict[str, list] = {}
    for i in range(count):
        drawn = next(_draw(KeyedRng(spec.seed, split, "estimate", i), spec, split), None)
        if drawn is None:
            raise InputError(_TOO_FEW.format(split))
        name = spec.filters.first_to_refuse(drawn, spec.milliseconds)
        if name:
            left_out[name] += 1
            measured.setdefault(name, []).append(measure(drawn, spec.milliseconds)[name])
    return left_out, measured


def _explain(left_out: Counter, measured: dict[str, list]) -> str:
    """A sentence on why no phrase is left: what each filter left out and found there, and what can be done."""
    refused = []
    for name, count in left_out.most_common():
        lowest, highest = min(low for low, _ in measured[name]), max(high for _, high in measured[name])
        found = f"{lowest:.3g}" if lowest == highest else f"{lowest:.3g} to {highest:.3g}"
        refused.append(f"{name} left out {count:,} (it found {found})")
    return (
        f"no drawn phrase is left of {left_out.total():,}: {', '.join(refused)}; "
        f"ask for another {_name_option(left_out)}, other --kinds or other --seconds"
    )


def _name_option(left_out: Counter) -> str:
    """The option of the filter that refused most."""
    return f"--{left_out.most_common(1)[0][0].replace(' ', '-')}"
