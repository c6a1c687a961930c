"""A bank goes in, shards come out: the same bytes whoever makes them, in plain formats, whole or not there."""

import errno
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
import wave

import numpy as np
import pyarrow.parquet as pq
import pytest

from dx7data import cli, files
from dx7data.audio.resample import decimate
from dx7data.dataset import folders
from dx7data.engine.render import mix
from dx7data.engine.voice import voices
from dx7data.patches import bank, patch, sysex
from dx7data.plan import drawn
from dx7data.plan.plan import Plan

SMALL = ["--samples", "60", "--seconds", "0.5", "--shard-size", "200kB", "--seed", "5"]


def render(folder, *options, patches="example"):
    return cli.main(["render", "--patches", patches, "--out", str(folder), *options])


def contents(folder):
    """SHA-256 of every file that the promise of identical bytes covers."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
        if path.name != "render.log"
    }


def the_patch(dump):
    return np.frombuffer(sysex.read(dump).voices[0].patch, np.uint8)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    assert render(folder, *SMALL, "--workers", "1") == 0
    return folder


def test_workers_do_not_matter(made, tmp_path):
    assert render(tmp_path, *SMALL, "--workers", "2") == 0
    assert contents(tmp_path) == contents(made)
    assert len(list(made.glob("*.tar"))) > 5


def test_killed_and_resumed(made, tmp_path):
    """SIGKILL with shards half made, to the parent, whose workers end with it; then the same command."""
    command = [
        sys.executable,
        "-m",
        "dx7data",
        "render",
        "--patches",
        "example",
        "--out",
        str(tmp_path),
        *SMALL,
        "--workers",
        "2",
    ]
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while len(list(tmp_path.glob("*.stats.json"))) < 2:
        assert process.poll() is None, "the render ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.001)
    process.kill()
    try:
        process.communicate(timeout=30)  # the workers write there too: it lasts until they have all ended
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    whole = dict(contents(made))
    shards = {path.name for path in tmp_path.glob("*.tar")}
    assert 2 <= len(shards) < len(list(made.glob("*.tar")))
    assert all(contents(tmp_path)[name] == whole[name] for name in shards), "a shard was half written"
    assert render(tmp_path, *SMALL, "--workers", "2") == 0
    assert contents(tmp_path) == whole


def test_batch_size_does_not_matter(made, tmp_path, monkeypatch):
    from dx7data.dataset import shard

    monkeypatch.setattr(shard, "batch_size", lambda plan: 3)
    assert render(tmp_path, *SMALL, "--workers", "1") == 0
    assert contents(tmp_path) == contents(made)


def test_plain_tar_and_wave(made):
    """tarfile, wave and json alone read what the sidecar says, and the dump is the patch."""
    of = Plan.load(made)
    keys = []
    for path in sorted(made.glob("*.tar")):
        rows = pq.read_table(path.with_suffix(".parquet")).to_pylist()
        raw = path.read_bytes()
        with tarfile.open(path) as tar:
            members = {member.name: tar.extractfile(member).read() for member in tar}
            assert all((m.mtime, m.uid, m.gid, m.mode, m.uname) == (0, 0, 0, 0o644, "") for m in tar)
        assert len(members) == 4 * len(rows)
        assert list(members) == sorted(members, key=lambda name: name.split(".")[0])
        for row in rows:
            keys.append(row["key"])
            meta = json.loads(members[f"{row['key']}.json"])
            for clip in ("source", "target"):
                with wave.open(io.BytesIO(members[f"{row['key']}.{clip}.wav"])) as audio:
                    assert audio.getparams()[:4] == (1, 2, 8000, 4000)
                    samples = np.frombuffer(audio.readframes(4000), "<i2").astype(int)
                assert np.abs(samples).max() == row[f"{clip}_peak"] == meta["peak"][clip]
                place = slice(row[f"{clip}_wav_offset"], row[f"{clip}_wav_offset"] + row[f"{clip}_wav_bytes"])
                assert raw[place] == members[f"{row['key']}.{clip}.wav"]
            dumped = the_patch(members[f"{row['key']}.target.syx"])
            assert patch.patch_id(dumped) == row["patch_id"] == meta["layers"][0]["id"]
            chosen = of.choose(row["key"].split("_")[0], row["index"]).layers
            assert (dumped == of.patches.stored[chosen[0]]).all()
    assert len(set(keys)) == 60


def test_webdataset_reads_it(made):
    import webdataset

    found = list(webdataset.WebDataset([str(path) for path in sorted(made.glob("*.tar"))], shardshuffle=False))
    assert len(found) == 60
    assert {"source.wav", "target.wav", "target.syx", "json"} <= set(found[0])


def test_a_sample_is_what_its_json_says(made):
    """From the json and the dump alone, by the engine's other entry: one voice a row, added up here."""
    of = Plan.load(made)
    first = next(folders.read_samples(made, "train-000000"))
    meta = json.loads(first["json"])
    one = the_patch(first["target.syx"])
    notes = meta["notes"]
    start = np.rint(np.array([note["start"] for note in notes]) * 48000 / 64).astype(int)
    each = voices(one, [n["note"] for n in notes], [n["velocity"] for n in notes], [n["held"] for n in notes], 48000, start)
    native = mix(each, np.arange(len(notes)), np.zeros(len(notes)), len(notes), of.spec.seconds).sum(axis=0, dtype=np.int32)
    with wave.open(io.BytesIO(first["target.wav"])) as audio:
        samples = np.frombuffer(audio.readframes(4000), "<i2")
    assert (np.clip(decimate(native, 8000), -32768, 32767) == samples).all()


