"""A good data set, and all of its hashes put right after a change, as a person who means harm would do it."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.campaign.hostile_folders.values import deepen
from dx7data import cli, files
from dx7data.patches import patch
from dx7data.phrases.columns import Phrases
from dx7data.plan.plan import ENGINE, FORMAT

SHARD = "train-000000"
OPTIONS = ["--samples", "12", "--seconds", "0.1", "--split", "0.5,0.25,0.25", "--workers", "1"]


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
        write_json(path, own, signed=True)
    write_json(folder / "dataset.json", document, signed=True)
    index = json.loads((folder / "index.json").read_bytes()) if (folder / "index.json").is_file() else {"shards": []}
    for each in index["shards"]:
        if each["name"] == SHARD:
            each |= {name: stats[name] for name in ("samples", "tar", "parquet") if name in stats}
    if (folder / "index.json").is_file():
        write_json(folder / "index.json", index | {"fingerprint": right})


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


def write_json(path: Path, document: dict, signed: bool = False) -> None:
    document = {name: value for name, value in document.items() if name != "sha256"}
    if signed:
        document["sha256"] = hashlib.sha256(deepen(json.dumps(document))).hexdigest()
    path.write_bytes(deepen(json.dumps(document, indent=1) + "\n"))
