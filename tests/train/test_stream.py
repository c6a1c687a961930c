"""Shards become batches: in an order that is a pure function, with the samples that are in the tars, wherever those lie."""

import hashlib
import io
import json
import logging
import os
import pickle
import shutil
import tarfile
import warnings
import wave
from dataclasses import replace
from itertools import islice

import fsspec
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, default_collate

from dx7data import cli, prefix
from dx7data.audio.resample import HALF_TAPS, decimate
from dx7data.dataset import folders
from dx7data.errors import InputError
from dx7data.patches import sysex
from dx7data.plan.plan import Plan
from dx7data.rng import KeyedRng, OldKeyedRng
from dx7data.storage import LocalFolder, remote
from train.data import storage
from train.data.datasets import open_clips
from train.data.example import lower_rate, make_format
from train.data.sampler import Batches, SampleKey, epoch_order
from train.loop.loader import load_batches

RENDER = ["--samples", "60", "--seconds", "0.25", "--sample-rate", "16000", "--shard-size", "200kB", "--seed", "5"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    options = [*RENDER, "--prefix", "bytes", "fsk", "--layers", "1..2", "--workers", "1"]
    assert cli.main(["render", "--patches", "example", "--out", str(folder), *options]) == 0
    assert len(list(folder.glob("train-*.tar"))) > 5
    return folder


@pytest.fixture(scope="module")
def members(made):
    """The members of every train sample, by tarfile alone."""
    found = []
    for path in sorted(made.glob("train-*.tar")):
        found += list(folders.read_samples(made, path.stem))
    return found


def read_wav(data):
    with wave.open(io.BytesIO(data)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), "<i2")


