"""Data sets that somebody has made to do harm: small folders, all of whose hashes are right, so that nothing but the checks
of each field stands between them and the reader.

Every case is a function that changes a good data set; `collect` has them by name. All of them end with `sign`, which puts
right every hash in the folder, as the person who made it would.
"""

import hashlib
import io
import json
import math
import os
import tarfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dx7data import cli, files
from dx7data.patches import patch
from dx7data.phrases.phrase import Phrases
from dx7data.plan.plan import ENGINE, FORMAT

MARKUP = '<script>alert("dx7")</script>'
TERMINAL = "\x1b]0;dx7\x07\x1b[2J\u202e"
CLIMBING = "../../../outside/climbed"
ABSOLUTE = "/tmp/dx7data-hostile-climbed"
DEEP = "@deep@"  # stands for 100,000 levels of lists, which no program writes from an object
_LEVELS = 100_000
SHARD = "train-000000"
OPTIONS = ["--samples", "12", "--seconds", "0.1", "--split", "0.5,0.25,0.25", "--workers", "1"]

CASES: dict[str, Callable[[Path], None]] = {}


def make(folder: Path, seed: int = 0) -> None:
    """A good data set of 12 samples, with phrases of a table and a prefix."""
    options = [*OPTIONS, "--prefix", "bytes", "--phrases", str(_write_phrases(folder, seed)), "--seed", str(seed)]
    status = cli.main(["render", "--patches", "example", "--out", str(folder), *options])
    if status:
        raise RuntimeError(f"the good data set can't be made: status {status}")


def _write_phrases(folder: Path, seed: int) -> Path:
    path = folder.with_name("phrases.parquet")
    rows = [
        {"phrase_id": f"p{i}", "start_time": 0.02 * k, "duration": 0.02, "note": 48 + i + k + seed, "velocity": 60 + i}
        for i in range(12)
        for k in range(3)
    ]
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


# --- Hashes ---


