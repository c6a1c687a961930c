"""Shards: a plan's samples as WebDataset tars, each with a table beside it and its hashes, written last.

The tar has what `tar`, `webdataset` and `datasets` expect (ustar, the members of a sample side by side) and nothing that
depends on who wrote it or when. `NAME.stats.json` is the sign that a shard is whole.
"""

import hashlib
import tarfile
from collections.abc import Callable, Iterable, Iterator
from io import BytesIO
from itertools import islice
from typing import TYPE_CHECKING, BinaryIO

from dx7data.arrow import encode_parquet
from dx7data.audio import clips
from dx7data.errors import InputError
from dx7data.files import add_hash
from dx7data.plan import sample, schema, tables
from dx7data.plan.plan import Plan
from dx7data.plan.sample import batch_size
from dx7data.plan.spec import Shard
from dx7data.storage import Folder

if TYPE_CHECKING:  # it takes a tenth of a second to import
    import pyarrow as pa

_GPU_BATCH_BYTES = 512 << 20  # of audio, on a GPU, which wants tens of thousands of notes: 3,355 samples of 2.5 s at 16 kHz
_RECORD = tarfile.RECORDSIZE
_HEADER = tarfile.TarInfo("").tobuf(tarfile.USTAR_FORMAT)  # mtime, uid, gid 0, mode 644, no names of people
_SIZE, _CHECKSUM = slice(124, 135), slice(148, 154)  # octal digits of it (POSIX, ustar)
_REST = int(_HEADER[_CHECKSUM], 8) - sum(_HEADER[_SIZE])  # what all but name and size add to the checksum


class _HashedFile:
    """A file whose length and SHA-256 are known at its end."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._state = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self._state.update(data)
        self.size += len(data)

    def hexdigest(self) -> str:
        return self._state.hexdigest()


def write_shards(
    plan: Plan,
    shards: list[Shard],
    folder: Folder,
    progress: Callable[[int], None] = lambda samples: None,
    device: str = "cpu",
) -> None:
    """Render some shards into a folder. `progress` is called with the number of samples done, every few."""
    samples = _render_batches(plan, shards, batch_size(plan) if device == "cpu" else gpu_batch_size(plan), device, progress)
    for each in shards:
        _write_shard(plan, each, folder, islice(samples, each.count))


def _render_batches(
    plan: Plan, shards: list[Shard], maximum: int, device: str, progress: Callable[[int], None]
) -> Iterator[sample.Sample]:
    """The samples of some shards, `maximum` or fewer at a time; on a GPU, each is overwritten after the last of them."""
    places = [(each.split, each.first + i) for each in shards for i in range(each.count)]
    batch = -(-len(places) // -(-len(places) // maximum))
    pinned_buffer = clips.get_pinned_buffer(2 * batch * plan.spec.samples, device)
    for chosen in sample.divide(plan, places, batch, sample.BATCH_NOTES):
        samples = sample.render_chosen(plan, chosen, device, pinned_buffer)
        progress(len(samples))
        yield from samples


def _write_shard(plan: Plan, shard: Shard, folder: Folder, samples: Iterable[sample.Sample]) -> None:
    with folder.create(f"{shard.name}.tar") as file:
        tar = _HashedFile(file)
        table = [_make_row(plan, one, _append(tar, one)) for one in samples]
        tar.write(bytes(-(tar.size + 2 * tarfile.BLOCKSIZE) % _RECORD + 2 * tarfile.BLOCKSIZE))
    summary = {
        "fingerprint": plan.fingerprint,
        "split": shard.split,
        "shard": shard.number,
        "samples": len(table),
        "patches": len({row["patch_id"] for row in table}),
        "phrases": len({row["phrase_id"] for row in table}),
        "peak": max(max(row["source_peak"], row["target_peak"]) for row in table),
        "clipped_samples": sum(row["source_clipped"] + row["target_clipped"] > 0 for row in table),
        "silent_samples": sum(row["target_peak"] == 0 for row in table),
        "tar": {"bytes": tar.size, "sha256": tar.hexdigest()},
        "parquet": _write_table(table, folder, f"{shard.name}.parquet"),
    }
    # Last, and with it the names of all three are on the disk.
    folder.write(f"{shard.name}.stats.json", add_hash(summary))


def load_stats(plan: Plan, shard: Shard, folder: Folder, sizes: dict[str, int | None] | None = None) -> schema.Stats:
    """The stats of a shard that is whole and of this plan. Raises InputError, which says what is wrong with it.

    sizes: of Folder.list_sizes, which saves a request for each file.
    """
    name, sizes = f"{shard.name}.stats.json", sizes or {}
    try:
        summary = plan.check_stats(shard, folder.read(name, schema.STATS_BYTES), folder.where(name))
        for kind in ("tar", "parquet"):
            name = f"{shard.name}.{kind}"
            size = folder.measure(name) if (listed := sizes.get(name)) is None else listed
            if size != summary[kind]["bytes"]:
                raise InputError(f"the {kind} was cut or changed: it has {size:,} bytes, not {summary[kind]['bytes']:,}")
    except FileNotFoundError:
        raise InputError(f"{name} is missing") from None
    return summary


def read_stats(plan: Plan, shard: Shard, folder: Folder, sizes: dict[str, int | None] | None = None) -> schema.Stats | None:
    """The stats of a shard that is whole and of this plan, else None."""
    try:
        return load_stats(plan, shard, folder, sizes)
    except InputError:
        return None


def read_own_stats(folder: Folder, name: str) -> schema.Stats | None:
    """What a `.stats.json` says of its shard, whatever its plan; None if it is damaged."""
    try:
        data = folder.read(name, schema.STATS_BYTES)
        found: schema.Stats = schema.decode_signed(data, schema.Stats, folder.where(name))
        return found
    except (FileNotFoundError, InputError):
        return None


def gpu_batch_size(plan: Plan) -> int:
    """As sample.batch_size, on a GPU, whose memory is divided elsewhere: two bytes a sample, of clips and prefixes."""
    spec = plan.spec
    return max(1, _GPU_BATCH_BYTES // (2 * (2 * spec.samples + sum(map(spec.prefix_samples, spec.prefixes)))))


def _append(tar: _HashedFile, one: sample.Sample) -> dict[str, int]:
    """Append a sample's members; returns where the content of each lies: `json_offset`, `json_bytes`, ..."""
    places, parts, end = {}, [], tar.size
    for name, data in one.members():
        column = name.removeprefix(one.key + ".").replace(".", "_")
        places[f"{column}_offset"], places[f"{column}_bytes"] = end + tarfile.BLOCKSIZE, len(data)
        padding = bytes(-len(data) % tarfile.BLOCKSIZE)
        parts += [make_header(name, len(data)), data, padding]
        end += tarfile.BLOCKSIZE + len(data) + len(padding)
    tar.write(b"".join(parts))
    return places