def equal(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


# --- The order ---


class Counted:
    """As much of a data set as the order looks at."""

    def __init__(self, counts, fingerprint="of this", default_group=None, largest_group=None):
        self.counts, self.fingerprint = counts, fingerprint
        self.default_group, self.largest_group = default_group, largest_group
        self.rng = KeyedRng


COUNTS = st.lists(st.integers(1, 9), min_size=1, max_size=12)
SEEDS = st.integers(0, 2**64)


def batches(data, *arguments, **keywords):
    return iter(Batches(data, *arguments, **keywords))


@given(COUNTS, SEEDS, st.integers(0, 1000), st.integers(1, 15))
def test_each_epoch_is_a_permutation(counts, seed, epoch, group):
    order = epoch_order(counts, seed, epoch, group)
    assert sorted(order.tolist()) == list(range(sum(counts)))
    assert (order == epoch_order(counts, seed, epoch, group)).all()


@given(COUNTS, SEEDS, st.integers(1, 15))
def test_groups_follow_one_another(counts, seed, group):
    """Only G shards are needed at a time."""
    shard = np.repeat(np.arange(len(counts)), counts)[epoch_order(counts, seed, 0, group)]
    seen = [set()]
    for one in shard.tolist():
        if one not in seen[-1] and len(seen[-1]) == group:
            seen.append(set())
        seen[-1].add(one)
    assert sum(map(len, seen)) == len(counts)


def test_order_differs_between_epochs_and_seeds():
    orders = [tuple(epoch_order([50] * 4, seed, epoch, 2)) for seed in (0, 1) for epoch in (0, 1)]
    assert len(set(orders)) == 4


def test_the_order_stays_what_it_was():
    """A saved state resumes with any later version, of numpy too."""
    assert epoch_order([3, 2, 4, 1], 7, 3, 2).tolist() == [0, 2, 8, 1, 7, 5, 6, 3, 9, 4]
    assert epoch_order([3, 2, 4, 1], 7, 3, 2, OldKeyedRng).tolist() == [2, 1, 3, 0, 4, 5, 9, 8, 6, 7]


@given(COUNTS, SEEDS, st.integers(1, 6), st.data())
def test_resume_is_exact_twice_in_a_row(counts, seed, group, data):
    samples = Counted(counts)
    size = data.draw(st.integers(1, sum(counts)))
    whole = Batches(samples, size, seed=seed, group=group)
    steps = 3 * whole.steps + 2  # over epoch boundaries
    expected = list(islice(iter(whole), steps))
    first = data.draw(st.integers(0, steps))
    second = data.draw(st.integers(first, steps))

    state = json.loads(json.dumps(whole.state(first)))  # what a checkpoint makes of it
    once = Batches(samples, size, state=state)
    assert once.delivered == first
    prefetched = iter(once)
    list(islice(prefetched, second - first + 2))  # two more than what was delivered
    twice = Batches(samples, size, state=once.state(second))
    assert list(islice(iter(twice), steps - second)) == expected[second:]
    assert once.state(second) == whole.state(second)


@given(COUNTS, SEEDS, st.integers(1, 4), st.integers(1, 3), st.data())
def test_ranks_partition_the_global_batch(counts, seed, ranks, each, data):
    samples = Counted([count * 12 for count in counts])
    size, steps = ranks * each, 7
    whole = list(islice(batches(samples, size, seed=seed), steps))
    start = data.draw(st.integers(0, steps))
    state = Batches(samples, size, seed=seed).state(start)
    sliced = [batches(samples, size, rank=rank, ranks=ranks, state=state) for rank in range(ranks)]
    for step in range(start, steps):
        assert [place for one in sliced for place in next(one)] == whole[step]


def test_epochs_end():
    samples = Counted([5, 5])
    two = Batches(samples, 4, epochs=2)
    assert len(two) == len(list(two)) == 4
    assert {place.epoch for batch in two for place in batch} == {0, 1}
    assert len(Batches(samples, 4, epochs=2, state=two.state(3))) == 1
    with pytest.raises(TypeError):
        len(Batches(samples, 4))


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"data": Counted([5, 5], "of that")}, "other data"),
        ({"seed": 1}, "seed is 0"),
        ({"group": 1}, "group is 2"),
        ({"batch_size": 3}, "batch_size is 4"),
        ({"rank": 2, "ranks": 2}, "rank"),
        ({"ranks": 3}, "multiple of 3"),
        ({"batch_size": 11}, "10 samples"),
        ({"data": Counted([5, 5], "of this", None, 1)}, "cache"),
        ({"state": {"epoch": 0}}, "no step"),
    ],
)
def test_what_can_not_be_resumed(change, word):
    right = {"data": Counted([5, 5]), "batch_size": 4, "state": Batches(Counted([5, 5]), 4).state(1)}
    with pytest.raises(InputError, match=word):
        Batches(**right | change)


# --- The samples ---


@pytest.mark.parametrize("codec", [None, "bytes", "fsk"])
def test_samples_are_the_wavs(made, members, codec):
    data = open_clips(made, codec=codec)
    assert len(data) == len(members) == 48
    for one, sample in zip(members, data, strict=False):
        told = read_wav(one[f"prefix.{codec}.wav"]) if codec else np.empty(0, np.int16)
        wavs = (told, read_wav(one["source.wav"]), read_wav(one["target.wav"]))
        assert all(tensor.dtype == torch.int16 for tensor in sample)
        assert all((tensor.numpy() == wav).all() for tensor, wav in zip(sample, wavs, strict=True))
    assert equal(data[-1], data[47])
    with pytest.raises(IndexError):
        data[48]


@pytest.mark.parametrize("options", [{}, {"codec": "fsk"}, {"codec": "bytes", "sample_rate": 8000, "crop": 700}])
def test_live_equals_shards(made, options):
    shards, live = open_clips(made, **options), open_clips(made, reader="live", **options)
    planned = open_clips(Plan.load(made), reader="live", **options)
    assert shards.fingerprint == live.fingerprint == planned.fingerprint
    assert shards.counts == live.counts
    places = [SampleKey(3, 1, index) for index in (0, 7, 21, 47)]
    assert all(equal(shards[at], live[at]) and equal(live[at], planned[at]) for at in places)


