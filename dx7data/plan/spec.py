"""What a user asks for, and what a sample is made of: the types that plans and samples have in common."""

from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

from msgspec import Meta

from dx7data import prefix
from dx7data.audio.resample import engine_rate
from dx7data.engine.tables import count_samples
from dx7data.phrases import midi
from dx7data.phrases.filters import NO_FILTERS, Filters, Fraction, Key
from dx7data.phrases.phrase import Phrase

SPLITS = ("train", "val", "test")
RANDOM_SOURCE = "random"

# Types with limits, which schema.py checks.
Seconds = Annotated[int, Meta(ge=1, le=600)] | Annotated[float, Meta(ge=0.01, le=600)]
Layers = Annotated[int, Meta(ge=1, le=8)]
Made = Annotated[int, Meta(ge=0, le=10**6)]
SplitBy = Literal["patch", "algorithm", "bank", "phrase"]


@dataclass(frozen=True, kw_only=True)
class Spec:
    """What a user asked for: with patches and phrases, all that the audio depends on. See `dx7data render --help`."""

    seconds: Seconds
    sample_rate: int
    seed: int
    source: str  # packed source patch, hexadecimal; or "random"
    split: tuple[Fraction, Fraction, Fraction]  # parts of the samples, and of the patches, in train, val and test
    split_by: SplitBy = "patch"  # what is kept whole, with near-duplicates; "phrase": no patches
    gain: str  # "native", "peak" or decibels
    keep_silent: bool
    shard_bytes: Annotated[int, Meta(ge=1, le=10**15)]
    layers: tuple[Layers, Layers] = (1, 1)  # fewest and most patches that sound together as one target
    pairs: Annotated[int, Meta(ge=0, le=1000)] = 0  # changed versions of each patch; 0: no pairs
    perturb: Made = 0  # patches made from those of the bank
    random_patches: Made = 0
    train_patches: Annotated[int, Meta(ge=1, le=10**9)] | None = None  # targets that train keeps; None: all
    prefixes: tuple[str, ...] = ()  # codecs
    bend_semitones: Key = midi.BEND_SEMITONES  # the bend of MIDI phrases, unless they say otherwise
    wheel_range: Key = 99  # of the modulation wheel, to pitch, 0-99 as on the instrument
    kinds: tuple[str, ...] = ()  # of drawn phrases, in order of the alphabet; empty: all
    filters: Filters = NO_FILTERS  # of drawn phrases; with music, which they have passed, the record of what was asked for

    def to_json(self) -> dict[str, Any]:
        """What plans keep and hash. What came later is there only where it is asked for, so old fingerprints hold."""
        found = asdict(self)
        if self.train_patches is None:
            del found["train_patches"]
        return found

    @property
    def milliseconds(self) -> int:
        """The length of a clip in the unit of phrases."""
        return round(self.seconds * 1000)

    @property
    def samples(self) -> int:
        """Audio samples of a clip: sometimes one less than its seconds, which the engine takes in single precision."""
        rate = engine_rate(self.sample_rate)
        return min(self._nominal_samples, -(-int(count_samples(self.seconds, rate)) // (rate // self.sample_rate)))

    @property
    def _nominal_samples(self) -> int:
        return int(self.seconds * self.sample_rate + 0.5)

    def prefix_samples(self, codec: str) -> int:
        """Audio samples of a prefix: each layer has its place, heard or not."""
        return self.layers[1] * prefix.samples(codec, self.sample_rate)

    @property
    def sample_bytes(self) -> int:
        """Nominal size of a sample in a shard: wavs, dumps, a json of up to 2 KiB, and their tar headers."""
        wavs = [self._nominal_samples, self._nominal_samples, *(self.prefix_samples(codec) for codec in self.prefixes)]
        blocks = sum(1 + -(-(44 + 2 * samples) // 512) for samples in wavs) + 1 + self.layers[1] + 1 + 4
        return 512 * blocks

    @property
    def shard_samples(self) -> int:
        """Samples in a shard, from their nominal size."""
        clips = max(1, self.shard_bytes // self.sample_bytes)
        return max(2, clips - clips % 2) if self.pairs else clips  # a pair stays in one shard


@dataclass(frozen=True)
class Shard:
    """The samples first to first + count - 1 of a split."""

    split: str
    number: int
    first: int
    count: int

    @property
    def name(self) -> str:
        return f"{self.split}-{self.number:06d}"


@dataclass(frozen=True)
class Choice:
    """What a sample is made of; patches are indices into the plan's."""

    phrase: Phrase
    source: int | None  # None: the spec's
    layers: tuple[int, ...]  # the target: these together; of a pair, the first is what changes
    other: tuple[int, int] | None  # the other sample of its pair, and that one's first layer
