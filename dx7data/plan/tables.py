"""What the tables of a data set may hold: the patches of a plan, and the samples of a shard. See schema.py.

Each is read as exactly the columns that it must have; every value is such that a render could have written it.
"""

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from dx7data.arrow import decode_parquet, view_numbers
from dx7data.errors import InputError
from dx7data.patches import patch
from dx7data.plan.meta import make_key
from dx7data.plan.patches import COUNTERFACTUAL, EVERY_SPLIT, KINDS, Patches
from dx7data.plan.schema import JSON_BYTES
from dx7data.plan.spec import SPLITS, Shard, Spec

if TYPE_CHECKING:  # it takes a tenth of a second to import
    import pyarrow as pa

PLAN_BYTES = 2 << 30  # of a table of a plan: ten million patches
_TAR_BLOCK, _WAV_HEADER, _VOICE_DUMP = 512, 44, 163  # bytes
_ROW_BYTES = 8  # of a table's file at least: each row has a name of its own. Less is a table that grows when it is read
_GROWTH, _SLACK = 32, 1 << 20  # times as large, and so many bytes more, may a table get in memory
_TEXT_BYTES = 4096  # of one cell: the longest path
_CODECS = {"SNAPPY", "UNCOMPRESSED"}  # of Parquet: what pyarrow writes if not told otherwise; neither makes much of little
_OPTIONAL = {"file", "sha256", "index"}  # columns of patches.parquet, for what was never in a file
_PATCH_ID = re.compile("[0-9a-f]{16}")


def list_patch_columns() -> "pa.Schema":
    """Of `patches.parquet`."""
    import pyarrow as pa

    word = pa.string()
    columns = {"id": word, "name": word, "family": word, "split": word, "target": pa.bool_(), "kind": word}
    columns |= {"parents": pa.list_(word), "packed": pa.binary(), "file": word, "sha256": word, "index": pa.int32()}
    return pa.schema(columns)


def list_phrase_columns() -> "pa.Schema":
    """Of `phrases.parquet`, in data sets of format 2; since format 3, phrases are in `phrases.arrow`."""
    import pyarrow as pa

    def lists(*names: str) -> pa.DataType:
        return pa.list_(pa.struct([(name, pa.int32()) for name in names]))

    columns = dict.fromkeys(("id", "split", "kind", "about"), pa.string()) | {"cut": pa.bool_()}
    columns |= {"notes": lists("start", "held", "note", "velocity"), "events": lists("time", "controller", "value")}
    return pa.schema(columns)


def list_shard_columns(spec: Spec) -> "pa.Schema":
    """Of the table of a shard."""
    import pyarrow as pa

    words = ["key", "patch_id", "patch_name", "source_id", "phrase_id", "phrase_kind", *["pair_with"] * bool(spec.pairs)]
    numbers = ["index", "algorithm", "layers", "notes", "lowest_note", "highest_note"]
    numbers += [f"prefix_{codec}_samples" for codec in spec.prefixes]
    numbers += [f"{clip}_{what}" for what in ("peak", "clipped") for clip in ("source", "target")]
    numbers += [f"{member}_{what}" for member in _list_members(spec) for what in ("offset", "bytes")]
    columns = dict.fromkeys(words, pa.string()) | dict.fromkeys(numbers, pa.int64())
    return pa.schema(columns | {"source_gain": pa.float64(), "target_gain": pa.float64()})


def _list_members(spec: Spec) -> list[str]:
    """The members of a sample as the columns of a table name them, in the order in which they lie in the tar."""
    return ["json", *(f"prefix_{codec}_wav" for codec in spec.prefixes), "source_wav", "target_syx", "target_wav"]


