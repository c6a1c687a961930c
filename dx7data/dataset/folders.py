"""A data-set folder: rendering a plan into it, and reading back what is there."""

import json
import platform
import re
import tarfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from dx7data import prefix
from dx7data.audio.wav import decode_wav
from dx7data.dataset import card, executors, shard
from dx7data.errors import InputError
from dx7data.files import PARTIAL, write_atomically
from dx7data.patches import patch
from dx7data.patches.report import make_printable
from dx7data.plan.plan import Plan, find_differences
from dx7data.plan.spec import Shard

_SHARD_FILES = re.compile(r"(train|val|test)-\d{6,}\.(tar|parquet|stats\.json)")
_OTHER_FILES = {
    "dataset.json",
    "patches.parquet",
    "phrases.arrow",
    "phrases.parquet",
    "index.json",
    "README.md",
    "render.log",
}


def prepare(plan: Plan, folder: Path, overwrite: bool) -> list[Shard]:
    """Put the plan into the folder, or find it there; returns the shards that are still to be made.

    Raises InputError when the plan is of an older format; when the folder holds another one, unless `overwrite`, which
    removes what a render leaves in a folder and nothing else; and when it holds other files and no plan: a data set gets a
    folder of its own.
    """
    plan.check_current()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "dataset.json").exists():
            if foreign := [path.name for path in folder.iterdir() if not path.name.startswith(".") and not is_own(path)]:
                raise InputError(
                    f"{folder} holds {make_printable(foreign[0])} and no data set; choose an empty or a new folder"
                )
            write_plan(plan, folder)
        elif overwrite:
            _clear(folder)
            write_plan(plan, folder)
        elif differences := find_differences(Plan.load(folder), plan):
            more = "; `dx7data extend` adds samples" if differences[0].startswith("samples") else ""
            raise InputError(
                f"{folder} holds another data set: {'; '.join(differences)}. Choose another --out, or --overwrite it{more}"
            )
    except OSError as error:
        raise InputError(f"can't write to {folder}: {error.strerror or error}") from None
    return find_missing(plan, folder)


def remove_partial(folder: Path, only: list[Shard] | None = None) -> None:
    """Remove what a killed render had begun to write, at all or of some shards; not while another one writes that."""
    names = None if only is None else {each.name for each in only}
    for path in folder.glob(f".*{PARTIAL}"):
        if is_own(path) and (names is None or _final_name(path).partition(".")[0] in names):
            path.unlink(missing_ok=True)


def find_missing(plan: Plan, folder: Path) -> list[Shard]:
    """The shards of a plan that are still to be made."""
    return [each for each, stats in list_shards(folder, plan) if stats is None]


def extend(folder: Path, plan: Plan) -> None:
    """Put a plan that asks for more samples in the place of the one in a folder. Each split's last shard may grow."""
    try:
        (folder / "index.json").unlink(missing_ok=True)
        write_plan(plan, folder)
    except OSError as error:
        raise InputError(f"can't write to {folder}: {error.strerror or error}") from None


def _clear(folder: Path) -> None:
    """Remove the files of an earlier render: the plan first, so that what is left is never taken for a whole data set."""
    for path in sorted(folder.iterdir(), key=lambda path: path.name != "dataset.json"):
        if is_own(path):
            path.unlink()


def is_own(path: Path) -> bool:
    """Whether a render makes a file of this name."""
    name = _final_name(path)
    return name in _OTHER_FILES or _SHARD_FILES.fullmatch(name) is not None


def _final_name(path: Path) -> str:
    """The name of a file, of a partial one the name that it would have got."""
    return re.sub(rf"^\.[0-9a-f]{{8}}\.(.*)\{PARTIAL}$", r"\1", path.name)


def render_missing(
    plan: Plan,
    folder: Path,
    missing: list[Shard],
    workers: int,
    progress: Callable[[int], None],
    devices: tuple[str, ...] = executors.CPU,
) -> None:
    """Make the missing shards, and the index when none is left. Whatever stops it, the folder holds only whole shards."""
    began = time.time()
    try:
        remove_partial(folder, missing)
        executors.render_shards(plan, missing, folder, workers, progress, devices)
        write_index(plan, folder)
        with open(folder / "render.log", "a") as log:
            now, took = time.strftime("%Y-%m-%dT%H:%M:%S%z"), time.time() - began
            log.write(f"{now} {platform.node()} {','.join(devices)} {len(missing)} shards in {took:.2f} s\n")
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"writing to {folder} failed: {reason}. Whole shards are kept; the same command goes on") from None