def make_header(name: str, size: int) -> bytes:
    """What tarfile makes of a member, in a tenth of its time; the name has at most 100 bytes."""
    made, called, digits = bytearray(_HEADER), name.encode(), b"%011o" % size
    made[: len(called)] = called
    made[_SIZE] = digits
    made[_CHECKSUM] = b"%06o" % (_REST + sum(called) + sum(digits))
    return bytes(made)


def read_members(folder: Folder, shard: Shard, row: dict) -> dict[str, bytes]:
    """The members of one row of a shard's table, by name, such as `source.wav`; nothing else of the tar is read.

    Raises InputError where the tar has another member than the table says.
    """
    tar, places = f"{shard.name}.tar", list_members(row)
    begin, end = places[0][1] - tarfile.BLOCKSIZE, sum(places[-1][1:])
    part, members = BytesIO(folder.read_part(tar, begin, end - begin)), {}
    for name, offset, size in places:
        _check_member(part, f"{row['key']}.{name}", offset - begin, size, folder.where(tar))
        members[name] = part.read(size)
    return members


def list_members(row: dict) -> list[tuple[str, int, int]]:
    """Name, offset and length of the members of a sample, in the order in which they lie in the tar."""
    columns = [name.removesuffix("_offset") for name in row if name.endswith("_offset")]
    places = [(column.replace("_", "."), row[f"{column}_offset"], row[f"{column}_bytes"]) for column in columns]
    return sorted(places, key=lambda place: place[1])


def check_members(file: BinaryIO, rows: list[dict], where: str) -> None:
    """Raises InputError where a tar has another member than its table says, such as one that unpacks to another folder."""
    for row in rows:
        for name, offset, size in list_members(row):
            _check_member(file, f"{row['key']}.{name}", offset, size, where)


def _check_member(file: BinaryIO, name: str, offset: int, size: int, where: str) -> None:
    """Go to where a member of a tar begins. Raises InputError where another one does."""
    file.seek(offset - tarfile.BLOCKSIZE)
    if file.read(tarfile.BLOCKSIZE) != make_header(name, size):
        raise InputError(f"{where} has another member than {name} where its table says: dx7data verify --fix mends it")


def read_table(plan: Plan, shard: Shard, folder: Folder, stats: schema.Stats | None = None) -> "pa.Table":
    """The table of a shard, as it was written. stats: of load_stats, if they are known. Raises InputError."""
    stats, name = stats or load_stats(plan, shard, folder), f"{shard.name}.parquet"
    data, where = folder.read(name, stats["parquet"]["bytes"]), folder.where(name)
    if hashlib.sha256(data).hexdigest() != stats["parquet"]["sha256"]:
        raise InputError(f"{where} has changed since it was rendered: dx7data verify says what is wrong, and --fix mends it")
    return tables.read_shard_table(data, plan.spec, shard, stats["tar"]["bytes"], where)


def read_rows(plan: Plan, shard: Shard, folder: Folder, stats: schema.Stats | None = None) -> list[dict]:
    """The table of a shard, a dictionary for each sample. Raises InputError."""
    return read_table(plan, shard, folder, stats).to_pylist()


def _make_row(plan: Plan, one: sample.Sample, places: dict[str, int]) -> dict:
    """The row of a sample in the table of its shard."""
    meta = one.meta
    return {
        "key": one.key,
        "index": meta["index"],
        "patch_id": meta["layers"][0]["id"],
        "patch_name": meta["layers"][0]["name"],
        "algorithm": meta["layers"][0]["algorithm"],
        "layers": len(meta["layers"]),
        "source_id": meta["source"]["id"],
        "phrase_id": meta["phrase"]["id"],
        "phrase_kind": meta["phrase"]["kind"],
        **({"pair_with": meta["pair"]["with"]} if plan.spec.pairs else {}),
        **{f"prefix_{codec}_samples": len(audio) for codec, audio in one.prefixes.items()},
        "notes": len(meta["notes"]),
        "lowest_note": min(note["note"] for note in meta["notes"]),
        "highest_note": max(note["note"] for note in meta["notes"]),
        **{f"{clip}_{what}": meta[what][clip] for what in ("peak", "clipped", "gain") for clip in ("source", "target")},
        **places,
    }


def _write_table(rows: list[dict], folder: Folder, name: str) -> dict:
    import pyarrow as pa

    data = encode_parquet(pa.Table.from_pylist(rows))
    with folder.create(name) as file:
        file.write(data)
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
