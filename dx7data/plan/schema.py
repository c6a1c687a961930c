"""What the files of a data set may hold. A data set may come from anybody, so each file is read within bounds, and each field
is checked before anything is made of it; whatever is wrong is one sentence with the file and the field.

The JSON documents are described here as types, and msgspec compares with them: it takes 25 ms to import and 0.7 MB to install,
against 100 ms and 7 MB for pydantic. Tables are described as Arrow schemas. The fields of a spec are described where they are,
in spec.py and filters.py.
"""

import hashlib
import os
import stat
from pathlib import Path
from typing import IO, Annotated, Literal, NotRequired, TypedDict

import msgspec
import numpy as np
from msgspec import Meta

from dx7data import prefix
from dx7data.audio.resample import ENGINE_RATE
from dx7data.errors import InputError
from dx7data.files import unsigned
from dx7data.patches import patch
from dx7data.phrases.phrase import CONTROLLERS
from dx7data.plan.spec import RANDOM_SOURCE, SPLITS, Shard, Spec

# Bytes of a file, beyond which it is not read. The largest that we have seen: 2 MB of dataset.json for 31,380 patches.
DOCUMENT_BYTES = 16 << 20
STATS_BYTES = 64 << 10
JSON_BYTES = 16 << 20  # of a sample: 200,000 notes
TABLE_BYTES = 2 << 30  # of a plan: ten million phrases

MAX_SHARDS = 2_000_000  # a billion samples in shards of the usual size are 1.3 million
MAX_SHARD_SAMPLES = 10_000_000
TAR_BLOCK = 512
WAV_HEADER, VOICE_DUMP_BYTES = 44, 163
_ROW_BYTES = 8  # of a table's file at least: each row has a name of its own. Less is a table that grows when it is read
_GROWTH, _SLACK = 32, 1 << 20  # times as large, and so many bytes more, may a table get in memory
_TEXT_BYTES = 4096  # of one cell: the longest path
_OPTIONAL = {"file", "sha256", "index"}  # columns of patches.parquet, for what was never in a file
_PATCH_ID = re.compile("[0-9a-f]{16}")
_CODECS = {"SNAPPY", "UNCOMPRESSED"}  # of Parquet: what pyarrow writes if not told otherwise; neither makes much out of little

Count = Annotated[int, Meta(ge=0, le=10**9)]
Size = Annotated[int, Meta(ge=0, le=10**15)]
Digest = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
PatchId = Annotated[str, Meta(pattern=r"^[0-9a-f]{16}\Z")]
Name = Annotated[str, Meta(max_length=1000)]
Split = Literal[SPLITS]
Key = Annotated[int, Meta(ge=0, le=127)]
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


class SplitReport(TypedDict):
    split_by: Literal["patch", "algorithm", "bank", "phrase"]
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
    spec: Spec
    samples: Annotated[dict[Split, Annotated[int, Meta(ge=1, le=10**9)]], Meta(min_length=1)]
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


class PhraseAbout(TypedDict):
    """All that is known of a phrase; where it comes from says which of these are known."""

    bpm: NotRequired[Annotated[int, Meta(ge=1, le=1000)]]
    scale: NotRequired[Name]
    root: NotRequired[Key]
    file: NotRequired[Name]
    start: NotRequired[Annotated[float, Meta(ge=0, le=10**6)] | Count]


class PhraseIn(PhraseAbout):
    id: PatchId
    kind: Name
    cut: bool
    about: NotRequired[Annotated[str, Meta(max_length=_TEXT_BYTES)]]


Pair = TypedDict("Pair", {"with": Name, "parameter": Literal[patch.FIELDS], "value": Key, "value_there": Key})
Change = tuple[Seconds, Annotated[float, Meta(ge=-1000, le=1000)]]
Controllers = TypedDict("Controllers", {name: list[Change] for name in CONTROLLERS})
Peaks = TypedDict("Peaks", {"source": Level, "target": Level})
Clipped = TypedDict("Clipped", {"source": Count, "target": Count})


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
    pair: NotRequired[Pair]


# --- Reading within bounds ---


def open_regular(path: Path) -> IO[bytes]:
    """A file of a data set, to read. Raises FileNotFoundError; and InputError where there is a folder, a pipe, a device, a link
    that leads out of the data set, or a file that can't be read.
    """
    try:
        if os.path.islink(path) and not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(path.parent)):
            raise InputError(f"{path} is a link that leads out of the data set: put a copy of the file in its place")
        if not stat.S_ISREG(os.stat(path).st_mode):  # before it is opened, which may wait for ever, or make a device act
            raise InputError(f"{path} is no regular file: put a copy of the file in its place")
        return open(path, "rb")
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise InputError(f"{path} can't be read: {getattr(error, 'strerror', None) or error}") from None