def test_source_and_target_are_aligned(tmp_path):
    """With the same patch on both sides the clips are equal: no delay between them, no gain but the policy's."""
    single = tmp_path / "one.syx"
    single.write_bytes(sysex.write_voice(patch.SINE))
    assert render(tmp_path / "out", "--samples", "4", "--seconds", "0.5", patches=str(single)) == 0
    for one in folders.read_samples(tmp_path / "out", "train-000000"):
        assert one["source.wav"] == one["target.wav"]


def test_splits_share_no_patch(made):
    of = Plan.load(made)
    members = {split: set(of.targets[split]) for split in of.counts}
    assert not members["train"] & members["val"]
    assert not members["val"] & members["test"]
    assert sum(len(each) for each in members.values()) == 32
    assert of.counts == {"train": 48, "val": 6, "test": 6}


def test_few_patches_are_split_by_phrase(tmp_path, capsys):
    single = tmp_path / "one.syx"
    single.write_bytes(sysex.write_voice(bank.load(["example"]).patches[4]))
    assert render(tmp_path / "out", "--samples", "20", "--seconds", "0.25", patches=str(single)) == 0
    assert "split by phrase" in capsys.readouterr().err
    phrases = [
        {json.loads(one["json"])["phrase"]["id"] for one in folders.read_samples(tmp_path / "out", f"{split}-000000")}
        for split in ("train", "val", "test")
    ]
    assert [len(each) for each in phrases] == [16, 2, 2]
    of = Plan.load(tmp_path / "out")
    found = [{drawn.find_split(of.choose(split, j).phrase, of.spec) for j in range(200)} for split in of.counts]
    assert found == [{"train"}, {"val"}, {"test"}], "phrases of splits are kept apart, however many there are"


def test_phrases_of_kinds_that_pass_filters(tmp_path, capsys):
    """From the command line to the json of each sample, and to what is said of them."""
    options = ["--samples", "60", "--seconds", "1", "--kinds", "scale,melody", "--polyphony", "1", "--velocity", "90..100"]
    assert render(tmp_path, *options) == 0
    assert "drawn phrases: 100 % pass the filters\n" in capsys.readouterr().err
    of = Plan.load(tmp_path)
    assert of.spec.kinds == ("melody", "scale")
    count = 0
    for each in of.shards():
        for one in folders.read_samples(tmp_path, each.name):
            meta = json.loads(one["json"])
            assert meta["phrase"]["kind"] in ("melody", "scale")
            notes = meta["notes"]
            assert all(90 <= note["velocity"] <= 100 for note in notes)
            ends = [note["start"] + note["held"] for note in notes[:-1]]
            assert all(end <= later["start"] + 1e-3 for end, later in zip(ends, notes[1:], strict=True))
            count += 1
    assert count == 60
    said = "melody, scale; polyphony 1, velocity 90 to 100"
    assert f"| phrases | drawn for each sample; {said} |" in (tmp_path / "README.md").read_text()
    assert cli.main(["inspect", str(tmp_path)]) == 0
    assert f"  phrases asked for: {said}\n" in capsys.readouterr().out
    again = Plan.load(tmp_path)
    assert [again.choose("train", j) for j in range(20)] == [of.choose("train", j) for j in range(20)]
    assert render(tmp_path, *options[:-1], "90..101") == 2
    assert "--velocity is 90..100 there and 90..101 here" in capsys.readouterr().err


