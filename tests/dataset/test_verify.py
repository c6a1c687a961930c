"""The plan as an object: rendered elsewhere, in parts, extended, damaged and repaired, and always to the same bytes."""

import contextlib
import errno
import hashlib
import json
import random
import shutil
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from dx7data import cli, files
from dx7data.dataset import card, folders, shard, verify
from dx7data.dataset.executors import local
from dx7data.patches import bank, patch, sysex
from dx7data.plan.plan import Plan
from dx7data.storage import LocalFolder

SMALL = ["--seconds", "0.25", "--shard-size", "150kB", "--seed", "5", "--prefix", "bytes", "fsk"]


def run(*arguments):
    return cli.main([str(each) for each in arguments])


def contents(folder):
    """SHA-256 of every file that the promise of identical bytes covers."""
    paths = (path for path in sorted(folder.iterdir()) if path.name != "render.log")
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    assert run("render", "--patches", "example", "--out", folder, "--samples", 60, *SMALL, "--workers", 1) == 0
    return folder


@pytest.fixture
def copy(made, tmp_path):
    shutil.copytree(made, tmp_path / "copy")
    return tmp_path / "copy"


# --- The plan ---


def test_a_plan_alone_renders_everything(made, tmp_path):
    """In another process, in an empty folder, from the plan's own files: no bank, no MIDI."""
    assert run("plan", "--patches", "example", "--out", tmp_path / "plan", "--samples", 60, *SMALL) == 0
    assert sorted(path.name for path in (tmp_path / "plan").iterdir()) == ["README.md", "dataset.json", "patches.parquet"]
    command = [sys.executable, "-m", "dx7data", "render", "--plan", str(tmp_path / "plan"), "--out", str(tmp_path / "there")]
    assert subprocess.run(command, capture_output=True, timeout=120, cwd=tmp_path).returncode == 0
    assert contents(tmp_path / "there") == contents(made)
    assert run("render", "--plan", tmp_path / "plan") == 0
    assert contents(tmp_path / "plan") == contents(made)


def test_jobs_share_nothing(made, tmp_path):
    """Three jobs, in any order, one of them twice; then verify writes the index, and all is as if one had made it."""
    for job in ("2/3", "3/3", "2/3", "1/3"):
        assert not (tmp_path / "index.json").exists()
        command = ["render", "--patches", "example", "--out", tmp_path, "--samples", 60, *SMALL]
        assert run(*command, "--workers", 1, "--job", job) == 0
    (tmp_path / "index.json").unlink()
    assert run("verify", tmp_path) == 0
    assert contents(tmp_path) == contents(made)


def test_one_shard_alone(made, tmp_path, capsys):
    assert run("render", "--plan", made, "--out", tmp_path, "--only", "train/000001") == 0
    assert [path.name for path in tmp_path.glob("*.tar")] == ["train-000001.tar"]
    assert contents(tmp_path)["train-000001.tar"] == contents(made)["train-000001.tar"]
    assert run("render", "--plan", made, "--out", tmp_path, "--only", "train/000099") == 2
    assert "train/000099" in capsys.readouterr().err


def test_a_sample_of_a_plan_is_the_one_in_the_shard(made):
    of = Plan.load(made)
    for each in of.shards()[::2]:
        for i, one in enumerate(folders.read_samples(made, each.name)):
            live = of[each.split, each.first + i]
            assert {f"{one['__key__']}.{name}": data for name, data in one.items() if name != "__key__"} == dict(
                live.members()
            )


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--seconds", "1"], "--seconds"),
        (["--patches", "example"], "--patches"),
        (["--prefix", "fsk"], "--prefix"),
        (["--only", "train"], "--only"),
        (["--only", "best/1"], "--only"),
        (["--job", "4/3"], "--job"),
        (["--job", "1/3", "--only", "train/0"], "--only"),
        (["--sample-rate", "8000"], "--sample-rate"),  # which is the default, and may not be that of the plan
        (["--seed=0"], "--seed"),
    ],
)
def test_refused_beside_a_plan(made, capsys, options, word):
    before = contents(made)
    try:
        status = run("render", "--plan", made, *options)
    except SystemExit as left:  # argparse
        status = left.code
    assert status == 2
    assert word in capsys.readouterr().err
    assert contents(made) == before


# --- More samples, more patches ---


