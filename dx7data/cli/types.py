"""The types of command-line options: each takes the text of an option and gives its value. And what is said of unknown ones.

A ValueError becomes argparse's "invalid NAME value", an ArgumentTypeError the sentence that it carries.
"""

import re
from argparse import ArgumentTypeError
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from dx7data.errors import InputError, suggest_name
from dx7data.output import log
from dx7data.storage import Folder, open_folder

T = TypeVar("T")


def _set_name(name: str) -> Callable[[Callable[[str], T]], Callable[[str], T]]:
    """Gives a function the name by which argparse speaks of it."""

    def rename(parse: Callable[[str], T]) -> Callable[[str], T]:
        parse.__name__ = name
        return parse

    return rename


def whole(minimum: int, maximum: int | None = None) -> Callable[[str], int]:
    """A whole number within limits."""

    limits = f"must be {minimum} or more" if maximum is None else f"must be {minimum} to {maximum}"

    @_set_name("whole number")
    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise ArgumentTypeError(f"{text!r} is no whole number: it {limits}") from None
        if value < minimum or (maximum is not None and value > maximum):
            raise ArgumentTypeError(limits)
        return value

    return parse


def seed() -> Callable[[str], int]:
    """A whole number of 64 bits: as such it is in the json of every sample, whose readers know no larger ones."""
    return whole(-(2**63), 2**63 - 1)


def number(minimum: float, maximum: float, unit: str = "") -> Callable[[str], float]:
    """A number within limits, of some unit."""

    @_set_name("number")
    def parse(text: str) -> float:
        value = float(text)
        if not minimum <= value <= maximum:
            raise ArgumentTypeError(f"must be {minimum:g} to {maximum:g} {unit}".rstrip())
        return value

    return parse


def span(minimum: int, maximum: int | None) -> Callable[[str], tuple[int, int | None]]:
    """`A..B`, `A..`, which goes as far as there is, or `A` alone, which is A..A."""

    @_set_name("range A..B")
    def parse(text: str) -> tuple[int, int | None]:
        low, dots, high = text.partition("..")
        first = int(low)
        last = int(high) if high else maximum if dots else first
        if high and last is not None and last < first:
            raise ArgumentTypeError(f"{text} is empty: the lower end comes first, as in {last}..{first}")
        if not minimum <= first <= (first if last is None else last) <= (maximum or 10**9):
            raise ArgumentTypeError(f"must be A..B, from {minimum} up" + (f" to {maximum}" if maximum else ""))
        return first, last

    return parse


def choices(*names: str) -> Callable[[str], tuple[str, ...]]:
    """`A,B`: some of these names, in order of the alphabet and each once."""

    @_set_name("list of names")
    def parse(text: str) -> tuple[str, ...]:
        found = {name.strip() for name in text.split(",")}
        if unknown := sorted(found - set(names)):
            raise ArgumentTypeError(f"must be some of {', '.join(names)}, with commas between; not {unknown[0]!r}")
        return tuple(sorted(found))

    return parse


@_set_name("path")
def path(text: str) -> Path:
    """A file or a folder of this machine. As a path, `s3://bucket/x` would be a folder that is named `s3:`."""
    if "://" in text:
        raise ArgumentTypeError(f"{text} is a URL, and a path of this machine is needed here")
    return Path(text)


@_set_name("folder")
def folder(text: str) -> Folder:
    """A folder of this machine or a URL."""
    if "://" in text and Path(text).exists():
        log.warning(f"{Path(text)} is not used: an older version took {text} for this folder's name")
    try:
        return open_folder(text)
    except InputError as error:
        raise ArgumentTypeError(str(error)) from None


@_set_name("shard")
def shard(text: str) -> tuple[str, int]:
    """`train/000012`: split and number."""
    name, _, place = text.partition("/")
    if name not in ("train", "val", "test"):
        raise ArgumentTypeError("must be a split and a number, as in train/000012")
    return name, int(place)


@_set_name("job")
def job(text: str) -> tuple[int, int]:
    """`3/16`: the third of sixteen."""
    place, _, of = text.partition("/")
    if not 1 <= int(place) <= int(of):
        raise ArgumentTypeError("must be K/N, from 1/N to N/N")
    return int(place), int(of)


@_set_name("split")
def split(text: str) -> tuple[float, ...]:
    """`0.8,0.1,0.1`: parts for train, val and test."""
    parts = tuple(float(part) for part in text.split(","))
    if len(parts) != 3 or min(parts) < 0 or not 0.999 < sum(parts) < 1.001:
        raise ArgumentTypeError("must be three parts that add up to 1, such as 0.8,0.1,0.1")
    return parts


@_set_name("size")
def size(text: str) -> int:
    """`64MB`, `1.5GB`, `1000`: bytes."""
    units = {"kb": 1000, "mb": 1000**2, "gb": 1000**3, "": 1}
    value = text.lower().rstrip("kmgb")
    unit = text.lower()[len(value) :]
    if unit not in units or not 1000 <= float(value) * units[unit] < 1e15:
        raise ArgumentTypeError(f"{text} is no size from 1kB up: 64MB and 500kB are such")
    return int(float(value) * units[unit])


@_set_name("device")
def devices(text: str) -> tuple[str, ...]:
    """`cpu`, `auto`, `cuda` or several GPUs: `cuda:0,cuda:1`."""
    names = tuple("cuda:0" if name == "cuda" else name for name in text.split(","))
    if text not in ("cpu", "auto") and not all(re.fullmatch(r"cuda:\d+", name) for name in names):
        raise ArgumentTypeError("must be cpu, auto, or GPUs such as cuda or cuda:0,cuda:1")
    if len(set(names)) < len(names):
        raise ArgumentTypeError("must name each GPU once")
    return names


@_set_name("text")
def card_text(text: str) -> str:
    """A title or a licence, in one line."""
    if not 1 <= len(text) <= 200 or not text.isprintable() or text.isspace():
        raise ArgumentTypeError("must be 1 to 200 characters, none of them a control character")
    return text


@_set_name("gain")
def gain(text: str) -> str:
    """`native`, `peak` or decibels."""
    if text in ("native", "peak"):
        return text
    with suppress(ValueError):
        if -120 <= float(text) <= 60:
            return repr(float(text))
    raise ArgumentTypeError("must be native, peak, or -120 to 60, in dB")


def explain_unknown(word: str, options: Iterable[str], program: str) -> str:
    """What is wrong with a word of a command line that no option takes, in a sentence."""
    word = word.partition("=")[0]
    what = f"there is no option {word}" if word.startswith("-") else f"{word} belongs to no option"
    return f"{what}: {suggest_name(word, options)}{program} --help shows them all"


def explain_empty(words: Sequence[str]) -> str:
    """What is wrong with an empty value on a command line, in a sentence; empty if there is none. As a path it would be the
    current folder."""
    for before, word in zip(["", *words], words, strict=False):
        if not word or (word.startswith("--") and word.endswith("=")):
            return f"there is nothing after {word or before}: is a variable of the shell not set?"
    return ""