def test_splits_and_extensions_have_fingerprints_of_their_own(made, tmp_path):
    assert len({open_clips(made, split).fingerprint for split in ("train", "val", "test")}) == 3
    plan = Plan.load(made)
    longer = open_clips(replace(plan, counts=plan.counts | {"train": 50}), reader="live")
    assert longer.fingerprint != open_clips(made).fingerprint


@given(st.integers(1, 4000), SEEDS, st.integers(0, 99), st.integers(0, 47))
@settings(deadline=None, max_examples=40)
def test_crops_are_aligned(made, crop, seed, epoch, index):
    whole, cut = open_clips(made)[index], open_clips(made, crop=crop)[SampleKey(seed, epoch, index)]
    start = make_format(None, 2, 16000, 4000, None, crop).start(SampleKey(seed, epoch, index), index)
    assert 0 <= start <= 4000 - crop
    assert torch.equal(cut.source, whole.source[start : start + crop])
    assert torch.equal(cut.target, whole.target[start : start + crop])


def test_crops_move(made):
    """From epoch to epoch, seed to seed and sample to sample, over all positions."""
    cut = make_format(None, 1, 16000, 20, None, 11)
    starts = [cut.start(SampleKey(seed, epoch, 0), j) for seed in range(3) for epoch in range(5) for j in range(40)]
    assert set(starts) == set(range(10))
    assert np.bincount(starts).min() > 30


def test_lower_rates_decimate_what_is_in_the_shard(made, members):
    low = open_clips(made, sample_rate=8000)
    for one, sample in zip(members[:9], low, strict=False):
        for name, tensor in (("source.wav", sample.source), ("target.wav", sample.target)):
            expected = decimate(read_wav(one[name]).astype(np.int32), 24000)  # 2:1 as from 48 kHz
            assert (tensor.numpy() == np.clip(expected, -32768, 32767)).all()


