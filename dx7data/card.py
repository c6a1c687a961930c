"""The data-set card: `README.md` of a data-set folder, which says what is in it and how it was made."""

from dx7data import patch
from dx7data.plan import ENGINE, Plan
from dx7data.sample import source_patch

_TEXT = """---
task_categories: [audio-to-audio]
tags: [synthesizer, dx7, fm, webdataset]
---
# A DX7 voice-conversion data set

{samples} pairs of {seconds} s clips, {hours:.2f} hours of target audio, made by dx7data (engine {engine}).
The source clip of a pair is a phrase played by {source}; the target clip is the same phrase, aligned sample by sample,
played by a DX7 patch: {patches} patches{silent}.

| | |
|---|---|
| samples | {counts} |
| split | {split} |
| audio | {rate} Hz, PCM 16 bits, mono |
| gain | {gain} |
| seed | {seed} |
| fingerprint | `{fingerprint}` |

Each shard is a WebDataset tar. The members of a sample: `source.wav`, `target.wav`, `target.syx` (a single-voice dump that
a DX7 loads) and `json` (notes, patch, gains). Beside it lie a Parquet table with a row for each sample, and its hashes.

```python
import webdataset
pairs = webdataset.WebDataset("{first}.tar")
```

`dx7data verify` checks every byte. The patches of the bank are in `patches.parquet`; their rights are their authors'.
"""


def text(plan: Plan) -> str:
    """The card of a plan; it says nothing of where or when it was rendered."""
    spec = plan.spec
    samples = sum(plan.counts.values())
    by_phrase = "all" in plan.splits
    return _TEXT.format(
        samples=samples,
        seconds=spec.seconds,
        hours=samples * spec.seconds / 3600,
        engine=ENGINE,
        source=patch.patch_name(source_patch(plan)),
        patches=len(plan.ids),
        silent=f" ({len(plan.silent)} more are silent and left out)" if plan.silent else "",
        counts=", ".join(f"{split} {count}" for split, count in plan.counts.items()),
        split="by phrase: there are too few patches to divide" if by_phrase else "by patch: no patch is in two parts",
        rate=spec.sample_rate,
        gain=spec.gain if spec.gain in ("native", "peak") else f"{spec.gain} dB",
        seed=spec.seed,
        fingerprint=plan.fingerprint,
        first=plan.shards()[0].name,
    )
