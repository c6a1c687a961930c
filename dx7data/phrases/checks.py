"""Could the phrases of a table be played? A file may come from anybody, so nothing in it is believed.

let_go: called after every piece, see columns.py. All raise ValueError.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from dx7data.arrow import get_chunk
from dx7data.phrases.mapping import split_pieces
from dx7data.phrases.phrase import CONTROLLERS

if TYPE_CHECKING:
    import pyarrow as pa

_LONGEST = 24 * 60 * 60 * 1000  # ms: longer is no music, and might not fit into 32 bits
_NOTE_LIMITS = {"start": (0, _LONGEST), "held": (1, _LONGEST), "note": (0, 127), "velocity": (1, 127)}
# A bend of 127 semitones and as many cents is 10.7 octaves.
_EVENT_LIMITS = {"time": (0, _LONGEST), "controller": (0, len(CONTROLLERS) - 1), "value": (-(11 << 24), 11 << 24)}
_WORD = 100  # letters of a split or of a kind of phrases, at most


def check_table(table: pa.Table, let_go: Callable[[], None]) -> None:
    """No value is missing, and all texts and lists are within what holds them."""
    table.validate()
    items = [column for name in ("notes", "events") for column in get_chunk(table[name]).values.flatten()]
    if any(column.null_count for column in [*table.columns, *items]):
        raise ValueError("it lacks values")
    for name in ("split", "kind"):  # a word of a dictionary may be there in every row
        if any(len(word) > _WORD for word in get_chunk(table[name]).dictionary.to_pylist()):
            raise ValueError(f"in column {name} is a word of more than {_WORD} letters")
    for part in split_pieces(table.num_rows):
        for name in ("id", "split", "kind", "about"):
            table[name].slice(part.start, part.stop - part.start).validate(full=True)
        let_go()


def check_items(columns: dict, let_go: Callable[[], None]) -> None:
    """The notes and events of a checked table, as bounds and fields, are such as phrases have."""
    for name, limits, minimum in (("notes", _NOTE_LIMITS, 1), ("events", _EVENT_LIMITS, 0)):
        bounds, fields = columns[name]
        _check_lists(name, bounds, fields, limits, minimum, let_go)
    _, (_, controllers, values) = columns["events"]
    for part in split_pieces(len(values)):
        if ((controllers[part] > 0) & ((values[part] < 0) | (values[part] > 127))).any():
            raise ValueError("in column events, a controller is not from 0 to 127")
        let_go()


def _check_lists(
    name: str,
    bounds: np.ndarray,
    fields: list[np.ndarray],
    limits: dict[str, tuple[int, int]],
    minimum: int,
    let_go: Callable[[], None],
) -> None:
    """minimum: how many items a phrase has at least."""
    if len(bounds) and not 0 <= bounds[0] <= bounds[-1] <= len(fields[0]):
        raise ValueError(f"column {name} points to what is not there")
    for part in split_pieces(len(bounds) - 1):
        lengths = np.diff(bounds[part.start : part.stop + 1])
        if (lengths < 0).any():
            raise ValueError(f"column {name} points to what is not there")
        if (lengths < minimum).any():
            raise ValueError("a phrase in it has no notes")
    for (what, (lowest, highest)), values in zip(limits.items(), fields, strict=True):
        for part in split_pieces(len(values)):
            if not lowest <= values[part].min() <= values[part].max() <= highest:
                raise ValueError(f"in column {name}, {what} is not from {lowest:,} to {highest:,}")
            let_go()