@given(st.sampled_from(sorted(HALF_TAPS)), st.integers(1, 700), st.data())
@settings(deadline=None)
def test_a_part_is_lowered_like_the_whole(factor, size, data):
    """Also where the filter rings beyond 16 bits."""
    clip = (np.random.default_rng(size).integers(0, 2, size) * 65535 - 32768).astype(np.int16)
    whole = lower_rate(clip, factor)
    assert whole.size == -(-size // factor)
    start = data.draw(st.integers(0, whole.size - 1))
    stop = data.draw(st.integers(start + 1, whole.size))
    assert (lower_rate(clip, factor, start, stop) == whole[start:stop]).all()


@pytest.mark.parametrize("codec", prefix.CODECS)
def test_prefixes_are_encoded_again(made, members, codec):
    """At a lower rate, or of a codec that the shards do not have: from the dump, each layer in its place."""
    data, size = open_clips(made, codec=codec, sample_rate=8000), prefix.samples(codec, 8000)
    for one, sample in zip(members[:6], data, strict=False):
        told = sample.prefix.numpy().reshape(2, size)
        dumped = [np.frombuffer(record.patch, np.uint8) for record in sysex.read(one["target.syx"]).voices]
        for stored, audio in zip(dumped, told, strict=False):
            assert (audio == prefix.encode(stored, codec, 8000)).all()
            if codec != "reference":
                assert (prefix.decode(audio, codec, 8000) == stored).all()
        assert not told[len(dumped) :].any()
    assert len(open_clips(made, codec="reference")[0].prefix) == 2 * prefix.samples("reference", 16000)


# --- torch's DataLoader ---


def test_workers_do_not_matter(made):
    """Real workers; resumed in the middle, over the boundary, with another number of them."""
    data = open_clips(made, crop=1000)
    every = Batches(data, 20, seed=1, epochs=3)
    expected = [default_collate([data[place] for place in batch]) for batch in every]
    assert len(expected) == 6
    two = list(DataLoader(data, batch_sampler=every, num_workers=2))
    assert all(equal(one, other) for one, other in zip(two, expected, strict=True))
    resumed = DataLoader(data, batch_sampler=Batches(data, 20, epochs=3, state=every.state(3)))
    assert all(equal(one, other) for one, other in zip(resumed, expected[3:], strict=True))


def test_a_live_worker_of_a_process_that_has_rendered(made):
    """Its threads would end the worker; it says what to do instead."""
    data = open_clips(made, reader="live")
    expected = data[0]
    forked = iter(DataLoader(data, sampler=[0], num_workers=1, multiprocessing_context="fork"))
    with pytest.raises(InputError, match="forkserver"):
        next(forked)
    forked._shutdown_workers()  # left to the garbage collector, it waits 5 s for them
    (sample,) = DataLoader(data, sampler=[0], num_workers=1, multiprocessing_context="forkserver", batch_size=None)
    assert equal(sample, expected)


def test_many_tars_few_files(made, monkeypatch):
    from train.data import shards

    monkeypatch.setattr(shards, "_OPEN_TARS", 2)
    data, all_open = open_clips(made), pickle.loads(pickle.dumps(open_clips(made)))
    assert all(equal(data[i], all_open[i]) for i in range(48))
    assert len(data._maps) == 2


# --- Remote shards ---


@pytest.fixture
def memory(made, monkeypatch):
    """The folder in fsspec's memory; opens of its shards fail every other time."""
    monkeypatch.setattr(remote, "PAUSE", 0.001)
    fs = fsspec.filesystem("memory")
    for path in made.iterdir():
        fs.pipe(f"/made/{path.name}", path.read_bytes())
    opens, real = [], type(fs).open

    def failing(self, path, *arguments, **keywords):
        opens.append(path)
        if len(opens) % 2:
            raise ConnectionResetError("the other side hung up")
        return real(self, path, *arguments, **keywords)

    monkeypatch.setattr(type(fs), "open", failing)
    yield opens
    fs.rm("/made", recursive=True)


def test_remote_shards_and_retries(made, memory, tmp_path):
    data, local = open_clips("memory://made", cache=tmp_path), open_clips(made)
    assert data.fingerprint == local.fingerprint
    assert all(equal(data[i], local[i]) for i in range(48))
    fetched = len(memory)
    again = open_clips("memory://made", cache=tmp_path)
    again._tables = data._tables
    assert equal(again[0], local[0])
    assert not [path for path in memory[fetched:] if path.endswith(".tar")], "the cache was not used"
    assert data.default_group == 8


def test_the_cache_is_bounded(made, tmp_path):
    size = max(path.stat().st_size for path in made.glob("*.tar"))
    data, local = open_clips(f"file://{made}", cache=tmp_path, cache_bytes=2 * size), open_clips(made)
    for i in (0, 47, 20, 0, 30, 10):
        assert equal(data[i], local[i])
        assert sum(path.stat().st_size for path in tmp_path.glob("*/*.tar*")) <= 2 * size
        assert len(data._maps) <= 3
    with pytest.raises(InputError, match="the cache holds 2 shards"):
        Batches(data, 4, group=3)
    assert Batches(data, 4).state(0)["group"] == 2
    with pytest.raises(InputError, match="can't hold a shard"):
        open_clips(f"file://{made}", cache=tmp_path, cache_bytes=1000)


def test_the_cache_is_of_these_shards(made, tmp_path):
    """Not of those that were at the same address before, however much they look like them."""
    size = 1000
    for content in (b"a" * size, b"b" * size):
        (tmp_path / "train-000000.tar").write_bytes(content)
        at = storage.Remote(f"file://{tmp_path}", tmp_path / "cache")
        path = at.local_path("train-000000.tar", size, hashlib.sha256(content).hexdigest())
        assert path.read_bytes() == content


@pytest.mark.parametrize(("name", "digest"), [("train-000000.tar", "../" * 8 + "x"), ("../x.tar", "0" * 64)])
def test_what_climbs_out_of_the_cache(tmp_path, name, digest):
    (tmp_path / "there").mkdir()
    at = storage.Remote(f"file://{tmp_path / 'there'}", tmp_path / "cache")
    with pytest.raises(InputError, match="has no such shard"):
        at.local_path(name, 1000, digest)
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_the_cache_gives_way_to_what_comes(tmp_path, monkeypatch):
    """Not to what a data set says of a shard, of which only a little is there."""
    monkeypatch.setattr(remote, "TRIES", 1)
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "train-000000.tar").write_bytes(b"little")
    cached = [tmp_path / "cache" / "other" / f"{i}-train-000000.tar" for i in range(3)]
    cached[0].parent.mkdir(parents=True)
    for path in cached:
        with open(path, "wb") as file:
            file.truncate(8 << 20)
    at = storage.Remote(f"file://{tmp_path / 'there'}", tmp_path / "cache", cache_bytes=32 << 20)
    with pytest.raises(InputError, match="not what was rendered"):
        at.local_path("train-000000.tar", 30 << 20, "0" * 64)
    with pytest.raises(InputError, match="enlarge it"):
        at.local_path("train-000000.tar", 7 << 30, "0" * 64)
    assert all(path.exists() for path in cached)
    assert not list(tmp_path.rglob("*.part"))