def list_shards(folder: Path, plan: Plan) -> Iterator[tuple[Shard, dict | None]]:
    """Every shard of a plan with its stats; None where it is missing, of another plan, or of another length."""
    for each in plan.shards():
        yield each, shard.read_stats(plan, each, folder)


def read_samples(folder: Path, name: str) -> Iterator[dict[str, bytes]]:
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


@contextmanager
def explain_errors(folder: Path) -> Iterator[None]:
    """Raises InputError for what reading shards that were cut or edited raises."""
    try:
        yield
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise InputError(f"a shard in {folder} can't be read ({error}); dx7data verify says what is wrong") from None


def summarize(folder: Path, rows: int = 5) -> dict:
    """Counts, lengths and levels of a data set, and its first few sample rows, for `inspect`."""
    import pyarrow.parquet as pq

    plan = Plan.load(folder)
    samples, algorithms, kinds, first, peaks = Counter(), Counter(), Counter(), [], []
    made = [(each, stats) for each, stats in list_shards(folder, plan) if stats]
    for each, _ in made:
        table = pq.read_table(folder / f"{each.name}.parquet")
        samples[each.split] += table.num_rows
        algorithms.update(table["algorithm"].to_pylist())
        kinds.update(table["phrase_kind"].to_pylist())
        peaks.append(table["target_peak"].to_numpy())
        some = table.slice(0, rows - len(first)).to_pylist()
        first += [row | {"prefixes": _decode_names(plan, folder, each, row)} for row in some]
    levels = np.percentile(np.concatenate(peaks), (0, 50, 100), method="lower").tolist() if peaks else []
    return {
        "folder": str(folder),
        "fingerprint": plan.fingerprint,
        "seconds": plan.spec.seconds,
        "sample_rate": plan.spec.sample_rate,
        "gain": plan.spec.gain,
        "samples": {split: samples[split] for split in plan.counts},
        "wanted": plan.counts,
        "shards": [len(made), len(plan.shards())],
        "hours": samples.total() * plan.spec.seconds / 3600,
        "bytes": sum(stats["tar"]["bytes"] for _, stats in made),
        "patches": {split: int(plan.targets[split].size) for split in plan.counts},
        "families": dict(sorted(Counter(Counter(plan.patches.families).values()).items())),
        "phrases": dict(sorted(kinds.items())),
        "kinds": list(plan.spec.kinds),
        "filters": plan.spec.filters.text(),
        "left_out_as_silent": plan.silent,
        "target_peak": dict(zip(("least", "median", "most"), levels, strict=False)),
        "clipped_samples": sum(stats["clipped_samples"] for _, stats in made),
        "silent_samples": sum(stats["silent_samples"] for _, stats in made),
        "algorithms": dict(sorted(algorithms.items())),
        "hidden": plan.hidden,
        "prefixes": list(plan.spec.prefixes),
        "rows": first,
    }


def split_layers(plan: Plan, wav: bytes) -> np.ndarray:
    """The prefixes of the single layers, int16 (layers, L)."""
    return decode_wav(wav)[0].reshape(plan.spec.layers[1], -1)


def _decode_names(plan: Plan, folder: Path, each: Shard, row: dict) -> dict[str, list[str]]:
    """The names that the prefixes of a sample decode to; those that can be decoded."""
    members, names = shard.read_members(folder, each, row), {}
    for codec in plan.spec.prefixes:
        if prefix.CODECS[codec].decode:
            audio = split_layers(plan, members[f"prefix.{codec}.wav"])[: row["layers"]]
            try:
                names[codec] = [patch.patch_name(prefix.decode(one, codec, plan.spec.sample_rate)) for one in audio]
            except prefix.PrefixError as error:
                names[codec] = [str(error)]
    return names


def write_index(plan: Plan, folder: Path) -> None:
    """`index.json`, if all shards are there: the samples, length and SHA-256 of each. A right one stays untouched."""
    made, path = list(list_shards(folder, plan)), folder / "index.json"
    if all(stats for _, stats in made):
        data = make_index(plan, made)
        if not path.exists() or path.read_bytes() != data:
            write_atomically(path, lambda file: file.write(data))


def make_index(plan: Plan, made: list[tuple[Shard, dict]]) -> bytes:
    """The content of `index.json`."""
    listed = [{"name": each.name, "samples": each.count, "tar": s["tar"], "parquet": s["parquet"]} for each, s in made]
    return (json.dumps({"fingerprint": plan.fingerprint, "shards": listed}, indent=1) + "\n").encode()


def write_plan(plan: Plan, folder: Path) -> None:
    """Write the plan and its card."""
    write_atomically(folder / "README.md", lambda file: file.write(card.format_card(plan).encode()))
    plan.write(folder)