@pytest.mark.parametrize(("gain", "expected"), [("native", None), ("peak", 29204), ("-12", None)])
def test_gain_policies(tmp_path, made, gain, expected):
    assert render(tmp_path, *SMALL, "--gain", gain) == 0
    of_native = next(folders.read_samples(made, "train-000000"))
    one = next(folders.read_samples(tmp_path, "train-000000"))
    native, ours = (np.frombuffer(each["target.wav"][44:], "<i2").astype(float) for each in (of_native, one))
    if expected:
        assert abs(np.abs(ours).max() - expected) <= 1
    else:
        factor = 1 if gain == "native" else 10 ** (float(gain) / 20)
        assert np.abs(ours - native * factor).max() <= 0.51


def test_silent_patches_are_left_out(tmp_path, capsys):
    mute = patch.SINE.copy()
    mute[[16 + 21 * operator for operator in range(6)]] = 0
    (tmp_path / "mixed.syx").write_bytes(sysex.write_voice(mute) + sysex.write_voice(patch.SINE))
    options = ["--samples", "4", "--seconds", "0.25"]
    assert render(tmp_path / "out", *options, patches=str(tmp_path / "mixed.syx")) == 0
    assert "Left out, silent" in capsys.readouterr().err
    assert Plan.load(tmp_path / "out").patches.ids == [patch.patch_id(patch.SINE)]
    assert render(tmp_path / "all", *options, "--keep-silent", patches=str(tmp_path / "mixed.syx")) == 0
    assert len(Plan.load(tmp_path / "all").patches) == 2
    (tmp_path / "mute.syx").write_bytes(sysex.write_voice(mute))
    assert render(tmp_path / "none", *options, patches=str(tmp_path / "mute.syx")) == 2


def test_another_spec_is_refused_and_named(made, capsys):
    before = contents(made)
    for change, words in (
        (["--seed", "6"], "--seed is"),
        (["--seconds", "0.75"], "--seconds is"),
        (["--samples", "61"], "samples are"),
        (["--source", "sine-flat"], "--source is SINE (9fa444ea16302ae6) there and PURE SINE (95215b70cbb57608) here"),
        (["--shard-size", "2MB"], "--shard-size is"),
    ):
        assert render(made, *SMALL, *change) == 2
        assert words in capsys.readouterr().err
    assert contents(made) == before


def test_overwrite_removes_only_its_own(tmp_path):
    assert render(tmp_path, "--samples", "4", "--seconds", "0.25") == 0
    for name in ("notes.txt", "photos.tar", ".gitkeep", "train-1000000.tar"):
        (tmp_path / name).write_text("mine")
    assert render(tmp_path, "--samples", "3", "--seconds", "0.25", "--overwrite") == 0
    assert all((tmp_path / name).read_text() == "mine" for name in ("notes.txt", "photos.tar", ".gitkeep"))
    assert not (tmp_path / "train-1000000.tar").exists()
    assert sum(Plan.load(tmp_path).counts.values()) == 3


def test_overwrite_keeps_the_plan_that_it_renders(tmp_path):
    """It may be there alone, so it is never removed, not even to be written again."""
    assert render(tmp_path, *SMALL) == 0
    plan = [tmp_path / name for name in ("dataset.json", "patches.parquet", "README.md")]
    before = [(path.stat().st_ino, path.stat().st_mtime_ns) for path in plan]
    shards = {path: path.stat().st_ino for path in tmp_path.glob("*.tar")}
    kept = [path.open() for path in shards]  # or a new file could have the inode of a removed one
    assert cli.main(["render", "--plan", str(tmp_path), "--overwrite"]) == 0
    assert [(path.stat().st_ino, path.stat().st_mtime_ns) for path in plan] == before
    assert shards
    assert all(path.stat().st_ino != inode for path, inode in shards.items())
    for file in kept:
        file.close()


