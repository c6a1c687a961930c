"""A data-set folder: rendering a plan into it, and reading back what is there."""

import hashlib
import json
import platform
import re
import tarfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from dx7data import card, distribute, patch, plan, prefix, sample, shard, sysex
from dx7data.errors import InputError
from dx7data.files import PARTIAL, write_atomically
from dx7data.plan import Plan
from dx7data.report import shown
from dx7data.spec import Shard

_SHARD_FILES = re.compile(r"(train|val|test)-\d{6}\.(tar|parquet|stats\.json)")
_OTHER_FILES = {"dataset.json", "patches.parquet", "phrases.parquet", "index.json", "README.md", "render.log"}
_REBUILT = 3  # samples that verify renders again from each shard


def prepare(wanted: Plan, folder: Path, overwrite: bool) -> list[Shard]:
    """Put the plan into the folder, or find it there; returns the shards that are still to be made.

    Raises InputError when the folder holds another plan, unless `overwrite`, which removes what a render leaves in a folder
    and nothing else; and when it holds other files and no plan: a data set gets a folder of its own.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "dataset.json").exists():
            if foreign := [path.name for path in folder.iterdir() if not path.name.startswith(".") and not _is_own(path)]:
                raise InputError(f"{folder} holds {shown(foreign[0])} and no data set; choose an empty or a new folder")
            _begin(wanted, folder)
        elif overwrite:
            _clear(folder)
            _begin(wanted, folder)
        elif differences := plan.differences(Plan.load(folder), wanted):
            raise InputError(
                f"{folder} holds another data set: {'; '.join(differences)}. Choose another --out, or --overwrite it"
            )
    except OSError as error:
        raise InputError(f"can't write to {folder}: {error.strerror or error}") from None
    return [each for each in wanted.shards() if shard.stats(wanted, each, folder) is None]


def _begin(wanted: Plan, folder: Path) -> None:
    write_atomically(folder / "README.md", lambda file: file.write(card.text(wanted).encode()))
    wanted.write(folder)


def _clear(folder: Path) -> None:
    """Remove the files of an earlier render: the plan first, so that what is left is never taken for a whole data set."""
    for path in sorted(folder.iterdir(), key=lambda path: path.name != "dataset.json"):
        if _is_own(path):
            path.unlink()


def _is_own(path: Path) -> bool:
    name = path.name.removeprefix(".").removesuffix(PARTIAL) if path.name.endswith(PARTIAL) else path.name
    return name in _OTHER_FILES or _SHARD_FILES.fullmatch(name) is not None


def render(wanted: Plan, folder: Path, missing: list[Shard], workers: int, progress: Callable[[int], None]) -> None:
    """Make the missing shards, then the index. Whatever stops it, the folder holds only whole shards."""
    began = time.time()
    try:
        distribute.render(wanted, missing, folder, workers, progress)
        _write_index(wanted, folder)
        with open(folder / "render.log", "a") as log:
            now, took = time.strftime("%Y-%m-%dT%H:%M:%S%z"), time.time() - began
            log.write(f"{now} {platform.node()} {len(missing)} shards in {took:.1f} s\n")
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"writing to {folder} failed: {reason}. Whole shards are kept; the same command goes on") from None


def shards(folder: Path, of: Plan) -> Iterator[tuple[Shard, dict | None]]:
    """Every shard of a plan with its stats; None where it is missing, of another plan, or of another length."""
    for each in of.shards():
        yield each, shard.stats(of, each, folder)


def samples(folder: Path, name: str) -> Iterator[dict[str, bytes]]:
    """The samples of one shard in order: members by extension, and `__key__`."""
    with tarfile.open(folder / f"{name}.tar") as tar:
        current: dict = {}
        for member in tar:
            key, _, extension = member.name.partition(".")
            if current and current["__key__"] != key:
                yield current
                current = {}
            current |= {"__key__": key, extension: tar.extractfile(member).read()}
        if current:
            yield current


def verify(folder: Path, progress: Callable[[int], None] = lambda size: None) -> list[str]:
    """What is wrong with a data set, a sentence each; empty when every byte is as it was rendered.

    Every file is hashed and every member counted and measured; of each shard a few samples are rendered again.
    """
    of = Plan.load(folder)
    wrong = []
    for each, stats in shards(folder, of):
        if stats is None:
            wrong.append(f"{each.name}: missing, cut short, or of another plan; the same render makes it again")
            continue
        for kind in ("tar", "parquet"):
            path = folder / f"{each.name}.{kind}"
            if _sha256(path, progress) != stats[kind]["sha256"]:
                wrong.append(f"{path.name}: its content has changed since it was rendered")
        wrong += [f"{each.name}.tar: {problem}" for problem in _check_samples(of, each, folder)]
    known = {f"{each.name}.tar" for each in of.shards()}
    wrong += [
        f"{path.name}: no shard of this plan"
        for path in sorted(folder.glob("*.tar"))
        if _is_own(path) and path.name not in known
    ]
    return wrong


def summary(folder: Path, rows: int = 5) -> dict:
    """Counts, lengths and levels of a data set, and its first few sample rows, for `inspect`."""
    import pyarrow.parquet as pq

    of = Plan.load(folder)
    samples, algorithms, kinds, first, peaks = Counter(), Counter(), Counter(), [], []
    made = [(each, stats) for each, stats in shards(folder, of) if stats]
    for each, _ in made:
        table = pq.read_table(folder / f"{each.name}.parquet")
        samples[each.split] += table.num_rows
        algorithms.update(table["algorithm"].to_pylist())
        kinds.update(table["phrase_kind"].to_pylist())
        peaks.append(table["target_peak"].to_numpy())
        some = table.slice(0, rows - len(first)).to_pylist()
        first += [row | {"prefixes": _prefix_names(of, folder / f"{each.name}.tar", row)} for row in some]
    levels = np.percentile(np.concatenate(peaks), (0, 50, 100), method="lower").tolist() if peaks else []
    return {
        "folder": str(folder),
        "fingerprint": of.fingerprint,
        "seconds": of.spec.seconds,
        "sample_rate": of.spec.sample_rate,
        "gain": of.spec.gain,
        "samples": {split: samples[split] for split in of.counts},
        "wanted": of.counts,
        "shards": [len(made), len(of.shards())],
        "hours": samples.total() * of.spec.seconds / 3600,
        "bytes": sum(stats["tar"]["bytes"] for _, stats in made),
        "patches": {split: int(of.targets[split].size) for split in of.counts},
        "phrases": dict(sorted(kinds.items())),
        "left_out_as_silent": of.silent,
        "target_peak": dict(zip(("least", "median", "most"), levels, strict=False)),
        "clipped_samples": sum(stats["clipped_samples"] for _, stats in made),
        "silent_samples": sum(stats["silent_samples"] for _, stats in made),
        "algorithms": dict(sorted(algorithms.items())),
        "prefixes": list(of.spec.prefixes),
        "rows": first,
    }


def _check_samples(of: Plan, each: Shard, folder: Path) -> list[str]:
    try:
        found = list(samples(folder, each.name))
    except (tarfile.TarError, OSError) as error:
        return [f"is no readable tar: {error}"]
    expected = [f"{each.split}_{j:08d}" for j in range(each.first, each.first + each.count)]
    if [one["__key__"] for one in found] != expected:
        return [f"holds {len(found)} samples, or in another order, instead of {each.count}"]
    wrong = []
    lengths = {"source.wav": of.spec.samples, "target.wav": of.spec.samples}
    lengths |= {f"prefix.{codec}.wav": of.spec.prefix_samples(codec) for codec in of.spec.prefixes}
    for one in found:
        whole = one.keys() == {"__key__", "json", "target.syx", *lengths}
        if not whole or any(len(one[name]) != 44 + 2 * length for name, length in lengths.items()):
            wrong.append(f"sample {one['__key__']} lacks a member, or one has another length")
    for i in sorted({round(part * (each.count - 1) / max(1, _REBUILT - 1)) for part in range(_REBUILT)}):
        again = dict(sample.render(of, each.split, each.first + i, 1)[0].members())
        if {f"{expected[i]}.{extension}": data for extension, data in found[i].items() if extension != "__key__"} != again:
            wrong.append(f"sample {expected[i]} is not what its plan renders to")
        wrong += [f"sample {expected[i]}: {problem}" for problem in _check_prefixes(of, found[i])]
    return wrong


def _check_prefixes(of: Plan, one: dict[str, bytes]) -> Iterator[str]:
    """What a sample's prefixes say, against the patches in its dump."""
    dumped = [np.frombuffer(record.patch, np.uint8) for record in sysex.read(one["target.syx"]).voices]
    for codec in of.spec.prefixes:
        for stored, audio in zip(dumped, _layers(of, one[f"prefix.{codec}.wav"]), strict=False):
            try:
                if codec == "reference":
                    agrees = (prefix.encode(stored, codec, of.spec.sample_rate) == audio).all()
                else:
                    agrees = (prefix.decode(audio, codec, of.spec.sample_rate) == stored).all()
                if not agrees:
                    yield f"its {codec} prefix is of another patch than target.syx"
            except prefix.PrefixError as error:
                yield str(error)


