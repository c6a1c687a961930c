"""What the documents of a data set may hold, and how its files are read: within bounds, and checked field by field.

A data set may come from anybody, so nothing is made of a field before it is known to be what it must be; what is wrong is
one sentence with the file and the field. The documents are described here as types, and msgspec compares with them: it takes
25 ms to import and 0.7 MB to install, against 100 ms and 7 MB for pydantic. The fields of a spec are described where they
are, in spec.py and filters.py, and the tables in tables.py.
"""

from typing import Annotated, Any, Literal, NotRequired, TypedDict

import msgspec
from msgspec import Meta

from dx7data.errors import InputError
from dx7data.files import check_hash
from dx7data.patches import patch
from dx7data.phrases.columns import Known
from dx7data.phrases.filters import Filters, Key
from dx7data.plan import limits
from dx7data.plan.spec import Spec, SplitBy

# Bytes of a file, beyond which it is not read. The largest that we have seen: 2 MB of dataset.json for 31,380 patches.
DOCUMENT_BYTES = 16 << 20
STATS_BYTES = 64 << 10
JSON_BYTES = 16 << 20  # of a sample: 200,000 notes

Count = Annotated[int, Meta(ge=0, le=10**9)]
Size = Annotated[int, Meta(ge=0, le=10**15)]
Digest = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
PatchId = Annotated[str, Meta(pattern=r"^[0-9a-f]{16}\Z")]
Name = Annotated[str, Meta(max_length=1000)]
CardText = Annotated[str, Meta(min_length=1, max_length=200)]
Split = Literal["train", "val", "test"]
Seconds = Annotated[int, Meta(ge=0, le=1000)] | Annotated[float, Meta(ge=0, le=1000)]
Level = Annotated[int, Meta(ge=0, le=32768)]


# --- The plan: dataset.json ---


class Version(TypedDict):
    """What is looked at first, for everything else depends on it."""

    format: int
    engine: int


class Silent(TypedDict):
    """A patch that was left out."""

    id: PatchId
    name: Name


class Kept(TypedDict):
    """What --train-patches has left."""

    patches: Count
    families: Count


class SplitReport(TypedDict):
    split_by: SplitBy
    train: NotRequired[Kept]
    families: Count
    largest_family: Count
    nearest_across_splits: Count | None
    a_random_split_would_leak: Count | None


class Measured(TypedDict):
    """Of one thing that was drawn anew, see hidden.py."""

    samples: Count
    changed: Count
    hidden: Count
    best_snr: Annotated[float, Meta(ge=-1000, le=1000)] | None


class Hidden(TypedDict):
    samples: Count
    renders: Count
    seconds: Seconds
    things: dict[Annotated[str, Meta(pattern=r"^[a-z]{1,20}( [0-9])?\Z")], Measured]


Tables = TypedDict(
    "Tables",
    {"patches.parquet": Digest, "phrases.arrow": NotRequired[Digest], "phrases.parquet": NotRequired[Digest]},
)


class PlanDocument(TypedDict):
    format: int
    engine: int
    fingerprint: Digest
    title: NotRequired[CardText | None]
    license: NotRequired[CardText | None]
    spec: Spec
    samples: Annotated[dict[Split, Annotated[int, Meta(ge=1, le=limits.MAX_SPLIT)]], Meta(min_length=1)]
    patches: Count
    phrases: Literal["drawn"] | Count
    split_report: SplitReport
    hidden: NotRequired[Hidden | None]
    left_out_as_silent: list[Silent]
    tables: Tables


# --- A shard: NAME.stats.json, index.json, and the json of a sample ---


class Stored(TypedDict):
    """A file as it was written."""

    bytes: Size
    sha256: Digest


class Stats(TypedDict):
    fingerprint: Digest
    split: Split
    shard: Count
    samples: Count
    patches: Count
    phrases: Count
    peak: Level
    clipped_samples: Count
    silent_samples: Count
    tar: Stored
    parquet: Stored


class Listed(TypedDict):
    """A shard in the index."""

    name: Name
    samples: Count
    tar: Stored
    parquet: Stored


