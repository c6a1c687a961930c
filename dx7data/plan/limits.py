"""What no data set can have, though its documents have all fields of the right types."""

import numpy as np

from dx7data import prefix
from dx7data.audio.resample import ENGINE_RATE
from dx7data.errors import InputError, make_printable
from dx7data.patches import patch
from dx7data.phrases import compose
from dx7data.plan.spec import RANDOM_SOURCE, Spec

MAX_SHARDS = 2_000_000  # a billion samples in shards of the usual size are 1.3 million
MAX_SHARD_SAMPLES = 1_000_000  # 80 GB of the usual kind
MAX_SPLIT = 10**9  # samples


def check_spec(spec: Spec, where: object) -> None:
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
    if len(set(spec.prefixes)) < len(spec.prefixes):
        wrong.append("prefixes")
    if set(spec.kinds) - set(compose.KINDS) or len(set(spec.kinds)) < len(spec.kinds):
        wrong.append("kinds")
    if wrong:
        raise InputError(f"{where}, field spec.{wrong[0]}: no data set can have this")
    if unknown := sorted(set(spec.prefixes) - set(prefix.CODECS)):
        raise InputError(
            f"{where}, field spec.prefixes: there is no codec {make_printable(unknown[0])} here, only "
            f"{', '.join(sorted(prefix.CODECS))}: put its file into dx7data/prefix/"
        )


def check_shards(size: int, counts: dict[str, int]) -> None:
    """Can there be shards of `size` samples, so that each split has its count? Raises InputError."""
    if many := [split for split, count in counts.items() if count > MAX_SPLIT]:
        raise InputError(
            f"that is {counts[many[0]]:,} samples in {many[0]}, more than {MAX_SPLIT:,}: lower --samples or --per-patch"
        )
    number, largest = sum(-(-count // size) for count in counts.values()), min(size, max(counts.values(), default=0))
    if number > MAX_SHARDS:
        raise InputError(f"that is {number:,} shards, more than {MAX_SHARDS:,}: ask for a larger --shard-size")
    if largest > MAX_SHARD_SAMPLES:
        raise InputError(
            f"that is {largest:,} samples a shard, more than {MAX_SHARD_SAMPLES:,}: ask for a smaller --shard-size"
        )


def _is_gain(text: str) -> bool:
    try:
        return text in ("native", "peak") or (set(text) <= set("-.0123456789e") and -120 <= float(text) <= 60)
    except ValueError:
        return False


def _is_source(text: str) -> bool:
    try:
        return (
            text == RANDOM_SOURCE or patch.require_legal(patch.unpack(np.frombuffer(bytes.fromhex(text), np.uint8))).size > 0
        )
    except ValueError:
        return False