@pytest.mark.parametrize("steps", [(90,), (61, 75, 90)])
def test_extended_is_as_if_rendered_at_once(made, copy, tmp_path, steps):
    old = {name: (copy / name).stat().st_mtime_ns for name in contents(copy) if name.endswith(".tar")}
    short = {list(dataset_shards)[-1].name for dataset_shards in by_split(Plan.load(made))}
    for samples in steps:
        assert run("extend", copy, "--samples", samples) == 0
    assert run("render", "--patches", "example", "--out", tmp_path / "once", "--samples", 90, *SMALL) == 0
    assert contents(copy) == contents(tmp_path / "once")
    untouched = {name for name, time in old.items() if (copy / name).stat().st_mtime_ns == time}
    assert untouched >= {f"{each.name}.tar" for each in Plan.load(made).shards() if each.name not in short}


def test_a_stopped_extension_is_called_that(copy, capsys):
    assert run("extend", copy, "--samples", 62) == 0  # so that the last shard of train is not full
    folders.extend(LocalFolder(copy), replace(Plan.load(copy), counts={"train": 90, "val": 12, "test": 12}))
    assert run("verify", copy) == 1
    said = capsys.readouterr().out
    assert "samples; `dx7data extend` was stopped, and the same command goes on" in said
    assert "another data set" not in said


def test_extend_lets_its_workers_begin_early(copy, monkeypatch):
    begun = []
    monkeypatch.setattr(local, "start_early", lambda *arguments: begun.append(arguments))
    assert run("extend", copy, "--samples", 61, "--workers", 1) == 0
    assert len(begun) == 1


def by_split(of):
    return [[each for each in of.shards() if each.split == split] for split in of.counts]


def test_what_extend_refuses(copy, tmp_path, capsys):
    before = contents(copy)
    for options, word in (
        (["--samples", 59], "ask for more"),
        ([], "nothing to add"),
        (["--patches", "example"], "--out"),
        (["--samples", 90, "--out", tmp_path / "new"], "--patches"),
        (["--patches", "example", "--out", tmp_path / "new"], "no patch among these is new"),
        (["--patches", "example", "--out", copy], "is the data set itself"),
    ):
        assert run("extend", copy, *options) == 2
        assert word in capsys.readouterr().err
    assert contents(copy) == before


def test_new_patches_keep_to_the_splits(made, tmp_path, capsys):
    """A near-copy joins its family, a stranger goes anywhere, and what is near patches of two splits is refused by name."""
    old = Plan.load(made).patches
    split_of = dict(zip(old.ids, old.splits, strict=True))
    copy = old.stored[old.splits.index("val")].copy()
    copy[144] ^= 1
    stranger = bank.load("example").patches[0].copy()
    stranger[[144, 143, 139, 138]] = 30, 3, 50, 60
    (tmp_path / "more.syx").write_bytes(sysex.write_voice(copy) + sysex.write_voice(stranger))
    assert run("extend", made, "--patches", tmp_path / "more.syx", "--out", tmp_path / "new") == 0
    new = Plan.load(tmp_path / "new").patches
    now = dict(zip(new.ids, new.splits, strict=True))
    assert {key: now[key] for key in split_of} == split_of
    assert now[patch.patch_id(copy)] == "val"
    assert len(new) == len(old) + 2
    assert run("render", "--plan", tmp_path / "new") == 0
    assert run("verify", tmp_path / "new") == 0


def test_a_bridge_between_splits_is_refused_by_name(tmp_path, capsys):
    """Twelve patches on a line, three steps apart; one between two of them, of different splits, is near both.

    A silent one is added to both files: it is known to be left out, and is not listed twice.
    """
    base = bank.load("example").patches[0]
    line = np.repeat(base[None], 12, axis=0)
    for i in range(12):
        line[i, [16, 37, 58]] = np.minimum(40 + 5 * i, 99)
    mute = base.copy()
    mute[16:126:21] = 0
    (tmp_path / "line.syx").write_bytes(b"".join(map(sysex.write_voice, (*line, mute))))
    options = ["--samples", 24, "--seconds", 0.25]
    assert run("plan", "--patches", tmp_path / "line.syx", "--out", tmp_path / "old", *options) == 0
    old = Plan.load(tmp_path / "old").patches
    assert len(set(old.families)) == 12
    a, b = old.stored[old.splits.index("val")].copy(), old.stored[old.splits.index("test")]
    a[16] = b[16]
    a[145:155] = np.frombuffer(b"BRIDGE    ", np.uint8)
    more = a, bank.load("example").patches[9], mute
    (tmp_path / "bridge.syx").write_bytes(b"".join(map(sysex.write_voice, more)))
    assert run("extend", tmp_path / "old", "--patches", tmp_path / "bridge.syx", "--out", tmp_path / "new") == 0
    assert "bridge.syx:1, BRIDGE, is left out: it is near patches of test and val" in capsys.readouterr().err
    assert len(Plan.load(tmp_path / "new").patches) == 13
    assert [each["id"] for each in Plan.load(tmp_path / "new").silent] == [patch.patch_id(mute)]