def read_regular(path: Path, limit: int) -> bytes:
    """All of a regular file of no more than `limit` bytes. Raises FileNotFoundError and InputError."""
    with open_regular(path) as file:
        if (size := os.fstat(file.fileno()).st_size) > limit:
            raise InputError(f"{path} has {size:,} bytes, more than the {limit:,} that are read of such a file")
        try:
            return file.read(limit)
        except OSError as error:
            raise InputError(f"{path} can't be read: {error.strerror or error}") from None


def decode(data: bytes | str, kind: type, where):
    """A JSON document of a type of this module. Raises InputError with the field that is another than it must be."""
    try:
        return msgspec.json.decode(data, type=kind, strict=True)
    except msgspec.ValidationError as error:
        reason, _, field = str(error).partition(" - at ")
        field = field.replace("`", "").replace("$.", "").removeprefix("$")
        raise InputError(f"{where}{f', field {field}' if field else ''}: {reason[0].lower()}{reason[1:]}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{where} is no JSON document that can be read: {error}") from None


def decode_signed(data: bytes, kind: type, where):
    """The same of a document that bears its own hash, which must be right."""
    document = decode(data, kind, where)
    try:
        unsigned(data)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where} can't be read: {error}") from None
    return document


def read_stats(path: Path) -> Stats:
    """A shard's stats. Raises FileNotFoundError and InputError."""
    return decode_signed(read_regular(path, STATS_BYTES), Stats, path)


def index_bytes(shards: int) -> int:
    """How long an index of so many shards can be."""
    return 4096 + 512 * shards


def decode_sample(data: bytes, where) -> dict:
    """The json of a sample, with what is known of its phrase, as all formats have it, in `phrase`."""
    document = decode(data, dict, where) | decode(data, SampleDocument, where)
    about = decode(document["phrase"].pop("about", "{}"), PhraseAbout, f"{where}, field phrase.about")
    return document | {"phrase": document["phrase"] | about}


# --- The spec ---


def check_spec(spec: Spec, where) -> None:
    """What the types of the fields don't say. Raises InputError."""
    filters = spec.filters
    pairs = [("layers", spec.layers)]
    pairs += [(f"filters.{name}", getattr(filters, name)) for name in ("notes", "polyphony", "pitch_range", "velocity")]
    wrong = [name for name, (least, most) in pairs if most is not None and least > most]
    if spec.sample_rate not in ENGINE_RATE:
        wrong.append("sample_rate")
    if not 0.999 < sum(spec.split) < 1.001:
        wrong.append("split")
    if not _is_gain(spec.gain):
        wrong.append("gain")
    if not _is_source(spec.source):
        wrong.append("source")
    if set(spec.prefixes) - set(prefix.CODECS) or len(set(spec.prefixes)) < len(spec.prefixes):
        wrong.append("prefixes")
    if set(spec.kinds) - set(KINDS) or len(set(spec.kinds)) < len(spec.kinds):
        wrong.append("kinds")
    if wrong:
        raise InputError(f"{where}, field spec.{wrong[0]}: no data set can have this")


def _is_gain(text: str) -> bool:
    try:
        return text in ("native", "peak") or -120 <= float(text) <= 60
    except ValueError:
        return False


def _is_source(text: str) -> bool:
    try:
        return text == RANDOM_SOURCE or patch.require_legal(patch.unpack(np.frombuffer(bytes.fromhex(text), np.uint8))).any()
    except ValueError:
        return False


# --- Tables: patches.parquet and the tables of shards ---


def patch_columns() -> "pa.Schema":
    """Of `patches.parquet`."""
    import pyarrow as pa

    word = pa.string()
    columns = {"id": word, "name": word, "family": word, "split": word, "target": pa.bool_(), "kind": word}
    columns |= {"parents": pa.list_(word), "packed": pa.binary(), "file": word, "sha256": word, "index": pa.int32()}
    return pa.schema(columns)


