"""A live plan on the GPU that trains: its scores, played by the CPU, and its batches are to the bit what LiveClips gives."""

from itertools import islice

import mido
import pytest

torch = pytest.importorskip("torch")

from torch.utils.data import default_collate  # noqa: E402  (after the check for torch)

from dx7data import cli  # noqa: E402
from dx7data.audio import clips as engine  # noqa: E402
from dx7data.plan import sample  # noqa: E402
from train.data import live  # noqa: E402
from train.data.datasets import open_clips  # noqa: E402
from train.data.sampler import Batches  # noqa: E402

FORMATS = [
    {},
    {"codec": "fsk", "crop": 700},
    {"codec": "reference", "crop": 1},
    {"codec": "bytes", "sample_rate": 8000},
    {"codec": "fsk", "sample_rate": 8000, "crop": 700},
]
BATCH = 3


@pytest.fixture(scope="module", params=["drawn", "midi"])
def planned(request, tmp_path_factory):
    """A folder with a plan alone: drawn phrases; or chords with pedal, bend, wheel and volume, by up to two layers."""
    folder, more = tmp_path_factory.mktemp("plan"), []
    if request.param == "midi":
        track = mido.MidiTrack()
        for i in range(120):
            track.append(mido.Message("pitchwheel", pitch=(i * 977) % 16384 - 8192, time=15))
            track.append(mido.Message("control_change", control=(1, 7, 11, 64)[i % 4], value=40 + i % 80, time=15))
            track += [mido.Message("note_on", note=40 + (i * 7 + k) % 48, velocity=60 + i % 60) for k in (0, 4, 7)]
            track += [mido.Message("note_off", note=40 + (i * 7 + k) % 48, time=20 + i) for k in (0, 4, 7)]
        mido.MidiFile(tracks=[track]).save(folder / "one.mid")
        more = ["--midi", str(folder / "one.mid"), "--layers", "1..2", "--gain", "peak"]
    options = ["--samples", "60", "--seconds", "0.4", "--sample-rate", "16000", "--prefix", "bytes"]
    assert cli.main(["plan", "--patches", "example", "--out", str(folder / "plan"), *options, *more]) == 0
    return folder / "plan"


def expected(data, count):
    """What a DataLoader of them would give."""
    places = islice(iter(Batches(data, BATCH, seed=3)), count)
    return [default_collate([data[place] for place in batch]) for batch in places]


def equal(ours, theirs):
    return all(torch.equal(a.cpu(), b) and a.dtype == b.dtype for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("options", FORMATS[:3])
def test_scores_are_what_is_played(planned, options):
    """Played by the CPU, and cropped where they say."""
    data = open_clips(planned, reader="live", **options)
    (whole,) = expected(data, 1)
    score = live.Scores(data).__getitems__(next(iter(Batches(data, BATCH, seed=3))))
    audio = torch.from_numpy(engine.render_clips(**score.played)[0])
    crops = [audio[r, start : start + whole.source.shape[1]] for r, start in enumerate(score.starts.repeat(2).tolist())]
    assert whole.target.any()
    assert equal((score.prefix, torch.stack(crops[:BATCH]), torch.stack(crops[BATCH:])), whole)


def test_a_render_has_fewer_batches_of_many_notes(planned, monkeypatch):
    data = open_clips(planned, reader="live")
    assert live.count_batches(data, BATCH) == live.BATCHES_PER_RENDER
    chosen = [data.plan.choose("train", j) for j in range(len(data))]
    notes = BATCH * sum(len(choice.phrase.notes) * (1 + len(choice.layers)) for choice in chosen) / len(chosen)
    monkeypatch.setattr(sample, "BATCH_NOTES", int(3.5 * notes))
    assert live.count_batches(data, BATCH) == 3
    monkeypatch.setattr(sample, "BATCH_NOTES", 1)
    assert live.count_batches(data, BATCH) == 1
    batches = list(islice(Batches(data, BATCH, seed=3), 7))
    assert list(live._group_batches(batches, 3)) == [[at for batch in batches[i : i + 3] for at in batch] for i in (0, 3, 6)]


def test_without_a_gpu_the_cpu_renders():
    assert live.choose_gpu(torch.device("cpu")) == (None, "on the CPU")
    number, where = live.choose_gpu(torch.device("cuda", 99))
    assert number is None
    assert where.startswith("on the CPU: device 'cuda:99' cannot be used: ")


@pytest.mark.gpu
@pytest.mark.skipif(live.choose_gpu(torch.device("cuda"))[0] is None, reason="needs a GPU that numba-cuda can use")
@pytest.mark.parametrize("options", FORMATS)
@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_those_of_the_cpu(planned, options, workers):
    """Over several renders, by a GPU that is far behind, so that what is used or overwritten too early would show."""
    data, device = open_clips(planned, reader="live", **options), torch.device("cuda", 0)
    count = 2 * live.BATCHES_PER_RENDER + 3
    loading = {"num_workers": workers, "multiprocessing_context": "forkserver" if workers else None, "pin_memory": True}
    ours = []
    for batch in islice(live.render_batches(data, Batches(data, BATCH, seed=3), device, **loading), count):
        assert all(part.device == device for part in batch)
        torch.cuda._sleep(20_000_000)  # cycles, about 10 ms
        ours.append([part.clone() for part in batch])
    theirs = expected(data, count)
    assert len(ours) == len(theirs)
    assert all(map(equal, ours, theirs))


@pytest.mark.gpu
@pytest.mark.skipif(live.choose_gpu(torch.device("cuda"))[0] is None, reason="needs a GPU that numba-cuda can use")
def test_little_memory(planned, monkeypatch):
    """A row at a time, and a warp of voices."""
    monkeypatch.setattr(live, "_BYTES", 1)
    data = open_clips(planned, reader="live")
    ours = islice(live.render_batches(data, Batches(data, BATCH, seed=3), torch.device("cuda", 0)), 2)
    assert all(map(equal, ours, expected(data, 2)))