def read_table(
    data: bytes, columns: "pa.Schema", where: object, rows: int | None = None, optional: frozenset[str] = frozenset()
) -> "pa.Table":
    """A Parquet file with exactly these columns, of which the optional ones may be missing, and so many rows.

    Raises InputError. It is not read when it would take more memory than such a file can need. Texts are read as a
    dictionary first: a long one that is there a million times is one.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        metadata = pq.read_metadata(pa.BufferReader(data))
        found = metadata.schema.to_arrow_schema()
        columns = pa.schema(field for field in columns if field.name not in optional or field.name in found.names)
        _check_columns(found, columns, where)
        _check_sizes(metadata, len(data), where, rows)
        texts = [field.name for field in columns if field.type in (pa.string(), pa.binary())]
        lists = [f"{field.name}.list.element" for field in columns if field.type == pa.list_(pa.string())]
        table = decode_parquet(data, dictionaries=texts + lists).select(columns.names)
        for name in texts:
            _check_texts(table[name], len(data), f"{where}, column {name}")
        for name in (name.partition(".")[0] for name in lists):
            items = pa.chunked_array(chunk.flatten() for chunk in table[name].chunks)
            _check_texts(items, len(data), f"{where}, column {name}")
        table = table.cast(columns)
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        raise InputError(f"{where} is no table that can be read: {str(error).splitlines()[0]}") from None
    for name in columns.names:
        if table[name].null_count and name not in _OPTIONAL:
            raise InputError(f"{where}, column {name}: it lacks values")
    return table


def _check_columns(found: "pa.Schema", columns: "pa.Schema", where: object) -> None:
    there, wanted = {field.name: field.type for field in found}, {field.name: field.type for field in columns}
    for name in sorted(there.keys() ^ wanted.keys()) + (["?"] if len(found) != len(there) else []):
        raise InputError(f"{where}, column {name!r}: " + ("it is missing" if name in wanted else "no such table has it"))
    for name, kind in wanted.items():
        if there[name] != kind:
            raise InputError(f"{where}, column {name}: it holds {there[name]}, not {kind}")


def _check_sizes(metadata: Any, size: int, where: object, rows: int | None) -> None:
    """What a Parquet file says of itself, before it is read."""
    if rows is not None and metadata.num_rows != rows:
        raise InputError(f"{where} has {metadata.num_rows:,} rows, not {rows:,}")
    parts = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    chunks = [part.column(i) for part in parts for i in range(part.num_columns)]
    unpacked = max(sum(chunk.total_uncompressed_size for chunk in chunks), 4 * sum(chunk.num_values for chunk in chunks))
    if metadata.num_rows * _ROW_BYTES > size or unpacked > _GROWTH * size + _SLACK:
        raise InputError(f"{where} would grow from {size:,} bytes to {metadata.num_rows:,} rows of {unpacked:,} bytes")
    if others := {chunk.compression for chunk in chunks} - _CODECS:
        raise InputError(f"{where} is compressed by {min(others)}, not by {' or '.join(sorted(_CODECS))}")


def _check_texts(column: "pa.ChunkedArray", size: int, where: object) -> None:
    """A column of texts, read as a dictionary: none is very long, nor are all of them together for a file of this size."""
    import pyarrow.compute as pc

    total = 0
    for chunk in column.chunks:
        lengths = pc.binary_length(chunk.dictionary)
        total += pc.sum(lengths.take(chunk.indices)).as_py() or 0
        if (pc.max(lengths).as_py() or 0) > _TEXT_BYTES or total > _GROWTH * size + _SLACK:
            raise InputError(f"{where}: its texts are too long")


def read_shard_table(data: bytes, spec: Spec, shard: Shard, tar_bytes: int, where: object) -> "pa.Table":
    """The table of a shard, all of whose values are such that a render could have written them. Raises InputError.

    Where the members of a sample lie follows from their lengths, and those, but for the json, from the spec.
    """
    since_format_3 = frozenset(f"prefix_{codec}_samples" for codec in spec.prefixes)
    table = read_table(data, list_shard_columns(spec), where, shard.count, since_format_3)
    numbers = {field.name: view_numbers(table[field.name]) for field in table.schema if field.type == "int64"}
    numbers["index"] = numbers["index"] - shard.first - np.arange(shard.count)
    numbers["target_syx_bytes"] = numbers["target_syx_bytes"] - _VOICE_DUMP * numbers["layers"]
    for name, (minimum, maximum) in _limits(spec).items():
        if name in numbers and ((numbers[name] < minimum) | (numbers[name] > maximum)).any():
            raise InputError(f"{where}, column {name}: no sample of this data set has such a value")
    if table["key"].to_pylist() != [make_key(shard.split, shard.first + i) for i in range(shard.count)]:
        raise InputError(f"{where}, column key: it does not name the samples of this shard")
    if (end := _check_offsets(table, spec, where)) > tar_bytes:
        raise InputError(f"{where}: its samples end at byte {end:,} of a tar of {tar_bytes:,} bytes")
    return table


def _limits(spec: Spec) -> dict[str, tuple[int, int]]:
    """By column of the table of a shard; for `index` and `target_syx_bytes`, of the difference from what it must be."""
    limits = dict.fromkeys(("index", "target_syx_bytes"), (0, 0)) | {"algorithm": (1, 32), "layers": spec.layers}
    limits |= {"notes": (1, JSON_BYTES), "json_bytes": (2, JSON_BYTES)}
    limits |= dict.fromkeys(("lowest_note", "highest_note"), (0, 127))
    lengths = {"prefix_" + codec: spec.prefix_samples(codec) for codec in spec.prefixes}
    limits |= {f"{name}_samples": (length, length) for name, length in lengths.items()}
    for clip in ("source", "target"):
        limits |= {f"{clip}_peak": (0, 32768), f"{clip}_clipped": (0, spec.samples)}
        lengths[clip] = spec.samples
    sizes = {f"{name}_wav_bytes": _WAV_HEADER + 2 * length for name, length in lengths.items()}
    return limits | {name: (size, size) for name, size in sizes.items()}


def _check_offsets(table: "pa.Table", spec: Spec, where: object) -> int:
    """Raises InputError where a member does not follow the one before; returns where the last one ends."""
    members = _list_members(spec)
    sizes = np.stack([view_numbers(table[f"{member}_bytes"]) for member in members], axis=1)
    offsets = np.stack([view_numbers(table[f"{member}_offset"]) for member in members], axis=1)
    ends = np.cumsum(_TAR_BLOCK + -(-sizes // _TAR_BLOCK) * _TAR_BLOCK).reshape(sizes.shape)
    begins = np.append(0, ends.ravel()[:-1]).reshape(sizes.shape) + _TAR_BLOCK
    for i, member in enumerate(members):
        if (begins[:, i] != offsets[:, i]).any():
            raise InputError(f"{where}, column {member}_offset: the member is not where the one before it ends")
    return int(ends[-1, -1])


def check_patches(patches: Patches, spec: Spec, counts: dict[str, int], where: object) -> None:
    """Can samples be made of the rows of a plan? Raises InputError."""
    for name, legal in (("splits", {*SPLITS, EVERY_SPLIT}), ("kinds", set(KINDS))):
        if unknown := set(getattr(patches, name)) - legal:
            raise InputError(f"{where}, column {name[:-1]}: {min(unknown)!r} is none of {', '.join(sorted(legal))}")
    if patches.ids != sorted(patches.ids) or not all(map(_PATCH_ID.fullmatch, patches.ids)):
        raise InputError(f"{where}, column id: it must be 16 hexadecimal digits, in order")
    for split in counts:
        if not (patches.within(split) & patches.targets).any():
            raise InputError(f"{where}, column target: {split} has samples and no target")
    own = int((patches.within("train") & patches.targets).sum())
    if spec.train_patches not in (None, own):
        raise InputError(f"{where}, column target: train has {own}, and the plan says {spec.train_patches}")
    if spec.pairs:
        _check_pairs(patches, counts, where)


def _check_pairs(patches: Patches, counts: dict[str, int], where: object) -> None:
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