def sign(folder: Path, document: dict | None = None, stats: dict | None = None) -> None:
    """Put right all hashes; document: of the plan, stats: of the first shard, where they are other ones than there."""
    document = document or json.loads((folder / "dataset.json").read_bytes())
    stats = stats or json.loads((folder / f"{SHARD}.stats.json").read_bytes())
    if isinstance(document.get("tables"), dict):
        for name in document["tables"]:
            if (folder / name).is_file():
                document["tables"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    right = _fingerprint(folder, document)
    if right:
        document["fingerprint"] = stats["fingerprint"] = right
    for kind in ("tar", "parquet"):
        path = folder / f"{SHARD}.{kind}"
        if path.is_file() and isinstance(stats.get(kind), dict) and stats[kind].keys() == {"bytes", "sha256"}:
            good = {"bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
            stats[kind] |= {name: good[name] for name, value in stats[kind].items() if is_plain(value)}
    for path in folder.glob("*.stats.json"):
        own = stats if path.name.startswith(SHARD) else json.loads(path.read_bytes()) | {"fingerprint": right}
        _write_json(path, own, signed=True)
    _write_json(folder / "dataset.json", document, signed=True)
    index = json.loads((folder / "index.json").read_bytes()) if (folder / "index.json").is_file() else {"shards": []}
    for each in index["shards"]:
        if each["name"] == SHARD:
            each |= {name: stats[name] for name in ("samples", "tar", "parquet") if name in stats}
    if (folder / "index.json").is_file():
        _write_json(folder / "index.json", index | {"fingerprint": right})


def is_plain(value) -> bool:
    """A value as a good data set has it, to be put right; others are what the case is about."""
    return (isinstance(value, int) and 0 <= value < 10**9) or (isinstance(value, str) and len(value) == 64)


def _fingerprint(folder: Path, document: dict) -> str | None:
    """As the plan computes it, from whatever is there; None where nothing can be computed."""
    try:
        state = hashlib.sha256(files.to_canonical_json({"format": FORMAT, "engine": ENGINE, "spec": document["spec"]}))
        columns = ["packed", "id", "split", "kind", "parents", "target"]
        table = pq.read_table(folder / "patches.parquet", columns=columns).to_pydict()
        packed = np.frombuffer(b"".join(table["packed"]), np.uint8).reshape(-1, patch.PACKED_BYTES)
        state.update(patch.unpack(packed).tobytes())
        state.update(files.to_canonical_json([table["id"], table["split"], table["kind"]]))
        state.update(files.to_canonical_json([table["parents"], table["target"]]))
        if (folder / "phrases.arrow").exists():
            with pa.memory_map(str(folder / "phrases.arrow")) as source, pa.ipc.open_file(source) as file:
                Phrases(file.read_all()).hash_into(state)
        return state.hexdigest()
    except Exception:  # whatever is wrong with it: there is no right hash of such a thing
        return None


def _write_json(path: Path, document: dict, signed: bool = False) -> None:
    document = {name: value for name, value in document.items() if name != "sha256"}
    if signed:
        document["sha256"] = hashlib.sha256(_deepen(json.dumps(document))).hexdigest()
    path.write_bytes(_deepen(json.dumps(document, indent=1) + "\n"))


def _deepen(text: str) -> bytes:
    return text.replace(f'"{DEEP}"', "[" * _LEVELS + "]" * _LEVELS).encode()


# --- Values ---


def _wrong_values(value) -> Iterator[tuple[str, object]]:
    """What stands in the place of a value: of another type, negative, huge, nested, absolute, climbing, markup."""
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


def _variants(document: dict, rotate: bool) -> Iterator[tuple[str, dict]]:
    """The document with a wrong value in every field: all wrong values, or in turn one or two of them."""
    for n, path in enumerate(_fields(document)):
        values = [("missing", ...), *_wrong_values(_get(document, path))]
        if rotate:
            values = [values[n % len(values)], values[(n + len(values) // 2) % len(values)]]
        for word, value in values:
            yield f"{'.'.join(map(str, path))} is {word}", _changed(document, path, value)


# --- The cases ---


def case(name: str):
    """Add a function to the cases."""

    def add(change):
        CASES[name] = change
        return change

    return add


def collect(good: Path, other: Path) -> dict[str, Callable[[Path], None]]:
    """All cases: those below; for each field of each document of a good data set some wrong values; what else may stand in
    the place of each file; and files of another data set.
    """
    cases = dict(CASES)
    document = json.loads((good / "dataset.json").read_bytes())
    for word, changed in _variants({name: value for name, value in document.items() if name != "sha256"}, rotate=True):
        cases[f"dataset.json: {word}"] = partial(_with_document, changed)
    stats = json.loads((good / f"{SHARD}.stats.json").read_bytes())
    for word, changed in _variants({name: value for name, value in stats.items() if name != "sha256"}, rotate=True):
        cases[f"stats: {word}"] = partial(_with_stats, changed)
    for word, changed in _variants(json.loads((good / "index.json").read_bytes()), rotate=True):
        cases[f"index.json: {word}"] = partial(_with_index, changed)
    sample = _first_json(good)
    for word, changed in _variants(sample, rotate=True):
        cases[f"json of a sample: {word}"] = partial(_with_sample, changed)
    of_a_shard = [f"{SHARD}.{kind}" for kind in ("tar", "parquet", "stats.json")]
    for name in ["dataset.json", "patches.parquet", "phrases.arrow", *of_a_shard, "index.json", "README.md", "render.log"]:
        for word, put in IN_ITS_PLACE.items():
            cases[f"{name} is {word}"] = partial(_replace, name, put)
        cases[f"{name} is another's"] = partial(borrow, name, other)
    return cases


def _with_document(document: dict, folder: Path) -> None:
    sign(folder, document)


def _with_stats(stats: dict, folder: Path) -> None:
    own = json.loads((folder / f"{SHARD}.stats.json").read_bytes())
    sign(folder, stats=stats | ({} if "fingerprint" not in stats else {"fingerprint": stats["fingerprint"]}))
    if "fingerprint" not in stats or not is_plain(stats["fingerprint"]):  # sign has put it right
        wrong = json.loads((folder / f"{SHARD}.stats.json").read_bytes())
        wrong.pop("fingerprint", None)
        _write_json(folder / f"{SHARD}.stats.json", wrong | {k: v for k, v in stats.items() if k == "fingerprint"}, True)
    del own


def _with_index(index: dict, folder: Path) -> None:
    _write_json(folder / "index.json", index)
    for path in folder.glob("*.stats.json"):  # the index is what a reader goes by first
        path.touch()


# Files


def _link_out(path: Path) -> None:
    target = path.parent.parent / "outside" / path.name
    target.parent.mkdir(exist_ok=True)
    if path.is_file():
        target.write_bytes(path.read_bytes())
    path.unlink()
    path.symlink_to(target)


def _make_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "within.txt").write_text("a file of the user")


def _link_to(target: str, path: Path) -> None:
    path.unlink()
    path.symlink_to(target)


IN_ITS_PLACE = {
    "a link that leads out": _link_out,
    "a dangling link": partial(_link_to, "../outside/nothing"),
    "a link to itself": lambda path: _link_to(path.name, path),
    "a link to /dev/zero": partial(_link_to, "/dev/zero"),
    "a pipe": _make_fifo,
    "a folder": _make_folder,
    "empty": lambda path: path.write_bytes(b""),
    "missing": Path.unlink,
}


def _replace(name: str, put: Callable[[Path], None], folder: Path) -> None:
    path = folder / name
    if not path.exists():
        path.write_bytes(b"")
    put(path)


@case("a folder and files with names for the terminal")
def _(folder: Path) -> None:
    (folder / f"{TERMINAL}.tar").write_bytes(b"")
    (folder / f"train-00000{TERMINAL}.tar").mkdir()
    (folder / f".0123abcd.{SHARD}.tar.partial").symlink_to("../outside/partial")


@case("more shards than the plan has")
def _(folder: Path) -> None:
    for kind in ("tar", "parquet", "stats.json"):
        (folder / f"train-999999.{kind}").write_bytes((folder / f"{SHARD}.{kind}").read_bytes())


# Numbers that are legal one by one


def _with(folder: Path, spec: dict | None = None, **fields) -> None:
    document = json.loads((folder / "dataset.json").read_bytes())
    sign(folder, document | fields | {"spec": document["spec"] | (spec or {})})


@case("a billion shards of one sample")
def _(folder: Path) -> None:
    _with(folder, {"shard_bytes": 1}, samples={"train": 10**9, "val": 1, "test": 1})


@case("a billion samples in one shard")
def _(folder: Path) -> None:
    _with(folder, {"shard_bytes": 10**15}, samples={"train": 10**9})


@case("a billion samples of each split")
def _(folder: Path) -> None:
    _with(folder, samples=dict.fromkeys(("train", "val", "test"), 10**18))


@case("a split without patches")
def _(folder: Path) -> None:
    _table(folder, "patches.parquet", "split", ["train"] * 32)


@case("tables: /dev/zero")
def _(folder: Path) -> None:
    document = json.loads((folder / "dataset.json").read_bytes())
    sign(folder, document | {"tables": document["tables"] | {"/dev/zero": "0" * 64}})


@case("tables: climbing")
def _(folder: Path) -> None:
    document = json.loads((folder / "dataset.json").read_bytes())
    sign(folder, document | {"tables": document["tables"] | {CLIMBING: "0" * 64}})


@case("a shard of 7 GiB")
def _(folder: Path) -> None:
    stats = json.loads((folder / f"{SHARD}.stats.json").read_bytes())
    sign(folder, stats=stats | {"tar": {"bytes": 7 << 30, "sha256": stats["tar"]["sha256"]}})


@case("a digest that climbs")
def _(folder: Path) -> None:
    stats = json.loads((folder / f"{SHARD}.stats.json").read_bytes())
    sign(folder, stats=stats | {"tar": stats["tar"] | {"sha256": CLIMBING}})


# --- Tables ---


def _table(folder: Path, name: str, column: str, values) -> None:
    """Another column in a table; None takes it out."""
    table = pq.read_table(folder / name)
    place = table.schema.get_field_index(column)
    if values is None:
        table = table.remove_column(place)
    elif place < 0:
        table = table.append_column(column, values)
    else:
        table = table.set_column(place, column, values if isinstance(values, pa.Array) else pa.array(values))
    pq.write_table(table, folder / name)
    sign(folder)


def _column_cases(name: str, good_columns: dict[str, list]) -> None:
    """For each column some wrong values."""
    for n, (column, wrong) in enumerate(good_columns.items()):
        for word, value in wrong[n % 2 :: 2] if len(wrong) > 2 else wrong:
            CASES[f"{name}: {column} {word}"] = partial(_fill, name, column, value)


def _fill(name: str, column: str, value, folder: Path) -> None:
    count = pq.read_metadata(folder / name).num_rows
    _table(folder, name, column, None if value is None else value(count))


_GONE = ("is missing", None)
_NULLS = ("has no values", lambda count: pa.nulls(count, pa.string()))
_NUMBERS = [
    _GONE,
    ("is negative", lambda count: pa.array([-1] * count, pa.int64())),
    ("is huge", lambda count: pa.array([2**62] * count, pa.int64())),
    ("is text", lambda count: pa.array([MARKUP] * count)),
    ("is nested", lambda count: pa.array([[1]] * count)),
    ("is null", lambda count: pa.nulls(count, pa.int64())),
]
_TEXTS = [
    _GONE,
    ("is markup", lambda count: pa.array([MARKUP] * count)),
    ("is for the terminal", lambda count: pa.array([TERMINAL] * count)),
    ("climbs", lambda count: pa.array([CLIMBING] * count)),
    ("is a number", lambda count: pa.array([2**62] * count)),
    ("is long", lambda count: pa.array(["9" * 10**6] * count)),
    ("is nested", lambda count: pa.array([["a"]] * count)),
    _NULLS,
]
_column_cases(
    f"{SHARD}.parquet",
    dict.fromkeys(("key", "patch_id", "patch_name", "source_id", "phrase_id", "phrase_kind"), _TEXTS)
    | dict.fromkeys(
        (
            "index",
            "algorithm",
            "layers",
            "notes",
            "lowest_note",
            "highest_note",
            "source_peak",
            "target_peak",
            "target_clipped",
        ),
        _NUMBERS,
    )
    | dict.fromkeys(
        ("json_offset", "json_bytes", "source_wav_offset", "target_syx_bytes", "prefix_bytes_wav_bytes"), _NUMBERS
    )
    | {MARKUP: [("is there", lambda count: pa.array([1] * count))]}
    | {f"{MARKUP}_offset": [("is there", lambda count: pa.array([1] * count))]}
    | {f"{CLIMBING}_offset": [("is there", lambda count: pa.array([1] * count))]},
)
_column_cases(
    "patches.parquet",
    dict.fromkeys(("id", "name", "family", "split", "kind", "file", "sha256"), _TEXTS)
    | {
        "target": [
            ("is false", lambda count: pa.array([False] * count)),
            ("is text", lambda count: pa.array(["yes"] * count)),
        ],
        "parents": [
            ("is text", lambda count: pa.array(["a"] * count)),
            ("is nested", lambda count: pa.array([[["a"]]] * count)),
        ],
        "index": [
            ("is huge", lambda count: pa.array([2**62] * count)),
            ("is text", lambda count: pa.array([MARKUP] * count)),
        ],
    },
)


@case("patches.parquet: fields out of range")
def _(folder: Path) -> None:
    _table(folder, "patches.parquet", "packed", [b"\xff" * 128] * 32)


@case("patches.parquet: patches of 127 bytes")
def _(folder: Path) -> None:
    _table(folder, "patches.parquet", "packed", [b"\0" * 127] * 32)


@case("patches.parquet: a patch of a gigabyte")
def _(folder: Path) -> None:
    _write_grown(folder / "patches.parquet", "name")
    sign(folder)


@case("patches.parquet: ten million rows in some kilobytes")
def _(folder: Path) -> None:
    table = pa.table({"target": pa.array(np.zeros(10**7, bool))})
    pq.write_table(table, folder / "patches.parquet", compression="zstd")
    sign(folder)


@case("table of a shard: a gigabyte of one text")
def _(folder: Path) -> None:
    _write_grown(folder / f"{SHARD}.parquet", "patch_name")
    sign(folder)


def _write_grown(path: Path, column: str, rows: int = 1000) -> None:
    """As many rows of a text of a million letters: a dictionary of one, which is plain text to whoever reads it."""
    table = pq.read_table(path)
    table = table.take(pa.array(np.arange(rows) % table.num_rows))
    long = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array(["9" * 10**6]))
    pq.write_table(table.set_column(table.schema.get_field_index(column), column, long), path, store_schema=False)


@case("table of a shard: the rows in another order")
def _(folder: Path) -> None:
    table = pq.read_table(folder / f"{SHARD}.parquet")
    pq.write_table(table.take(pa.array(np.arange(table.num_rows)[::-1].copy())), folder / f"{SHARD}.parquet")
    sign(folder)


@case("table of a shard: no rows")
def _(folder: Path) -> None:
    pq.write_table(pq.read_table(folder / f"{SHARD}.parquet").slice(0, 0), folder / f"{SHARD}.parquet")
    sign(folder)


# Phrases


def _phrases(folder: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    path = folder / "phrases.arrow"
    with pa.memory_map(str(path)) as source, pa.ipc.open_file(source) as file:
        table = change(file.read_all())
        buffer = pa.BufferOutputStream()
        with pa.ipc.new_file(buffer, table.schema) as out:
            for batch in table.combine_chunks().to_batches():
                out.write_batch(batch)
    path.unlink()
    path.write_bytes(buffer.getvalue().to_pybytes())
    sign(folder)


def _set_about(text: str, table: pa.Table) -> pa.Table:
    place = table.schema.get_field_index("about")
    return table.set_column(place, table.schema.field(place), pa.array([text] * table.num_rows, pa.large_string()))


for _word, _text in {
    "no JSON": "{",
    "deeply nested": "[" * _LEVELS + "]" * _LEVELS,
    "markup": json.dumps({"file": MARKUP, "start": 1.0, "scale": MARKUP, "root": 60}),
    "for the terminal": json.dumps({"file": TERMINAL}),
    "of other types": json.dumps({"file": [1], "root": "x", "bpm": {}, "start": None}),
    "a list": "[1]",
    "huge": json.dumps({"file": "9" * 10**6}),
}.items():
    CASES[f"phrases.arrow: about is {_word}"] = partial(_phrases, change=partial(_set_about, _text))


def _set_notes(field: str, value: int, table: pa.Table) -> pa.Table:
    """One field of all notes; the lists stay as they are."""
    place = table.schema.get_field_index("notes")
    notes = table["notes"].combine_chunks()
    fields = {name: notes.values.field(i) for i, name in enumerate(("start", "held", "note", "velocity"))}
    fields[field] = pa.array(np.full(len(notes.values), value), fields[field].type)
    values = pa.StructArray.from_arrays(list(fields.values()), list(fields))
    return table.set_column(place, table.schema.field(place), pa.LargeListArray.from_arrays(notes.offsets, values))


for _field, _value in [("start", -1), ("start", 2**31 - 1), ("held", 0), ("held", -5), ("held", 2**31 - 1), ("note", 255),
                       ("velocity", 0), ("velocity", 255)]:  # fmt: skip
    CASES[f"phrases.arrow: {_field} is {_value}"] = partial(_phrases, change=partial(_set_notes, _field, _value))


def _set_bounds(bounds: Callable[[np.ndarray], np.ndarray], folder: Path) -> None:
    """Where the notes of each phrase begin and end, in the bytes of the file: pyarrow does not write such a table."""
    path = folder / "phrases.arrow"
    with pa.memory_map(str(path)) as source, pa.ipc.open_file(source) as file:
        old = np.array(file.read_all()["notes"].combine_chunks().offsets)
    data = path.read_bytes().replace(old.tobytes(), bounds(old).tobytes(), 1)
    path.unlink()
    path.write_bytes(data)
    sign(folder)


for _word, _bounds in {
    "beyond the end": lambda old: np.append(old[:-1], 10**12),
    "negative": lambda old: old - 10**6,
    "backwards": lambda old: old[::-1].copy(),
    "all the same": lambda old: np.zeros_like(old),
}.items():
    CASES[f"phrases.arrow: bounds {_word}"] = partial(_set_bounds, _bounds)


@case("phrases.arrow: a word that is not in the dictionary")
def _(folder: Path) -> None:
    def change(table):
        place = table.schema.get_field_index("split")
        old = table["split"].combine_chunks()
        indices = pa.array(np.full(len(old), 100, np.int8)).buffers()
        wrong = pa.Array.from_buffers(pa.int8(), len(old), indices)
        made = pa.DictionaryArray.from_arrays(wrong, old.dictionary, safe=False)
        return table.set_column(place, table.schema.field(place), made)

    _phrases(folder, change)


@case("phrases.arrow: a split of no plan")
def _(folder: Path) -> None:
    def change(table):
        place = table.schema.get_field_index("split")
        made = pa.array([CLIMBING] * table.num_rows).dictionary_encode().cast(table.schema.field(place).type)
        return table.set_column(place, table.schema.field(place), made)

    _phrases(folder, change)


@case("phrases.arrow: a column more")
def _(folder: Path) -> None:
    _phrases(folder, lambda table: table.append_column(MARKUP, pa.array([1] * table.num_rows)))


@case("phrases.arrow: not Arrow")
def _(folder: Path) -> None:
    (folder / "phrases.arrow").unlink()
    (folder / "phrases.arrow").write_bytes(b"ARROW1\0\0" + bytes(1000) + b"ARROW1")
    sign(folder)


@case("phrases.arrow: cut short")
def _(folder: Path) -> None:
    data = (folder / "phrases.arrow").read_bytes()
    (folder / "phrases.arrow").unlink()
    (folder / "phrases.arrow").write_bytes(data[: len(data) // 2])
    sign(folder)


# --- Tars ---


def _first_json(folder: Path) -> dict:
    with tarfile.open(folder / f"{SHARD}.tar") as tar:
        return json.load(tar.extractfile(tar.next()))


def _rewrite(folder: Path, change: Callable[[tarfile.TarInfo, bytes], tuple[tarfile.TarInfo, bytes]]) -> None:
    """The tar with other members, and a table that says where they lie."""
    path = folder / f"{SHARD}.tar"
    with tarfile.open(path) as tar:
        members = [change(member, tar.extractfile(member).read()) for member in tar]
    table, data = pq.read_table(folder / f"{SHARD}.parquet"), io.BytesIO()
    names = [name.removesuffix("_offset") for name in table.column_names if name.endswith("_offset")]
    places = {f"{name}_{what}": [] for name in names for what in ("offset", "bytes")}
    for n, (member, content) in enumerate(members):
        data.write(member.tobuf(tarfile.USTAR_FORMAT))
        name = names[n % len(names)]
        places[f"{name}_offset"].append(data.tell())
        places[f"{name}_bytes"].append(len(content))
        data.write(content + bytes(-len(content) % 512))
    data.write(bytes(1024))
    data.write(bytes(-data.tell() % 10240))
    path.write_bytes(data.getvalue())
    for name, values in places.items():
        table = table.set_column(table.schema.get_field_index(name), name, pa.array(values, pa.int64()))
    pq.write_table(table, folder / f"{SHARD}.parquet")
    sign(folder)


def _with_sample(document: dict, folder: Path) -> None:
    text = _deepen(json.dumps(document, separators=(",", ":")))

    def change(member, data):
        if not member.name.endswith(".json"):
            return member, data
        member.size = len(text)
        return member, text

    _rewrite(folder, change)


def _header(word: str, **fields) -> None:
    def change(member, data):
        for name, value in fields.items():
            setattr(member, name, value(member.name) if callable(value) else value)
        return member, data

    CASES[f"tar: {word}"] = partial(_rewrite, change=change)


_header("names that climb", name=lambda name: f"../../../outside/{name}")
_header("absolute names", name=lambda name: f"/tmp/{name}")
_header("names for the terminal", name=lambda name: f"{TERMINAL}{name[-12:]}")
_header("links", type=tarfile.SYMTYPE, linkname="/etc/passwd")
_header("devices", type=tarfile.CHRTYPE)
_header("sizes of 8 GB", size=8**11 - 1)
_header("one name for all", name="train_00000000.source.wav")


@case("tar: wavs that are none")
def _(folder: Path) -> None:
    _rewrite(folder, lambda member, data: (member, bytes(len(data)) if member.name.endswith("wav") else data))


@case("tar: dumps that are none")
def _(folder: Path) -> None:
    _rewrite(folder, lambda member, data: (member, b"\xf0" * len(data) if member.name.endswith("syx") else data))


@case("tar: noise")
def _(folder: Path) -> None:
    size = (folder / f"{SHARD}.tar").stat().st_size
    (folder / f"{SHARD}.tar").write_bytes(np.random.default_rng(0).bytes(size))
    sign(folder)


@case("tar: cut short")
def _(folder: Path) -> None:
    (folder / f"{SHARD}.tar").write_bytes((folder / f"{SHARD}.tar").read_bytes()[:1000])
    sign(folder)


# --- Parts of another data set ---


def borrow(name: str, other: Path, folder: Path) -> None:
    """A file of another data set in the place of this one's."""
    (folder / name).unlink(missing_ok=True)
    (folder / name).write_bytes((other / name).read_bytes())
    if name != "dataset.json":
        document = json.loads((folder / "dataset.json").read_bytes())
        before = document["fingerprint"]
        sign(folder)
        document = json.loads((folder / "dataset.json").read_bytes())
        _write_json(folder / "dataset.json", document | {"fingerprint": before}, signed=True)