def test_a_document_that_is_too_long_is_not_read(tmp_path):
    (tmp_path / "dataset.json").write_bytes(b"[" * 1000)
    for where in (tmp_path, f"file://{tmp_path}"):
        with pytest.raises(InputError, match="more than the 999"):
            storage.open_folder(where, tmp_path / "cache").read("dataset.json", 999)


def test_remote_with_workers(made, tmp_path):
    data, local = open_clips(f"file://{made}", cache=tmp_path), open_clips(made)
    loaded = DataLoader(data, batch_sampler=Batches(data, 8, group=3, epochs=1), num_workers=2)
    expected = DataLoader(local, batch_sampler=Batches(local, 8, group=3, epochs=1))
    assert all(equal(one, other) for one, other in zip(loaded, expected, strict=True))
    assert not list(tmp_path.glob("*/*.part"))


def test_a_remote_that_stays_away(made, memory, tmp_path, monkeypatch):
    data = open_clips("memory://made", cache=tmp_path)
    monkeypatch.setattr(remote, "TRIES", 1)
    memory.extend([""] * (len(memory) % 2))
    with pytest.raises(InputError, match=r"memory://made/train-0000\d\d\.\w+: 1 tries failed, .* the other side"):
        data[0]
    with pytest.raises(InputError, match="begins with no scheme that is known"):
        open_clips("nowhere://made", cache=tmp_path)
    assert not list(tmp_path.glob("*/*.part"))


def test_a_damaged_download_is_no_shard(made, tmp_path, monkeypatch):
    monkeypatch.setattr(remote, "PAUSE", 0.001)
    broken = tmp_path / "broken"
    shutil.copytree(made, broken)
    flip(broken / "train-000000.tar", 1000)
    with pytest.raises(InputError, match="not what was rendered"):
        open_clips(f"file://{broken}", cache=tmp_path / "cache")[0]


# --- webdataset's own reader ---


def test_any_webdataset(made, caplog):
    with caplog.at_level(logging.WARNING):
        url = f"{made}/train-{{000000..000002}}.tar"
        data = open_clips(url, reader="webdataset", codec="fsk")
    assert "can't be resumed exactly" in caplog.text
    assert not data.resumable
    ours = open_clips(made, codec="fsk")
    count = sum(ours.counts[:3])
    found = {sample.target.numpy().tobytes(): sample for sample in data}
    assert all(equal(found[ours[i].target.numpy().tobytes()], ours[i]) for i in range(count))
    low = open_clips(url, reader="webdataset", codec="bytes", sample_rate=8000, crop=500)
    assert [part.shape[1] for part in next(iter(DataLoader(low, batch_size=4)))] == [384, 500, 500]


