"""What a data set holds: its counts, lengths and levels, and a few samples, for people to look at."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from dx7data import prefix
from dx7data.arrow import view_numbers
from dx7data.audio.wav import decode_wav
from dx7data.dataset import shard
from dx7data.dataset.folders import list_shards
from dx7data.errors import InputError
from dx7data.patches import patch
from dx7data.plan.plan import Plan
from dx7data.plan.spec import Shard
from dx7data.storage import Folder


@contextmanager
def explain_errors(folder: Folder) -> Iterator[None]:
    """Raises InputError for what reading shards that were cut or edited raises."""
    try:
        yield
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise InputError(f"a shard in {folder} can't be read ({error}); dx7data verify says what is wrong") from None


def summarize(folder: Folder, rows: int = 5) -> dict:
    """Counts, lengths and levels of a data set, and its first few sample rows, for `inspect`."""
    plan = Plan.load(folder)
    samples, algorithms, kinds = Counter[str](), Counter[int](), Counter[str]()
    first, peaks = list[dict](), []
    made = [(each, stats) for each, stats in list_shards(folder, plan) if stats]
    made_tables = folder.map(lambda one: (one[0], shard.read_table(plan, one[0], folder, one[1])), made)
    for each, table in made_tables:
        samples[each.split] += table.num_rows
        algorithms.update(table["algorithm"].to_pylist())
        kinds.update(table["phrase_kind"].to_pylist())
        peaks.append(view_numbers(table["target_peak"]))
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
        "groups": {split: plan.patches.count_groups(split) for split in plan.counts},
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


def _decode_names(plan: Plan, folder: Folder, each: Shard, row: dict) -> dict[str, list[str]]:
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
