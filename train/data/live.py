"""Batches of a live plan, rendered on the GPU that trains: their audio never leaves its memory.

Workers write scores, which are integers: what is played, by which patches. This process renders several batches of them at
once, on a stream of its own, while the steps before them are computed. Letters: N samples, B of a batch, P + L model steps.
"""

from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from dx7data.engine.device import Unusable, choose, use_gpu
from dx7data.plan import sample
from dx7data.plan.score import make_score
from train.data.clips import LiveClips
from train.data.example import Example
from train.data.sampler import Batches, SampleKey

if TYPE_CHECKING:
    from dx7data.engine.cuda import Memory

# At most; fewer of many notes. To launch a render, and to wait for its longest voice, takes as long for one of them.
BATCHES_PER_RENDER = 8
_ESTIMATED_WITH = 64  # samples, whose notes tell how many all have
_BYTES = 1 << 30  # of the GPU's memory for the mix and its control values; what needs more is done in parts


class Score(NamedTuple):
    """What the renderer needs to know of N samples."""

    prefix: torch.Tensor  # int16 (N, P): of each patch always the same, so it is kept, not rendered again
    starts: torch.Tensor  # int64 (N,): where the crops begin
    played: dict  # see dx7data.plan.score.make_score


class Scores(Dataset):
    """The samples of a live plan as scores, many at a time."""

    def __init__(self, clips: LiveClips):
        self._clips = clips

    def __getitems__(self, places: list[SampleKey]) -> Score:
        clips = self._clips
        found = [clips.locate(at) for at in places]
        numbers = [clips.shards[s].first + i for s, i in found]
        choices = [clips.plan.choose(clips.split, j) for j in numbers]
        prefixes = [clips.encode_prefix(clips.plan.patches.stored[list(choice.layers)]) for choice in choices]
        starts = [clips.format.start(at, j) for at, j in zip(places, numbers, strict=True)]
        return Score(torch.stack(prefixes), torch.tensor(starts), make_score(clips.plan, choices))


def choose_gpu(device: torch.device) -> tuple[int | None, str]:
    """Which GPU renders for a training on `device`, None if the CPU does; and that as a phrase for people."""
    try:
        number = choose(str(device))
    except Unusable as error:
        return None, f"on the CPU: {error}"
    return number, "on the CPU" if number is None else f"on GPU {number}"


def render_batches(clips: LiveClips, batches: Batches, device: torch.device, **options: Any) -> Iterator[Example]:
    """The Examples that a DataLoader of the clips gives, in the memory of a GPU; options: of that DataLoader."""
    scores = iter(
        DataLoader(
            Scores(clips),
            batch_sampler=_group_batches(batches, count_batches(clips, batches.size)),
            collate_fn=_keep,  # type: ignore[arg-type]  # torch thinks of lists; here a Score comes whole
            **options,
        )
    )
    return _split_renders(map(Renderer(clips, device), scores), batches.size, device)


def count_batches(clips: LiveClips, size: int) -> int:
    """How many batches of `size` samples one render may have, by the notes of some samples."""
    numbers = [clips.sample_number(i) for i in np.linspace(0, len(clips) - 1, _ESTIMATED_WITH, dtype=int).tolist()]
    notes = sum(sample.count_notes(clips.plan.choose(clips.split, j)) for j in numbers) / len(numbers)
    return max(1, min(BATCHES_PER_RENDER, int(sample.BATCH_NOTES / (size * notes))))


def _group_batches(batches: Iterable[list[SampleKey]], count: int) -> Iterator[list[SampleKey]]:
    batches = iter(batches)
    while several := list(islice(batches, count)):
        yield list(chain.from_iterable(several))


def _keep(score: Score) -> Score:
    return score


def _split_renders(
    renders: Iterator[tuple[Example, torch.cuda.Event]], size: int, device: torch.device
) -> Iterator[Example]:
    """Batches of `size`; the next render begins before the first batch of one is used."""
    render = next(renders, None)
    while render:
        (examples, done), render = render, next(renders, None)
        training = torch.cuda.current_stream(device)
        training.wait_event(done)
        for part in examples:
            part.record_stream(training)  # its memory was taken on the renderer's
        yield from map(Example._make, zip(*(part.split(size) for part in examples), strict=True))


class Renderer:
    """Scores become examples, the same to the bit as those of LiveClips. Nothing here waits for the GPU."""

    def __init__(self, clips: LiveClips, device: torch.device):
        gpu = choose(str(device))
        assert gpu is not None  # or nothing could be rendered here
        self._format, self._device, self._gpu = clips.format, device, gpu
        self._stream = torch.cuda.Stream(device)
        with use_gpu(self._gpu):
            self._memory = TorchMemory(device, self._stream)

    def __call__(self, score: Score) -> tuple[Example, torch.cuda.Event]:
        """The examples, (N, P), (N, L), (N, L), and an event: they are whole once the GPU has come to it."""
        from dx7data.audio import clips_cuda

        format, count = self._format, len(score.starts)
        with use_gpu(self._gpu), torch.cuda.stream(self._stream):
            clips = torch.empty((2 * count, format.own_length), dtype=torch.int16, device=self._device)
            own, memory = self._memory.shared(clips), cast("Memory", self._memory)  # it has the same four
            clips_cuda.fill(own, self._gpu, memory, **score.played)
            if format.factor > 1:  # as train.data.example.lower_rate
                low = clips_cuda.decimate(own, 48000 // format.factor, memory)
                clips = torch.as_tensor(low, device=self._device).clamp(-32768, 32767).short()
            prefix, starts = (part.to(self._device, non_blocking=True) for part in (score.prefix, score.starts))
            windows = clips.unfold(1, format.crop or format.length, 1)  # a view: of each clip, all crops
            audio = windows[torch.arange(2 * count, device=self._device), starts.repeat(2)]
            return Example(prefix, audio[:count], audio[count:]), self._stream.record_event()


class TorchMemory:
    """A dx7data.engine.cuda.Memory of torch's, in the order of one of its streams. To take it or give it back, as opposed to
    CUDA's own, never waits for the GPU.
    """

    def __init__(self, device: torch.device, stream: torch.cuda.Stream):
        """Give it only to what runs under torch.cuda.stream(stream)."""
        from numba import cuda

        self.stream, self.shared, self._device = cuda.external_stream(stream.cuda_stream), cuda.as_cuda_array, device

    def free(self) -> float:
        return _BYTES

    def put(self, array: np.ndarray) -> Any:
        # Pinned, else the copy waits for the stream.
        pinned = torch.empty(array.shape, dtype=_torch_dtype(array.dtype), pin_memory=True)
        pinned.numpy()[...] = array
        return self.shared(pinned.to(self._device, non_blocking=True))

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        return self.shared(torch.empty(shape, dtype=_torch_dtype(dtype), device=self._device))


def _torch_dtype(dtype: Any) -> torch.dtype:
    return getattr(torch, np.dtype(dtype).name)