def test_a_webdataset_that_lacks_something(made, tmp_path):
    with tarfile.open(tmp_path / "bare.tar", "w") as tar:
        data = (made / "README.md").read_bytes()
        tar.addfile(member := tarfile.TarInfo("a.json"), io.BytesIO(data[: member.size]))
    for url, word in ((tmp_path / "bare.tar", "source.wav"), (tmp_path / "none.tar", "can't be read")):
        with pytest.raises(InputError, match=word):
            next(iter(open_clips(url, reader="webdataset")))


# --- One sentence ---


def flip(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"codec": "morse"}, "bytes, fsk, reference"),
        ({"sample_rate": 12000}, "8000, 16000"),
        ({"sample_rate": 48000}, "8000, 16000"),
        ({"crop": 4001}, "from 1 to 4000"),
        ({"crop": 2001, "sample_rate": 8000}, "from 1 to 2000"),
        ({"crop": 0}, "from 1"),
        ({"split": "dev"}, "train, val, test"),
        ({"reader": "tape"}, "shards, live, webdataset"),
    ],
)
def test_wrong_options(made, options, word):
    with pytest.raises(InputError, match=word):
        open_clips(made, **options)


def test_no_data_set(tmp_path):
    for where in (tmp_path, tmp_path / "none", f"file://{tmp_path}"):
        with pytest.raises(InputError, match="is no data set"):
            open_clips(where, cache=tmp_path / "cache")


def test_incomplete_and_damaged_shards(made, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(made, broken)
    names = [each.name for each in open_clips(made).shards]
    (broken / "index.json").unlink()
    (broken / f"{names[0]}.stats.json").unlink()
    (broken / f"{names[1]}.tar").unlink()
    with open(broken / f"{names[2]}.tar", "r+b") as file:
        file.truncate(5000)
    with pytest.raises(InputError, match=rf"lacks 3 of {len(names)} train shards, such as {names[0]}"):
        open_clips(broken)
    rest = open_clips(broken, skip_missing=True, crop=100)
    assert rest.skipped == names[:3]
    left_out = sum(open_clips(made).counts[:3])
    assert len(rest) == 48 - left_out
    assert equal(rest[SampleKey(4, 2, 0)], open_clips(made, crop=100)[SampleKey(4, 2, left_out)]), (
        "a sample is cropped where it was"
    )
    with pytest.raises(InputError, match="other data"):
        Batches(rest, 4, state=Batches(open_clips(made), 4).state(0))

    rest = open_clips(broken, skip_missing=True)
    flip(broken / f"{names[3]}.parquet", 100)
    with pytest.raises(InputError, match=rf"{names[3]}.parquet is damaged or gone"):
        rest[0]
    rows = folders.shard.read_rows(Plan.load(made), open_clips(made).shards[4], LocalFolder(made))
    for row, back in ((0, 0), (1, 512)):  # the header of a wav, the name of a member
        flip(broken / f"{names[4]}.tar", rows[row]["source_wav_offset"] - back)
        at = rest.counts[0] + row
        with pytest.raises(InputError, match=rf"source.wav of sample {row} in .*{names[4]}.tar is not where"):
            rest[at]


def test_more_workers_than_cores(made, monkeypatch):
    """torch warns of a freeze, on two lines with paths, where a preset has four of them and the machine two cores."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0})
    clips = open_clips(made, crop=800)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        batch = next(load_batches(clips, Batches(clips, 2, 0), 2, torch.device("cpu")))
    assert batch.target.shape == (2, 800)