def shard_columns(spec: Spec) -> "pa.Schema":
    """Of the table of a shard."""
    import pyarrow as pa

    words = ["key", "patch_id", "patch_name", "source_id", "phrase_id", "phrase_kind", *["pair_with"] * bool(spec.pairs)]
    numbers = ["index", "algorithm", "layers", "notes", "lowest_note", "highest_note"]
    numbers += [f"prefix_{codec}_samples" for codec in spec.prefixes]
    numbers += [f"{clip}_{what}" for what in ("peak", "clipped") for clip in ("source", "target")]
    numbers += [f"{member}_{what}" for member in _members(spec) for what in ("offset", "bytes")]
    columns = dict.fromkeys(words, pa.string()) | dict.fromkeys(numbers, pa.int64())
    return pa.schema(columns | {"source_gain": pa.float64(), "target_gain": pa.float64()})


def _members(spec: Spec) -> list[str]:
    """The members of a sample as the columns of a table name them, in the order in which they lie in the tar."""
    return ["json", *(f"prefix_{codec}_wav" for codec in spec.prefixes), "source_wav", "target_syx", "target_wav"]


def read_table(data: bytes, columns: "pa.Schema", where, rows: int | None = None) -> "pa.Table":
    """A Parquet file with exactly these columns, and so many rows. Raises InputError.

    It is not read when it would take more memory than such a file can need. Texts are read as a dictionary first: a long one
    that is there a million times is one.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        metadata = pq.read_metadata(pa.BufferReader(data))
        _check_columns(metadata.schema.to_arrow_schema(), columns, where)
        _check_sizes(metadata, len(data), where, rows)
        texts = [field.name for field in columns if field.type in (pa.string(), pa.binary())]
        lists = [f"{field.name}.list.element" for field in columns if pa.types.is_list(field.type)]
        table = from_parquet(data, read_dictionary=texts + lists, use_threads=False).select(columns.names)
        for name in texts:
            _check_texts(table[name], len(data), f"{where}, column {name}")
        for name in (name.partition(".")[0] for name in lists):
            _check_texts(pa.chunked_array(chunk.flatten() for chunk in table[name].chunks), len(data), f"{where}, column {name}")
        table = table.cast(columns)
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        raise InputError(f"{where} is no table that can be read: {str(error).splitlines()[0]}") from None
    for name in columns.names:
        if table[name].null_count and name not in _OPTIONAL:
            raise InputError(f"{where}, column {name}: it lacks values")
    return table


def _check_columns(found: "pa.Schema", columns: "pa.Schema", where) -> None:
    there, wanted = {field.name: field.type for field in found}, {field.name: field.type for field in columns}
    for name in sorted(there.keys() ^ wanted.keys()) + (["?"] if len(found) != len(there) else []):
        raise InputError(f"{where}, column {name!r}: " + ("it is missing" if name in wanted else "no such table has it"))
    for name, kind in wanted.items():
        if there[name] != kind:
            raise InputError(f"{where}, column {name}: it holds {there[name]}, not {kind}")


def _check_sizes(metadata, size: int, where, rows: int | None) -> None:
    """What a Parquet file says of itself, before it is read."""
    if rows is not None and metadata.num_rows != rows:
        raise InputError(f"{where} has {metadata.num_rows:,} rows, not {rows:,}")
    parts = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    chunks = [part.column(i) for part in parts for i in range(part.num_columns)]
    unpacked = sum(chunk.total_uncompressed_size for chunk in chunks)
    if metadata.num_rows * _ROW_BYTES > size or unpacked > _GROWTH * size + _SLACK:
        raise InputError(f"{where} would grow from {size:,} bytes to {metadata.num_rows:,} rows of {unpacked:,} bytes")
    if others := {chunk.compression for chunk in chunks} - _CODECS:
        raise InputError(f"{where} is compressed by {min(others)}, not by {' or '.join(sorted(_CODECS))}")


def _check_texts(column: "pa.ChunkedArray", size: int, where) -> None:
    """A column of texts, read as a dictionary: none is very long, nor are all of them together for a file of this size."""
    import pyarrow.compute as pc

    total = 0
    for chunk in column.chunks:
        lengths = np.append(np.asarray(pc.binary_length(chunk.dictionary)), 0)
        total += int(lengths[np.asarray(chunk.indices.fill_null(len(lengths) - 1))].sum())
        if lengths.max() > _TEXT_BYTES or total > _GROWTH * size + _SLACK:
            raise InputError(f"{where}: its texts are too long")


def read_shard_table(data: bytes, spec: Spec, shard: Shard, tar_bytes: int, where) -> "pa.Table":
    """The table of a shard, all of whose values are such that a render could have written them. Raises InputError.

    Where the members of a sample lie follows from their lengths, and those, but for the json, from the spec.
    """
    table = read_table(data, shard_columns(spec), where, shard.count)
    numbers = {field.name: table[field.name].to_numpy() for field in table.schema if field.type == "int64"}
    numbers["index"] = numbers["index"] - shard.first - np.arange(shard.count)
    bounds = {"index": (0, 0), "algorithm": (1, 32), "layers": spec.layers, "notes": (1, JSON_BYTES)}
    bounds |= dict.fromkeys(("lowest_note", "highest_note"), (0, 127)) | dict.fromkeys(("source_peak", "target_peak"), (0, 32768))
    bounds |= dict.fromkeys(("source_clipped", "target_clipped"), (0, spec.samples))
    bounds |= {f"prefix_{codec}_samples": (spec.prefix_samples(codec),) * 2 for codec in spec.prefixes}
    lengths = {"json": (2, JSON_BYTES), "source_wav": (wav_bytes(spec.samples),) * 2, "target_wav": (wav_bytes(spec.samples),) * 2}
    lengths |= {f"prefix_{codec}_wav": (wav_bytes(spec.prefix_samples(codec)),) * 2 for codec in spec.prefixes}
    bounds |= {f"{member}_bytes": reach for member, reach in lengths.items()}
    numbers["target_syx_bytes"] = numbers["target_syx_bytes"] - VOICE_DUMP_BYTES * numbers["layers"]
    bounds["target_syx_bytes"] = (0, 0)
    for name, (least, most) in bounds.items():
        if ((numbers[name] < least) | (numbers[name] > most)).any():
            raise InputError(f"{where}, column {name}: no sample of this data set has such a value")
    if table["key"].to_pylist() != [sample_key(shard.split, shard.first + i) for i in range(shard.count)]:
        raise InputError(f"{where}, column key: it does not name the samples of this shard")
    end = _check_offsets(table, spec, where)
    if end > tar_bytes:
        raise InputError(f"{where}: its samples end at byte {end:,} of a tar of {tar_bytes:,} bytes")
    return table


def _check_offsets(table: "pa.Table", spec: Spec, where) -> int:
    """Raises InputError where a member does not follow the one before; returns where the last one ends."""
    members = _members(spec)
    sizes = np.stack([table[f"{member}_bytes"].to_numpy() for member in members], axis=1)
    offsets = np.stack([table[f"{member}_offset"].to_numpy() for member in members], axis=1)
    ends = np.cumsum(TAR_BLOCK + -(-sizes // TAR_BLOCK) * TAR_BLOCK).reshape(sizes.shape)
    begins = np.append(0, ends.ravel()[:-1]).reshape(sizes.shape) + TAR_BLOCK
    for i, member in enumerate(members):
        if (begins[:, i] != offsets[:, i]).any():
            raise InputError(f"{where}, column {member}_offset: the member is not where the one before it ends")
    return int(ends[-1, -1])


def check_patches(patches: Patches, spec: Spec, counts: dict[str, int], where) -> None:
    """Can samples be made of the rows of a plan? Raises InputError."""
    for name, legal in (("splits", {*SPLITS, EVERY_SPLIT}), ("kinds", KINDS)):
        if unknown := set(getattr(patches, name)) - legal:
            raise InputError(f"{where}, column {name[:-1]}: {min(unknown)!r} is none of {', '.join(sorted(legal))}")
    if patches.ids != sorted(patches.ids) or not all(map(_PATCH_ID.fullmatch, patches.ids)):
        raise InputError(f"{where}, column id: it must be 16 hexadecimal digits, in order")
    for split in counts:
        if not (patches.within(split) & patches.targets).any():
            raise InputError(f"{where}, column target: {split} has samples and no target")
    if spec.pairs:
        _check_pairs(patches, counts, where)


def _check_pairs(patches: Patches, counts: dict[str, int], where) -> None:
    """Every target has a counterfactual, and each of these differs from it."""
    place = {own: i for i, own in enumerate(patches.ids)}
    changed = set()
    for i, (kind, parents) in enumerate(zip(patches.kinds, patches.parents, strict=True)):
        if kind == COUNTERFACTUAL:
            parent = place.get(parents[0]) if parents else None
            if parent is None or (patches.stored[i, : patch.PARAMETERS] == patches.stored[parent, : patch.PARAMETERS]).all():
                raise InputError(f"{where}, column parents: a counterfactual in row {i} differs from no patch in the table")
            changed.add(parents[0])
    for split, count in counts.items():
        lacking = [i for i in np.flatnonzero(patches.within(split) & patches.targets) if patches.ids[i] not in changed]
        if lacking or count % 2:
            raise InputError(f"{where}: {split} can't be divided into pairs")