# --- Damage and repair ---


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


DAMAGE = {
    "a flipped bit": lambda folder: flip(folder / "train-000001.tar"),
    "a flipped bit in a table": lambda folder: flip(folder / "val-000000.parquet"),
    "a truncated tar": lambda folder: (folder / "train-000000.tar").write_bytes(
        (folder / "train-000000.tar").read_bytes()[:5000]
    ),
    "a lengthened tar": lambda folder: (folder / "train-000000.tar").open("ab").write(bytes(512)),
    "a deleted tar": lambda folder: (folder / "test-000000.tar").unlink(),
    "a deleted table": lambda folder: (folder / "train-000002.parquet").unlink(),
    "deleted stats": lambda folder: (folder / "train-000002.stats.json").unlink(),
    "empty stats": lambda folder: (folder / "train-000002.stats.json").write_bytes(b""),
    "a deleted card": lambda folder: (folder / "README.md").unlink(),
    "an edited index": lambda folder: flip(folder / "index.json"),
}


def swap(folder):
    """Two shards change places, with everything that belongs to them."""
    for kind in ("tar", "parquet", "stats.json"):
        one, other = folder / f"train-000000.{kind}", folder / f"train-000001.{kind}"
        first, second = one.read_bytes(), other.read_bytes()
        one.write_bytes(second)
        other.write_bytes(first)


def edit(folder):
    """A sidecar whose numbers are other ones, well-formed."""
    path = folder / "train-000000.stats.json"
    stats = json.loads(path.read_text())
    stats["peak"] += 1
    path.write_text(json.dumps(stats, indent=1) + "\n")


def forge(folder):
    """Another sample's audio, with hashes in order: only rendering it again can find it."""
    path = folder / "train-000000.tar"
    data = bytearray(path.read_bytes())
    first = Plan.load(folder).shards()[0]
    (row, *_) = shard.read_rows(Plan.load(folder), first, LocalFolder(folder))
    start = row["target_wav_offset"] + 44
    data[start : start + 100] = bytes(100)
    path.write_bytes(data)
    stats = files.check_hash((folder / "train-000000.stats.json").read_bytes())
    stats["tar"]["sha256"] = hashlib.sha256(data).hexdigest()
    (folder / "train-000000.stats.json").write_bytes(files.add_hash(stats))


@pytest.mark.parametrize("damage", [*DAMAGE, "swapped shards", "an edited sidecar", "a forgery"])
def test_repair_brings_back_the_same_bytes(made, copy, capsys, damage):
    {**DAMAGE, "swapped shards": swap, "an edited sidecar": edit, "a forgery": forge}[damage](copy)
    assert contents(copy) != contents(made)
    untouched = {
        path: path.stat().st_mtime_ns
        for path in copy.glob("*.tar")
        if contents(copy)[path.name] == contents(made)[path.name]
    }
    assert run("verify", copy) == 1
    assert contents(copy) != contents(made)
    assert run("verify", copy, "--fix") == 0
    assert contents(copy) == contents(made)
    assert run("verify", copy) == 0
    if damage.startswith(("a flipped", "a trunc", "a forg")):
        kept = {path for path, time in untouched.items() if path.stat().st_mtime_ns == time}
        assert len(kept) >= len(untouched) - 1, "more than the damaged shard was made again"


@pytest.mark.parametrize("name", ["dataset.json", "patches.parquet"])
def test_a_damaged_plan_is_refused(copy, capsys, name):
    flip(copy / name)
    for options in ([], ["--fix"]):
        assert run("verify", copy, *options) == 2
        message = capsys.readouterr().err
        assert name in message
        assert "Traceback" not in message


