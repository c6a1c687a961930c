"""The data-set card: `README.md` of a data-set folder, which says what is in it and how it was made.

A line divides it. What is below is written by us, and what is above, with the YAML for the Hub, belongs to who has the data
set, once it is written.
"""

import re
from collections import Counter

from dx7data.dataset.front_matter import DEFAULT_TITLE, format_front_matter, format_size
from dx7data.markup import escape_markdown
from dx7data.patches import patch
from dx7data.plan import hidden, split
from dx7data.plan.plan import Plan
from dx7data.plan.recipe import ENGINE, FORMAT_3
from dx7data.plan.score import get_source_patch
from dx7data.plan.spec import RANDOM_SOURCE

MARK = "<!-- Add your own text above this line: dx7data leaves it as it is, and writes what is below. -->"
# How cards began before there was a line.
_BEFORE_FORMAT_4 = b"---\ntask_categories: [audio-to-audio]\ntags: [synthesizer, dx7, fm, webdataset]\n---\n"
# What earlier cards of format 4 have, and what is there now. The last: no plural after 1.
_EARLIER_WORDS = (
    (rb"famil(?:y|ies) of near-copies", b"near-duplicate groups"),
    (rb", the largest of ([\d,]+);", rb", the largest of \1 patches;"),
    (rb"(train has [\d,]+ patch(?:es)? of [\d,]+) famil(?:y|ies);", rb"\1 near-duplicate groups;"),
    (rb"every part has all patches", b"every split has all patches"),
    (rb"; all in one part ", b"; all in one split "),
    (rb" from music, none in two parts", b" from music, none in two splits"),
    (
        rb"between parts at least (\d+) audible parameters differ",
        rb"patches of two splits differ in at least \1 audible parameters",
    ),
    (rb"; a model that knows all else can reach about (\S+) dB", rb": no model can reach an SNR above about \1 dB"),
    (rb"a model can hear ([^;|]+) in all of (\d+ samples?)", rb"not hidden in any of \2: \1"),
    (rb"\b1 (pair|patch|sample|near-duplicate group)(?:s|es)\b", rb"1 \1"),
)
_SIZE = re.compile(rb"^size_categories: \[[\w<>]+\]$", re.MULTILINE)

_TEXT = """{mark}

# {title}

{count} of {seconds} s clips, {hours:.2f} hours of target audio, made by dx7data (engine {engine}).
The source clip of a pair is a phrase played by {source}; the target clip is the same phrase, aligned sample by sample,
played by {layers}.

| | |
|---|---|
| samples | {counts} |
| target patches | {patches} |
| phrases | {phrases} |
| split | {split} |{hidden}
| audio | {rate} Hz, PCM 16 bits, mono |
| prefix | {prefix} |
| gain | {gain} |
| seed | {seed} |
| fingerprint | `{fingerprint}` |

Each shard is a WebDataset tar. The members of a sample: `source.wav`, `target.wav`, `target.syx` (a dump that a DX7 loads,
one voice for each layer), `json` (notes, controllers, patches, gains){prefixes}. Beside it lie a Parquet table with a row
for each sample, and its hashes.{pairs}

```python
from datasets import load_dataset
pairs = load_dataset("FOLDER", split="train")
```

```python
import webdataset
pairs = webdataset.WebDataset("{first}.tar", shardshuffle=False)
```

`dx7data verify` checks every byte. Where shards are missing, `dx7data render --plan FOLDER` makes them, the same to the
byte. The patches are in `patches.parquet`{tables}; their rights are their authors'.{licence}
"""


def format_card(plan: Plan, there: bytes = b"") -> bytes:
    """The card of a plan; it says nothing of where or when it was rendered.

    there: the card that is in the folder. What a person has written in it stays: all above the line, but for the size
    category. A card without the line stays as a whole, above, unless it is one that we wrote before there was a line.
    """
    own, mark, _ = there.rpartition(MARK.encode())
    if not mark:
        words = b"" if there.startswith(_BEFORE_FORMAT_4) else there.strip()
        own = words + b"\n\n" if words else b""
        if not own.startswith(b"---"):
            own = format_front_matter(plan).encode() + b"\n" + own
    return _SIZE.sub(format_size(plan).encode(), own, count=1) + _format_text(plan).encode()


def is_current(plan: Plan, there: bytes) -> bool:
    """Whether the part of a card that is ours is what it must be; cards of format 3 have no line, and are not compared."""
    if plan.format == FORMAT_3 and there.startswith(_BEFORE_FORMAT_4):
        return True
    _, mark, rest = there.rpartition(MARK.encode())
    return _renew_words(mark + rest) == _format_text(plan).encode()


def _renew_words(text: bytes) -> bytes:
    """The text of an earlier card of format 4 in the words of today."""
    for earlier, now in _EARLIER_WORDS:
        text = re.sub(earlier, now, text)
    return text


def _format_text(plan: Plan) -> str:
    """What is ours, from the line on."""
    spec = plan.spec
    samples = sum(plan.counts.values())
    kinds = Counter(kind for kind, target in zip(plan.patches.kinds, plan.patches.targets, strict=True) if target)
    minimum, maximum = spec.layers
    lengths = [f"{codec}, {spec.prefix_samples(codec)} samples" for codec in spec.prefixes]
    return _TEXT.format(
        mark=MARK,
        title=escape_markdown(plan.title or DEFAULT_TITLE),
        count="1 pair" if samples == 1 else f"{samples} pairs",
        seconds=spec.seconds,
        hours=samples * spec.seconds / 3600,
        engine=ENGINE,
        source="any patch" if spec.source == RANDOM_SOURCE else escape_markdown(patch.patch_name(get_source_patch(plan))),
        layers="a DX7 patch" if maximum == 1 else f"{minimum} to {maximum} DX7 patches together",
        patches=", ".join(f"{count} ({kind})" for kind, count in sorted(kinds.items()))
        + (f"; {len(plan.silent)} more are silent and left out" if plan.silent else ""),
        phrases=_describe_phrases(plan),
        counts=", ".join(f"{split} {count}" for split, count in plan.counts.items()),
        split=split.describe(plan.split_report),
        hidden=f"\n| hidden | {'; '.join(hidden.describe(plan.hidden))} |" if plan.hidden else "",
        rate=spec.sample_rate,
        prefix="; ".join(lengths) or "none",
        prefixes="".join(f", `prefix.{codec}.wav`" for codec in spec.prefixes),
        pairs="\nSamples 2 i and 2 i + 1 are a pair: the same but for one parameter, which the json names."
        if spec.pairs
        else "",
        tables="" if plan.phrases is None else ", the phrases in `phrases.arrow`",
        gain=spec.gain if spec.gain in ("native", "peak") else f"{spec.gain} dB",
        seed=spec.seed,
        fingerprint=plan.fingerprint,
        first=plan.shards()[0].name,
        licence=f" Licence: {escape_markdown(plan.license)}." if plan.license else "",
    )


def _describe_phrases(plan: Plan) -> str:
    """Where the phrases come from, which kinds of drawn ones were asked for, and which filters all have passed."""
    where = "drawn for each sample" if plan.phrases is None else f"{len(plan.phrases)} from music, none in two splits"
    return "; ".join(filter(None, [where, ", ".join(plan.spec.kinds), plan.spec.filters.text()]))
