"""What a corpus of MIDI files costs: CPU time for a file, beside other readers; planning; memory; a bad file; a large plan.

    PYTHONPATH=.:tests python benchmarks/bench_music.py [--files 1000] [--phrases 5000000] [--more 10000]

The files have 2,500 notes, tempos, bends, pedals and controllers in 8 channels. The CPU time of all readers is measured in
turn, a few files at a time: ours from the path to phrases on disk, the plain reader of the tests to the same phrases as
objects; mido and, where it is installed, symusic only read. --more: files of a second corpus, of which the memory is
compared; its files are those of the first one at other tempos.
"""

import argparse
import os
import random
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import mido
import numpy as np
import plain_midi
import pyarrow as pa
from midi_files import encode_number

from dx7data.dataset import folders
from dx7data.engine.speed import describe_machine
from dx7data.phrases import corpus
from dx7data.phrases.columns import Phrases
from dx7data.phrases.report import MusicReport
from dx7data.phrases.selection import Wanted
from dx7data.plan.plan import Plan
from dx7data.storage import LocalFolder

NOTES, CHANNELS, DIVISION = 2500, 8, 480
SECONDS = 2.5
SHARED = 850  # tracks
ROUNDS, OURS, OTHERS = 5, 100, 8  # files of a round


def make_song(seed: int) -> bytes:
    """About 33 kB."""
    rng, length = random.Random(seed), 240 * DIVISION
    tempos = [(0, b"\xff\x58\x04\x04\x02\x18\x08")]
    tempos += [(rng.randrange(length), b"\xff\x51\x03" + rng.randrange(350_000, 700_000).to_bytes(3)) for _ in range(20)]
    tracks = [make_track(tempos)]
    for channel in range(CHANNELS):
        events, key = [(0, bytes([0xC0 | channel, rng.randrange(128)]))], rng.randrange(40, 80)
        for _ in range(NOTES // CHANNELS + (channel < NOTES % CHANNELS)):
            start = rng.randrange(length // 120) * 120
            key = min(max(key + rng.randint(-5, 5), 30), 96)
            events.append((start, bytes([0x90 | channel, key, rng.randrange(40, 120)])))
            events.append((start + rng.randrange(60, 600), bytes([0x80 | channel, key, 64])))
            for _ in range(rng.randrange(3)):
                value = rng.randrange(128)
                number = rng.choice((1, 7, 11, 10, 91, 64, 64))
                change = rng.choice(
                    ([0xE0 | channel, value, value], [0xB0 | channel, number, value], [0xB0 | channel, 7, 100])
                )
                events.append((start + rng.randrange(400), bytes(change)))
        tracks.append(make_track(events))
    return b"MThd" + struct.pack(">LHHH", 6, 1, len(tracks), DIVISION) + b"".join(tracks)


def make_track(events) -> bytes:
    body, before = bytearray(), 0
    for tick, data in sorted(events, key=lambda event: event[0]):
        body += encode_number(tick - before) + data
        before = tick
    body += b"\0\xff\x2f\0"
    return b"MTrk" + struct.pack(">L", len(body)) + bytes(body)


def write_corpus(folder: Path, count: int) -> None:
    for i in range(count):
        (folder / f"{i:06d}.mid").write_bytes(make_song(i))


def repeat_corpus(source: Path, folder: Path, count: int) -> None:
    """Each file again and again, with another number of ticks in a quarter note."""
    songs = [path.read_bytes() for path in sorted(source.iterdir())]
    for i in range(count):
        song = songs[i % len(songs)]
        (folder / f"{i:06d}.mid").write_bytes(song[:12] + struct.pack(">H", DIVISION + i // len(songs)) + song[14:])


def collect(paths, workers=None, seconds=SECONDS) -> Phrases:
    return corpus.collect(paths, None, None, Wanted(seconds), MusicReport(), workers=workers)


def read_plain(paths):
    for path in paths:
        phrases, _ = plain_midi.cut(path.read_bytes(), path.name, int(1000 * SECONDS), None)
        for phrase in phrases:
            assert phrase.id


def list_readers() -> dict:
    readers = {
        "dx7data": (OURS, lambda paths: collect(paths, 1)),
        "the plain reader": (OTHERS, read_plain),
        "mido, read alone": (OTHERS, lambda paths: [mido.MidiFile(path) for path in paths]),
    }
    if find_spec("symusic"):
        import symusic

        readers["symusic, read alone"] = (OURS, lambda paths: [symusic.Score(path, ttype="second") for path in paths])
    return readers


def bench_readers(paths: list[Path]) -> None:
    """Milliseconds of CPU for a file, medians of rounds in turn."""
    readers = list_readers()
    for _, read in readers.values():
        read(paths[:1])
    took = {name: [] for name in readers}
    for k in range(ROUNDS):
        for name, (count, read) in readers.items():
            some = [paths[(k * count + i) % len(paths)] for i in range(count)]
            began = time.process_time()
            read(some)
            took[name].append((time.process_time() - began) / count * 1000)
    for name, each in took.items():
        times = np.array(each) / np.array(took["dx7data"])
        spread = f"{min(each):.2f} to {max(each):.2f}"
        print(f"{name}: {statistics.median(each):.2f} ms CPU a file ({spread}), {np.median(times):.1f} x dx7data")


def run_alone(script: str, *arguments: object) -> tuple[str, float, float, float]:
    """What a process of its own says; its wall and CPU time in seconds, and its largest resident memory in MB.

    It says that itself: what the system says of a child that has ended is no less than its parent's.
    """
    script += "; print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])"
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout
    *said, memory = process.stdout.read().split("\n")[:-1]
    usage = os.wait4(process.pid, 0)[2]
    return "\n".join(said), time.perf_counter() - began, usage.ru_utime + usage.ru_stime, int(memory) / 1000


def bench_plan(folder: Path, out: Path) -> None:
    script = "import sys; from dx7data.cli import main; main(sys.argv[1:])"
    options = ["plan", "--samples", 1000, "--patches", "example", "--out", out, "--overwrite"]
    cpu_without = run_alone(script, *options)[2]
    _, wall, cpu, memory = run_alone(script, *options, "--midi", folder)
    count = len(list(folder.iterdir()))
    print(f"dx7data plan, {count:,} files: {wall:.1f} s, CPU {cpu:.1f} s, {memory:.0f} MB; drawn: CPU {cpu_without:.1f} s")


def bench_memory(folder: Path) -> None:
    """Of everything that reading takes, imports included; the table goes to a file as in a plan."""
    script = (
        "import sys; sys.path[:0] = ['benchmarks', 'tests']; import bench_music; from pathlib import Path;"
        "found = bench_music.collect(Path(sys.argv[1]), 2); found.with_splits(['train'] * len(found)).hash_file()"
    )
    _, wall, cpu, memory = run_alone(script, folder)
    count = len(list(folder.iterdir()))
    print(f"{count:,} files: {memory:.0f} MB, {wall:.1f} s, CPU {cpu / count * 1000:.2f} ms a file")


def bench_shared(folder: Path) -> None:
    """A file just below the limit of 256 MB: each of its tracks gets the 40,000 controllers of the channel they share."""
    wheel = b"".join(b"\0\xb0\x01" + bytes([i % 128]) + b"\1\xb0\x07" + bytes([i % 128]) for i in range(20_000))
    tracks = [wheel, *[b"\0\x90\x3c\x40\x64\x3c\0"] * SHARED]
    chunks = b"".join(b"MTrk" + struct.pack(">L", len(body) + 4) + body + b"\0\xff\x2f\0" for body in tracks)
    path = folder / "shared.mid"
    path.write_bytes(b"MThd" + struct.pack(">LHHH", 6, 1, len(tracks), DIVISION) + chunks)
    script = (
        "import sys; sys.path[:0] = ['benchmarks', 'tests']; import bench_music, time; from pathlib import Path;"
        "bench_music.collect(Path(sys.argv[1]), 1); began = time.process_time();"
        "bench_music.collect(Path(sys.argv[2]), 1, 60.0); print(f'{time.process_time() - began:.2f} s CPU')"
    )
    said, *_, memory = run_alone(script, next((folder / "one").iterdir()), path)
    print(f"{SHARED} tracks that share their controllers: {said}, {memory:.0f} MB")


def bench_load(plan: Plan, phrases: Phrases, count: int, folder: Path) -> None:
    """A plan of so many phrases, those that there are over and over."""
    table = pa.concat_tables([phrases.table] * -(-count // len(phrases))).slice(0, count).combine_chunks()
    many = Phrases(table).with_splits(["train"] * (count - count // 10) + ["val"] * (count // 20) + ["test"] * (count // 20))
    folders.write_plan(replace(plan, phrases=many), LocalFolder(folder))
    size = (folder / "phrases.arrow").stat().st_size
    print(f"a plan of {count:,} phrases, {size / 1e9:.2f} GB, is loaded in")
    script = (
        "import sys, time; from dx7data.plan.plan import Plan; from pathlib import Path; import pyarrow.parquet;"
        "began, cpu = time.perf_counter(), time.process_time(); plan = Plan.load(Path(sys.argv[1]));"
        "print(f'{time.perf_counter() - began:.2f} s, CPU {time.process_time() - cpu:.2f} s')"
    )
    for _ in range(3):
        said, *_, memory = run_alone(script, folder)
        print(f"{said}, {memory:.0f} MB")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--more", type=int, default=10_000)
    parser.add_argument("--phrases", type=int, default=5_000_000)
    options = parser.parse_args()
    print(describe_machine())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        one, other = folder / "one", folder / "other"
        one.mkdir()
        other.mkdir()
        write_corpus(one, options.files)
        size = sum(path.stat().st_size for path in one.iterdir()) / options.files
        print(f"{options.files:,} files of {NOTES:,} notes, {size / 1000:.0f} kB each")
        bench_readers(sorted(one.iterdir()))
        bench_plan(one, folder / "plan")
        plan = Plan.load(folder / "plan")
        assert plan.phrases is not None
        bench_memory(one)
        bench_shared(folder)
        repeat_corpus(one, other, options.more)
        bench_memory(other)
        bench_load(plan, plan.phrases, options.phrases, folder / "plan")


if __name__ == "__main__":
    main()
