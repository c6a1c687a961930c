"""What stands in the place of a good value of a document: of another type, negative, huge, nested, climbing, markup."""

import json
import math
from collections.abc import Iterator

MARKUP = '<script>alert("dx7")</script>'
TERMINAL = "\x1b]0;dx7\x07\x1b[2J\u202e"
CLIMBING = "../../../outside/climbed"
ABSOLUTE = "/tmp/dx7data-hostile-climbed"
DEEP = "@deep@"  # stands for 100,000 levels of lists, which no program writes from an object
LEVELS = 100_000


def deepen(text: str) -> bytes:
    return text.replace(f'"{DEEP}"', "[" * LEVELS + "]" * LEVELS).encode()


def _wrong_values(value) -> Iterator[tuple[str, object]]:
    """What stands in the place of a value: of another type, negative, huge, nested, climbing, markup."""
    yield "of another type", [value] if not isinstance(value, list) else {"a": value}
    yield "none", None
    yield "deeply nested", DEEP
    if isinstance(value, bool):
        return
    if isinstance(value, int | float):
        yield "negative", -1
        yield "huge", 10**18
        yield "beyond 64 bits", 10**30
        yield "not a number", math.nan
        yield "a text", MARKUP
    elif isinstance(value, str):
        yield "markup", MARKUP
        yield "for the terminal", TERMINAL
        yield "climbing", CLIMBING
        yield "absolute", ABSOLUTE
        yield "huge", "9" * 100_000
        yield "a number", 10**18
    elif isinstance(value, dict):
        yield "empty", {}
        yield "with a climbing name", {CLIMBING: next(iter(value.values()), 1), **value}
        yield "with an absolute name", {"/dev/zero": next(iter(value.values()), 1)}
    elif isinstance(value, list):
        yield "empty", []
        yield "of a million", [0] * 10**6


def _fields(document: dict, inside: tuple = ()) -> Iterator[tuple]:
    """Paths to all values of a document; of lists to the first item."""
    for name, value in document.items() if isinstance(document, dict) else enumerate(document[:1]):
        yield (*inside, name)
        if isinstance(value, dict | list):
            yield from _fields(value, (*inside, name))


def _get(document, path: tuple):
    for name in path:
        document = document[name]
    return document


def _changed(document: dict, path: tuple, value) -> dict:
    """A copy with another value there; ... takes it out."""
    document = json.loads(json.dumps(document))
    inside = _get(document, path[:-1])
    if value is ...:
        del inside[path[-1]]
    else:
        inside[path[-1]] = value
    return document


def make_variants(document: dict, rotate: bool) -> Iterator[tuple[str, dict]]:
    """The document with a wrong value in every field: all wrong values, or in turn one or two of them."""
    for n, path in enumerate(_fields(document)):
        values = [("missing", ...), *_wrong_values(_get(document, path))]
        if rotate:
            values = [values[n % len(values)], values[(n + len(values) // 2) % len(values)]]
        for word, value in values:
            yield f"{'.'.join(map(str, path))} is {word}", _changed(document, path, value)