def test_every_flipped_bit_is_found(tmp_path, monkeypatch):
    """Anywhere in the folder but the log and what is a person's; hashes must find it, without rendering again."""
    options = ["--samples", 6, "--seconds", 0.05, "--split", "0.5,0.25,0.25"]
    assert run("render", "--patches", "example", "--out", tmp_path, *options) == 0
    monkeypatch.setattr(verify, "_RENDERED_AGAIN", 0)
    assert verify.verify(tmp_path) == []
    files = [path for path in sorted(tmp_path.iterdir()) if path.name != "render.log"]
    rng = random.Random(1)
    for _ in range(300):
        path = rng.choice(files)
        whole = path.read_bytes()
        place = rng.randrange(whole.index(card.MARK.encode()) if path.name == "README.md" else 0, len(whole))
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << rng.randrange(8)]) + whole[place + 1 :])
        with contextlib.suppress(verify.InputError):
            assert verify.verify(tmp_path), f"bit flipped in byte {place} of {path.name}"
        path.write_bytes(whole)
    assert verify.verify(tmp_path) == []


def test_repair_leaves_whole_files_alone(copy):
    """A plan may have millions of phrases: they are read, and not written once more."""
    flip(next(copy.glob("*.tar")))
    files = [copy / "dataset.json", copy / "patches.parquet", *copy.glob("phrases.arrow")]
    before = [path.stat().st_ino for path in files]
    assert run("verify", copy, "--fix") == 0
    assert [path.stat().st_ino for path in files] == before


def test_a_tar_that_is_removed_while_it_is_checked(copy, monkeypatch, capsys):
    """As `render --overwrite` does beside it: after its members were found, before their samples are read."""
    check = verify._check_sample

    def remove_and_check(plan, each, folder, row):
        folder.remove(f"{each.name}.tar")
        return check(plan, each, folder, row)

    monkeypatch.setattr(verify, "_check_sample", remove_and_check)
    assert run("verify", copy) == 1
    assert "train-000000: it can't be read: No such file or directory" in capsys.readouterr().out


def test_a_folder_that_cannot_be_written_to(copy, monkeypatch, capsys):
    """What is whole needs nothing written, not even an index; --fix says that it can't write."""

    def read_only(*_):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(LocalFolder, "write", read_only)
    assert run("verify", copy) == 0
    (copy / "index.json").unlink()
    assert run("verify", copy) == 0
    assert run("verify", copy, "--fix") == 2
    assert "Read-only file system" in capsys.readouterr().err


def test_ctrl_c_is_not_kept_waiting(made, monkeypatch):
    """The files that nobody has begun to hash are left alone."""
    begun = []

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(local, "count_workers", lambda: 1)
    monkeypatch.setattr(verify, "_check_files", lambda of, each, *_: begun.append(each) or time.sleep(0.1))
    monkeypatch.setattr(verify, "_check_content", stop)
    with pytest.raises(KeyboardInterrupt):
        verify.verify(made)
    assert len(begun) < len(Plan.load(made).shards())


@pytest.mark.parametrize(
    "command",
    [
        ("render", "--only", "train/1", "--plan"),
        ("render", "--job", "2/99", "--plan"),
        ("extend", "--samples", "60"),
        ("verify", "--fix"),
    ],
    ids=" ".join,
)
def test_leftovers_of_what_is_made_again_are_removed(copy, command):
    """And no others: another job may be writing them."""
    (copy / "train-000001.tar").unlink()
    for number in (0, 1):
        (copy / f".0123abcd.train-00000{number}.tar.partial").write_bytes(b"half")
    assert run(*command, copy) == 0
    assert [path.name for path in copy.glob(".*.partial")] == [".0123abcd.train-000000.tar.partial"]


def test_leftovers_of_killed_renders_are_removed(copy, made):
    (copy / ".0123abcd.train-000000.tar.partial").write_bytes(b"half")
    (copy / ".mine.partial").write_bytes(b"mine")
    assert run("render", "--plan", copy) == 0
    assert not (copy / ".0123abcd.train-000000.tar.partial").exists()
    assert (copy / ".mine.partial").exists()


@pytest.mark.parametrize("fix", [[], ["--fix"]])
def test_no_room_to_render_everything_again(copy, tmp_path, fix):
    """That says nothing of the data set, of which nothing is called damaged, or made again."""
    (tmp_path / "temporary").mkdir()
    before = {path: path.stat().st_ino for path in copy.iterdir()}
    limited = ["bash", "-c", 'ulimit -f 64; exec "$@"', "-", "env", f"TMPDIR={tmp_path}/temporary", sys.executable]
    command = [*limited, "-m", "dx7data", "verify", str(copy), "--full", *fix]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"can't render train-000000 to {tmp_path}/temporary/" in done.stderr
    assert done.stderr.rstrip().endswith(", where TMPDIR can name another folder: File too large")
    assert {path: path.stat().st_ino for path in copy.iterdir()} == before
    assert not list((tmp_path / "temporary").iterdir())