def _layers(of: Plan, wav: bytes) -> np.ndarray:
    """The prefixes of the single layers, int16 (layers, L)."""
    return np.frombuffer(wav, "<i2", offset=44).reshape(of.spec.layers[1], -1)


def _prefix_names(of: Plan, tar: Path, row: dict) -> dict[str, list[str]]:
    """The names that the prefixes of a sample decode to; those that can be decoded."""
    names = {}
    with open(tar, "rb") as file:
        for codec in of.spec.prefixes:
            if codec == "reference":
                continue
            file.seek(row[f"prefix_{codec}_wav_offset"])
            audio = _layers(of, file.read(row[f"prefix_{codec}_wav_bytes"]))
            try:
                decoded = [prefix.decode(each, codec, of.spec.sample_rate) for each in audio[: row["layers"]]]
                names[codec] = [patch.patch_name(each) for each in decoded]
            except prefix.PrefixError as error:
                names[codec] = [str(error)]
    return names


def _write_index(of: Plan, folder: Path) -> None:
    index = {
        "fingerprint": of.fingerprint,
        "shards": [
            {"name": each.name, "samples": each.count, "bytes": stats["tar"]["bytes"], "sha256": stats["tar"]["sha256"]}
            for each, stats in shards(folder, of)
            if stats
        ],
    }
    write_atomically(folder / "index.json", lambda file: file.write((json.dumps(index, indent=1) + "\n").encode()))


def _sha256(path: Path, progress: Callable[[int], None]) -> str:
    state = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 22):
            state.update(block)
            progress(len(block))
    return state.hexdigest()