class Index(TypedDict):
    fingerprint: Digest
    shards: list[Listed]


class Note(TypedDict):
    start: Seconds
    held: Seconds
    note: Key
    velocity: Key


class LayerAbout(TypedDict):
    id: PatchId
    name: Name
    algorithm: Annotated[int, Meta(ge=1, le=32)]


class SourceAbout(TypedDict):
    id: PatchId
    name: Name


StoredValue = Annotated[int, Meta(ge=-1, le=127)]


class PhraseIn(TypedDict):
    id: PatchId
    kind: Name
    cut: bool
    about: NotRequired[Annotated[str, Meta(max_length=1 << 16)]]  # JSON; in format 2 it is in the phrase itself


Pair = TypedDict(
    "Pair",
    {
        "with": Name,
        "parameter": Literal["", *patch.FIELDS],  # type: ignore[valid-type]  # 145 names
        "value": StoredValue,
        "value_there": StoredValue,
    },
)
NO_PAIR = Pair({"with": "", "parameter": "", "value": -1, "value_there": -1})  # of a sample that has no other
Change = tuple[Seconds, Annotated[float, Meta(ge=-1000, le=1000)]]
Controllers = dict[Literal["bend", "wheel", "volume", "expression"], list[Change]]


class Peaks(TypedDict):
    source: Level
    target: Level


class Clipped(TypedDict):
    source: Count
    target: Count


class SampleDocument(TypedDict):
    split: Split
    index: Count
    layers: Annotated[list[LayerAbout], Meta(min_length=1, max_length=8)]
    source: SourceAbout
    phrase: PhraseIn
    notes: Annotated[list[Note], Meta(min_length=1)]
    controllers: Controllers
    peak: Peaks
    clipped: Clipped
    pair: NotRequired[Pair]  # always there in format 4


# --- JSON of these types ---


def decode(data: bytes | str, kind: Any, where: object) -> Any:
    """A JSON document of a type of this module. Raises InputError with the field that is another than it must be."""
    try:
        return msgspec.json.decode(data, type=kind, strict=True)
    except msgspec.ValidationError as error:
        reason, _, field = str(error).partition(" - at ")
        field = field.replace("`", "").replace("$.", "").removeprefix("$")
        raise InputError(f"{where}{f', field {field}' if field else ''}: {reason[0].lower()}{reason[1:]}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{where} is no JSON document that can be read ({error}): put a copy back") from None


def decode_signed(data: bytes, kind: Any, where: object) -> Any:
    """The same of a document that bears its own hash, which must be right."""
    document = decode(data, kind, where)
    try:
        check_hash(data)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where} can't be read: {error}") from None
    return document


def decode_plan(data: bytes, where: object) -> PlanDocument:
    """`dataset.json`. Raises InputError."""
    document = decode_signed(data, PlanDocument, where)
    raw = msgspec.json.decode(data)
    for name, there, kind in (
        ("tables", raw["tables"], Tables),
        ("spec", raw["spec"], Spec),
        ("spec.filters", raw["spec"].get("filters", {}), Filters),
    ):
        if unknown := there.keys() - kind.__annotations__:
            raise InputError(f"{where}, field {name}: {min(unknown)!r} is no part of it")
    limits.check_spec(document["spec"], where)
    return document


def index_bytes(shards: int) -> int:
    """How long an index of so many shards can be."""
    return 4096 + 512 * shards


def decode_sample(data: bytes, where: object) -> dict:
    """The json of a sample, whatever the format: with a `pair`, and what is known of its phrase as a dictionary."""
    decode(data, SampleDocument, where)
    document = msgspec.json.decode(data)
    phrase = document["phrase"]
    others = {name: value for name, value in phrase.items() if name not in PhraseIn.__annotations__}
    about = decode(phrase.get("about", msgspec.json.encode(others)), dict[Name, Known], f"{where}, field phrase.about")
    return {"pair": NO_PAIR} | document | {"phrase": phrase | {"about": about}}
