"""Whole samples on a GPU: its filter and gains against the CPU's, whose rules other tests prove; then shards, by hash."""

import hashlib
import multiprocessing
import subprocess
import sys
import tarfile
from dataclasses import replace
from types import SimpleNamespace

import mido
import numpy as np
import pytest
from gpu import needs_gpu, simulate

from dx7data import cli
from dx7data.audio import gain
from dx7data.audio.resample import ENGINE_RATE, decimate
from dx7data.dataset import shard, worker
from dx7data.dataset.executors import local
from dx7data.plan import sample
from dx7data.plan.plan import Plan
from dx7data.plan.spec import Spec
from dx7data.storage import LocalFolder

POLICIES = ("native", "peak", "-7.5", "60.0")

FINISHED = """
from dx7data.audio import clips_cuda, gain

clips_cuda.THREADS = 32
given = np.load(sys.argv[1])
factor = int(given["factor"])
low = clips_cuda.decimate(cuda.to_device(given["native"]), int(given["rate"]))
found = {"low": low.copy_to_host()}
for policy in given["policies"].tolist():
    clips, levels = np.empty((5, int(given["length"])), np.int16), np.zeros((3, 5), np.int64)
    levels[0] = gain.parse_policy(policy)
    clips_cuda.bring_to_16_bits(cuda.to_device(given["quiet"]), policy == "peak", given["volume"], factor, clips, levels)
    found |= {policy + " clips": clips, policy + " levels": levels}
np.savez(sys.argv[2], **found)
"""


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 24000, 48000])
def test_the_kernels_in_the_simulator(tmp_path, rate):
    """Filter and gains of random rows, of the largest legal numbers, and of silence; the last tile is not full."""
    rng = np.random.default_rng(rate)
    factor = ENGINE_RATE[rate] // rate
    length = 70
    native = rng.integers(-(2**30), 2**30, (5, length * factor - factor // 2), np.int32, endpoint=True)
    native[1] = np.where(native[1] < 0, -(2**30), 2**30)
    native[2] = 0
    quiet = (native >> np.array([[9], [9], [9], [18], [12]]))[:, ::factor].copy()  # what gains up to 60 dB are exact for
    volume = rng.integers(0, gain.FULL + 1, (5, native.shape[1] // 64 + 2)).astype(np.int32)
    given = {"native": native, "quiet": quiet, "volume": volume, "length": length - 3, "policies": POLICIES}
    np.savez(tmp_path / "in.npz", rate=rate, factor=factor, **given)
    simulate(FINISHED, tmp_path / "in.npz", tmp_path / "out.npz")
    found = np.load(tmp_path / "out.npz")
    assert (found["low"] == decimate(native, rate)).all()
    for policy in POLICIES:
        clips, *levels = gain.apply(quiet[:, : length - 3], policy, volume, factor)
        np.testing.assert_array_equal(found[f"{policy} levels"], levels, policy)
        np.testing.assert_array_equal(found[f"{policy} clips"], clips, policy)
    assert (found["60.0 levels"][2] > 0).any(), "nothing was cut"


SAMPLES = """
from pathlib import Path

from dx7data.audio import clips_cuda
from dx7data.plan import plan, sample, score
from dx7data.storage import LocalFolder

clips_cuda.THREADS = 32
voices = score.voices


def wide(*arguments):
    some = voices(*arguments)
    return some._replace(**{name: getattr(some, name).astype(np.int64) for name in some._fields[1:] if name != "fixed"})


score.voices = wide
of = plan.Plan.load(Path(sys.argv[1]))
samples = sample.render_samples(of, [("train", 4), ("train", 1)], "cuda")
left = cuda.device_array((4, of.spec.samples), np.int16)
clips_cuda.fill(left, 0, driver.OWN, **score.make_score(of, [of.choose("train", 4), of.choose("train", 1)]))
assert (left.copy_to_host() == [samples[0].source, samples[1].source, samples[0].target, samples[1].target]).all()
np.savez(sys.argv[2], *[np.frombuffer(data, np.uint8) for one in samples for _, data in one.members()])
"""


def test_samples_in_the_simulator(tmp_path):
    """From the plan to the members of a shard; and to clips that stay in GPU memory."""
    options = ["--samples", "8", "--seconds", "0.01", "--layers", "2", "--prefix", "bytes", "--gain", "peak"]
    assert cli.main(["plan", "--patches", "example", "--out", str(tmp_path / "plan"), *options]) == 0
    simulate(SAMPLES, tmp_path / "plan", tmp_path / "out.npz")
    found = [data.tobytes() for data in np.load(tmp_path / "out.npz").values()]
    samples = sample.render_samples(Plan.load(tmp_path / "plan"), [("train", 4), ("train", 1)])
    assert all(one.target.any() for one in samples)
    assert found == [data for one in samples for _, data in one.members()]


# --- Shards: the same bytes from both ---


@pytest.fixture(scope="module")
def music(tmp_path_factory):
    """A MIDI file with chords, pedal, bend, wheel, volume and expression."""
    rng = np.random.default_rng(8)
    track = mido.MidiTrack()
    for _ in range(200):
        track.append(mido.Message("pitchwheel", pitch=int(rng.integers(-8192, 8192)), time=20))
        control, value = int(rng.choice([1, 7, 11, 64])), int(rng.integers(30, 128))
        track.append(mido.Message("control_change", control=control, value=value, time=20))
        keys = [int(key) for key in rng.choice(np.arange(40, 90), 3, replace=False)]
        track += [mido.Message("note_on", note=key, velocity=int(rng.integers(20, 128))) for key in keys]
        track += [mido.Message("note_off", note=key, time=int(rng.integers(20, 200))) for key in keys]
    path = tmp_path_factory.mktemp("music") / "one.mid"
    mido.MidiFile(tracks=[track]).save(path)
    return path


def render(folder, *options):
    common = ["--samples", "150", "--seconds", "0.6", "--shard-size", "600kB", "--seed", "3"]
    return cli.main(["render", "--patches", "example", "--out", str(folder), *common, *map(str, options)])


def tars(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*.tar"))}


EVERYTHING = [
    *("--prefix", "bytes", "fsk", "reference", "--layers", "1..3", "--pairs", "2", "--source", "random"),
    *("--perturb", "12", "--random-patches", "30"),
]


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("wishes", ["drawn", "midi", "everything", "loud", "peak"])
def test_shards_are_the_same(tmp_path, music, monkeypatch, wishes):
    options = {
        "drawn": ["--sample-rate", 16000],
        "midi": ["--midi", music, "--sample-rate", 8000],
        "everything": ["--midi", music, *EVERYTHING],
        "loud": ["--midi", music, "--gain", 24, "--layers", 3, "--sample-rate", 44100],
        "peak": ["--midi", music, "--gain", "peak", "--sample-rate", 24000],
    }[wishes]
    assert render(tmp_path / "cpu", *options, "--device", "cpu") == 0
    assert render(tmp_path / "gpu", *options, "--device", "cuda", "--workers", 2) == 0
    monkeypatch.setattr(shard, "gpu_batch_size", lambda plan: 7)
    assert render(tmp_path / "sevens", *options, "--device", "cuda", "--workers", 1) == 0
    assert len(tars(tmp_path / "cpu")) > 2
    assert tars(tmp_path / "gpu") == tars(tmp_path / "sevens") == tars(tmp_path / "cpu")


@pytest.mark.gpu
@needs_gpu
def test_little_memory(tmp_path, monkeypatch):
    """A row at a time, and a warp of voices: the same shards."""
    from dx7data.engine import cuda

    assert render(tmp_path / "cpu", "--device", "cpu") == 0
    monkeypatch.setattr(cuda, "_SHARE", 1e-6)
    assert render(tmp_path / "gpu", "--device", "cuda", "--workers", 1) == 0
    assert tars(tmp_path / "gpu") == tars(tmp_path / "cpu")


@pytest.mark.gpu
@needs_gpu
def test_a_gpu_that_fails_half_way(tmp_path, monkeypatch, capsys):
    """More memory is asked for than there is, after a shard or two: one sentence, whole shards; the CPU goes on."""
    from dx7data.audio import clips_cuda

    plain, calls = clips_cuda.decimate, []

    def greedy(native, rate):
        calls.append(1)
        if len(calls) > 2:  # the first may be the one that compiles
            clips_cuda.cuda.device_array((1 << 22, 1 << 22), np.int32)
        return plain(native, rate)

    monkeypatch.setattr(shard, "gpu_batch_size", lambda plan: plan.spec.shard_samples)
    with monkeypatch.context() as patched:
        patched.setattr(clips_cuda, "decimate", greedy)
        assert render(tmp_path / "gpu", "--device", "cuda", "--workers", 1) == 2
    assert "GPU 0 failed" in capsys.readouterr().err
    assert render(tmp_path / "cpu", "--device", "cpu") == 0
    kept, whole = tars(tmp_path / "gpu"), tars(tmp_path / "cpu")
    assert 0 < len(kept) < len(whole)
    assert kept.items() < whole.items()
    assert render(tmp_path / "gpu", "--device", "cpu") == 0
    assert tars(tmp_path / "gpu") == whole


def test_batches_of_few_notes(tmp_path, music, monkeypatch):
    """What one batch has in memory is bounded by its notes too, however many a clip has; the shards are the same."""
    options = ["--midi", music, "--layers", "1..3", "--prefix", "bytes", "--device", "cpu", "--workers", 1]
    assert render(tmp_path / "whole", *options) == 0
    plain, batches = sample.render_chosen, []

    def count(plan, chosen, *more):
        batches.append([len(one.choice.phrase.notes) * (1 + len(one.choice.layers)) for one in chosen])
        return plain(plan, chosen, *more)

    monkeypatch.setattr(sample, "render_chosen", count)
    monkeypatch.setattr(sample, "BATCH_NOTES", 40)
    assert render(tmp_path / "parts", *options) == 0
    of_shards = batches[-150:]
    assert all(sum(batch) <= 40 or len(batch) == 1 for batch in batches)
    assert max(map(len, of_shards)) > 1, "nothing was together"
    assert tars(tmp_path / "parts") == tars(tmp_path / "whole")


def test_prefixes_count_as_audio_of_a_batch():
    """A prefix can be a hundred times as long as its clip."""
    of = {"seconds": 0.01, "sample_rate": 16000, "seed": 1, "source": "", "split": (1.0, 0.0, 0.0), "gain": "native"}
    short = Spec(keep_silent=False, shard_bytes=1 << 20, **of)
    long = replace(short, prefixes=("fsk",), layers=(1, 8))
    plain, prefixed = (shard.gpu_batch_size(SimpleNamespace(spec=each)) for each in (short, long))
    assert plain * 2 * 2 * 160 <= 512 << 20
    assert prefixed * 2 * (2 * 160 + long.prefix_samples("fsk")) <= 512 << 20


# --- Who renders what, the command line, and the tar ---


@pytest.mark.parametrize(
    ("seconds", "rate", "expected"), [(1.035, 44100, 45643), (0.015, 44100, 661), (1.035, 22050, 22822)]
)
def test_the_plan_knows_the_length_of_its_clips(tmp_path, seconds, rate, expected):
    """In single precision 1.035 s are a little less, and half a sample is no longer rounded up."""
    options = ["--seconds", str(seconds), "--sample-rate", str(rate), "--samples", "4"]
    assert cli.main(["plan", "--patches", "example", "--out", str(tmp_path), *options, "--split", "1,0,0"]) == 0
    of = Plan.load(tmp_path)
    assert of["train", 0].target.size == of.spec.samples == expected


def test_old_data_sets_keep_their_shards():
    """Those sizes were computed from a length that is sometimes one more than that of the clips, here beyond a tar block."""
    common = {"seed": 0, "source": "random", "split": (1, 0, 0), "gain": "native", "keep_silent": False}
    assert Spec(seconds=8.945, sample_rate=44100, shard_bytes=512 * (2 * 3093 - 1), **common).shard_samples == 1


def test_several_shards_to_a_task_and_several_devices(tmp_path):
    """Two devices that are the CPU twice: what is done for two GPUs."""
    assert render(tmp_path / "whole", "--device", "cpu") == 0
    of, done = Plan.load(tmp_path / "whole"), []
    (tmp_path / "ours").mkdir()
    local.render_shards(of, of.shards(), LocalFolder(tmp_path / "ours"), done.append, 1, ("cpu", "cpu"))
    assert len(of.shards()) > 4
    assert tars(tmp_path / "ours") == tars(tmp_path / "whole")
    assert sum(done) == 150


def test_a_worker_takes_no_more_threads_than_there_are():
    """NUMBA_NUM_THREADS may be less than the cores."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=worker.run, args=(theirs, None, None, 10**6, "cpu", None))
    process.start()
    ours.close()
    theirs.close()
    process.join(60)
    assert process.exitcode == 0


@pytest.mark.parametrize(
    ("device", "words"),
    [
        ("gpu", ["--device", "cpu, auto, or GPUs such as cuda or cuda:0,cuda:1"]),
        ("cuda:", ["--device", "cuda:0,cuda:1"]),
        ("cpu,cuda", ["--device", "cuda:0,cuda:1"]),
        ("cuda,cuda:0", ["--device", "each GPU once"]),
        ("cuda:99", ["device 'cuda:99' cannot be used", "device 'cpu' gives the same samples"]),
        ("cpu", []),
    ],
)
def test_devices_on_the_command_line(tmp_path, capsys, device, words):
    try:
        status = render(tmp_path / "out", "--device", device)
    except SystemExit as left:  # argparse
        status = left.code
    message = capsys.readouterr().err
    assert all(word in message for word in words), message
    assert "Traceback" not in message
    assert status == (2 if words else 0)
    assert (tmp_path / "out").exists() == (not words)


def test_without_a_gpu_the_sentence_says_what_is_missing(tmp_path):
    command = [sys.executable, "-m", "dx7data", "render", "--patches", "example", "--out", tmp_path / "out"]
    done = subprocess.run([*command, "--device", "cuda"], env={"CUDA_VISIBLE_DEVICES": ""}, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("dx7data: device 'cuda:0' cannot be used: ")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_the_bench_is_a_table(capsys):
    assert cli.main(["bench"]) == 0
    table = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert len(table) >= 3
    assert len({line.count("|") for line in table}) == 1
    assert float(table[2].split("|")[4].replace(",", "")) > 10, "a core plays less than ten voices in real time"


@pytest.mark.parametrize(("name", "size"), [("train_00000001.source.wav", 80044), ("a", 0), ("é" * 50, 8**11 - 1)])
def test_headers_are_those_of_tarfile(name, size):
    expected = tarfile.TarInfo(name)
    expected.size = size
    assert shard.make_header(name, size) == expected.tobuf(tarfile.USTAR_FORMAT, "utf-8")