def test_dry_run_writes_nothing(tmp_path, capsys):
    assert render(tmp_path / "out", *SMALL, "--dry-run") == 0
    assert not (tmp_path / "out").exists()
    assert "30.0 seconds of target audio" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("part", "words"), [(["--job", "2/3"], "in 3 shards"), (["--only", "train/000001"], "in 1 shard,"), ([], "in 8 shards")]
)
def test_dry_run_of_a_part(made, capsys, part, words):
    assert cli.main(["render", "--plan", str(made), "--dry-run", *part]) == 0
    assert words in capsys.readouterr().out


def test_dry_run_of_a_shard_that_is_not_planned(made, capsys):
    assert cli.main(["render", "--plan", str(made), "--dry-run", "--only", "train/000099"]) == 2
    assert "--only train/000099: train has " in capsys.readouterr().err


def test_verify_finds_damage(made, tmp_path, capsys):
    import shutil

    assert cli.main(["verify", str(made)]) == 0
    broken = tmp_path / "broken"
    shutil.copytree(made, broken)
    tar = broken / "train-000001.tar"
    data = bytearray(tar.read_bytes())
    data[len(data) // 2] ^= 1
    tar.write_bytes(data)
    table = broken / "val-000000.parquet"
    table.write_bytes(bytes(table.stat().st_size))
    (broken / "test-000000.tar").unlink()
    assert cli.main(["verify", str(broken)]) == 1
    out = capsys.readouterr().out
    assert all(name in out for name in ("train-000001", "val-000000", "test-000000"))
    assert "train-000000" not in out
    assert cli.main(["inspect", str(broken)]) == 2
    assert "dx7data verify says what is wrong" in capsys.readouterr().err


def test_inspect(made, capsys):
    assert cli.main(["inspect", str(made)]) == 0
    text = capsys.readouterr().out
    assert "60 pairs of 0.5 s at 8000 Hz" in text
    assert cli.main(["inspect", str(made), "--json", "--rows", "2"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["samples"] == {"train": 48, "val": 6, "test": 6}
    assert len(found["rows"]) == 2


def test_the_plan_is_checked(made, tmp_path):
    import shutil

    edited = tmp_path / "edited"
    shutil.copytree(made, edited)
    document = json.loads((edited / "dataset.json").read_text())
    document["spec"]["seed"] = 99
    (edited / "dataset.json").write_text(json.dumps(document))
    assert cli.main(["verify", str(edited)]) == 2
    assert cli.main(["inspect", str(tmp_path)]) == 2


# --- Disks that fill up ---


class FullDisk:
    """A file on which only so many bytes fit."""

    def __init__(self, file, room):
        self._file, self._room = file, room

    def write(self, data):
        self._room -= len(data)
        if self._room < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self._file.write(data)

    def __getattr__(self, name):
        return getattr(self._file, name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()


@pytest.mark.parametrize("room", [0, 1, 511, 512, 1000, *range(3000, 270000, 17800)])
def test_a_disk_that_fills_up(made, tmp_path, monkeypatch, capsys, room):
    """At any offset: one sentence, exit 2, whole shards only; then the same command completes them."""
    left = [room]
    real = open

    def limited(path, mode="r", *arguments, **keywords):
        file = real(path, mode, *arguments, **keywords)
        return FullDisk(file, left[0]) if str(path).endswith("train-000001.tar" + files.PARTIAL) else file

    with monkeypatch.context() as patched:
        patched.setattr(files, "open", limited, raising=False)
        status = render(tmp_path, *SMALL, "--workers", "1")
    if status:
        assert status == 2
        message = capsys.readouterr().err
        assert "No space left" in message
        assert "Traceback" not in message
        assert not list(tmp_path.glob(f".*{files.PARTIAL}"))
        assert not (tmp_path / "train-000001.tar").exists()
    assert all(contents(made)[name] == digest for name, digest in contents(tmp_path).items() if name.endswith(".tar"))
    assert render(tmp_path, *SMALL, "--workers", "1") == 0
    assert contents(tmp_path) == contents(made)


def test_a_file_size_limit(tmp_path):
    """The same with the kernel in charge, and two workers."""
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000));"
    script = f"import sys; {limit} from dx7data.cli import main; sys.exit(main(sys.argv[1:]))"
    arguments = ["render", "--patches", "example", "--out", str(tmp_path), *SMALL, "--workers", "2"]
    found = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, timeout=120)
    assert found.returncode == 2, found.stderr
    assert "File too large" in found.stderr
    assert "Traceback" not in found.stderr
    assert not list(tmp_path.glob("*.tar"))
