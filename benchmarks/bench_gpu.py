"""On a GPU: the engine alone, whole samples, and shards from end to end; medians, synchronised.

    python benchmarks/bench_gpu.py [--parts engine samples shards] [--patches PATH ...] [--out FOLDER]

engine: 16-bit samples in GPU memory, of 4 s at 44.1 kHz, their integers being there when the clock starts; control values
and samples timed apart. samples: drawn phrases of 2.5 s, source and target, decimated to 16 kHz, an fsk prefix. shards:
those, written to a folder by all workers; the middle half of the bytes, by the times at which shards were whole, has neither
start-up nor end in it. Beside them as many processes that only hash and write as many bytes, and one that does one of these.
With --out /dev/shm no disk binds.
"""

import argparse
import contextlib
import hashlib
import io
import multiprocessing
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from numba import cuda

from dx7data import cli
from dx7data.audio import clips
from dx7data.cli import planning
from dx7data.dataset import shard
from dx7data.dataset.executors.local import count_workers
from dx7data.engine import cuda as driver
from dx7data.engine.device import choose
from dx7data.engine.render import mix_on_gpu, render
from dx7data.engine.speed import RATE, SECONDS, describe_machine, draw_voices, prepare_mix, time_stages
from dx7data.engine.tables import BLOCK
from dx7data.patches import bank
from dx7data.plan import sample
from dx7data.storage import LocalFolder

_PIECE = 64 << 20  # bytes that are hashed and written at a time


def engine(options) -> None:
    """One row for each number of voices."""
    patches = bank.load(options.patches).patches
    few = draw_voices(patches, len(patches))
    assert (render(few, SECONDS, device="cuda") == render(few, SECONDS)).all(), "the GPU's samples are not the CPU's"
    print(
        "\n| voices | control, ms | synthesis, ms | G samples/s | synthesis alone | x real time |\n|---|---|---|---|---|---|"
    )
    for count in options.voices:
        out = driver.zeros((count, int(SECONDS * RATE)), np.int16)
        mix = prepare_mix(draw_voices(patches, count), out)
        time_stages(mix)
        control, synthesis = np.median([time_stages(mix) for _ in range(options.runs)], axis=0)
        samples, total = out.size, control + synthesis
        print(
            f"| {count:,} | {control * 1e3:.1f} | {synthesis * 1e3:.1f} | {samples / total / 1e9:.1f} "
            f"| {samples / synthesis / 1e9:.1f} | {samples / RATE / total:,.0f} |",
            flush=True,
        )
        del mix, out
        cuda.current_context().deallocations.clear()


def arguments(options, folder, count: int) -> list[str]:
    """What is rendered, as `dx7data` takes it."""
    wishes = ["--samples", str(count), "--sample-rate", "16000", "--prefix", "fsk", "--split", "1,0,0"]
    return ["render", "--patches", *options.patches, "--out", str(folder), *wishes, "--overwrite"]


def samples(options) -> None:
    """One process: the engine for phrases, what follows on the GPU, and what Python adds."""
    folder = Path(tempfile.mkdtemp(dir=options.out))
    with contextlib.redirect_stdout(io.StringIO()):
        made = planning.make_plan(cli.make_parser().parse_args(arguments(options, folder, 100_000)))
    for batch in (shard.gpu_batch_size(made), 2 * shard.gpu_batch_size(made)):
        _sample_steps(made, [("train", j) for j in range(batch)], options.runs)

    some = made.shards()[: max(1, shard.gpu_batch_size(made) // made.spec.shard_samples)]
    count = sum(each.count for each in some)
    began, cpu = time.perf_counter(), time.process_time()
    shard.write_shards(made, some, LocalFolder(folder), device="cuda")
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    tars = [path.read_bytes() for path in folder.glob("*.tar")]
    began = time.process_time()
    for i, tar in enumerate(tars):
        (folder / f"again-{i}").write_bytes(hashlib.sha256(tar).digest() + tar)
    again = time.process_time() - began
    shutil.rmtree(folder)
    print(
        f"\none process, {len(some)} shards: {wall / count * 1e6:.0f} us a sample, CPU time {cpu / count * 1e6:.0f} us, of "
        f"which hashing and writing take {again / count * 1e6:.0f}"
    )


def _sample_steps(made, places: list, runs: int) -> None:
    """How long samples take as far as each step."""
    plain, calls = clips.render_clips, []
    clips.render_clips = lambda *given, **more: calls.append((given, more)) or plain(*given, **more)
    pinned_buffer = clips.get_pinned_buffer(2 * len(places) * made.spec.samples, "cuda")
    sample.render_samples(made, places, "cuda", pinned_buffer)
    clips.render_clips = plain
    more = calls[0][1]  # the others are for prefixes
    voices, row, part, rows, seconds = (more[name] for name in ("voices", "row", "part", "rows", "seconds"))
    heard = np.maximum(int(seconds * voices.rate) - voices.start.astype(np.int64) * BLOCK, 0).sum()
    print(f"\n{len(places):,} samples, {row.size:,} notes\n| | ms | G engine samples/s | samples/s |\n|---|---|---|---|")

    def done(place, native):
        cuda.synchronize()

    for name, step in (
        ("mixed in GPU memory", lambda: mix_on_gpu(0, voices, row, part, rows, seconds, done)),
        ("decimated, 16 bits, copied", lambda: plain(**more)),
        ("whole samples, in one process", lambda: sample.render_samples(made, places, "cuda", pinned_buffer)),
    ):
        took = _median(step, runs)
        print(f"| {name} | {took * 1e3:.0f} | {heard / took / 1e9:.1f} | {len(places) / took:,.0f} |", flush=True)


def shards(options) -> None:
    """The whole command, and how fast its bytes could be hashed and written."""
    workers = options.workers or count_workers(tuple(options.device.split(",")))
    launch_to_exit, took, middle, size, digest = _time_render(options, workers)

    folder, part = Path(tempfile.mkdtemp(dir=options.out)), size // workers
    with multiprocessing.get_context("forkserver").Pool(workers) as pool:
        pool.map(_hash_and_write, [(folder / f"warm-{i}", _PIECE) for i in range(workers)])
        began = time.perf_counter()
        pool.map(_hash_and_write, [(folder / str(i), part) for i in range(workers)])
        ceiling = size / (time.perf_counter() - began)
    hashed = part / _median(lambda: _hash_and_write((Path("/dev/null"), part)), 1)
    written = part / _median(lambda: _hash_and_write((folder / "0", part), hashed=False), 1)
    shutil.rmtree(folder)
    print(f"\n{options.samples:,} samples to {options.out}, {options.device}, {workers} workers, {size / 1e9:.1f} GB")
    print("| | s | samples/s | GB/s | hours of target audio a minute |\n|---|---|---|---|---|")
    for name, share, seconds in (
        ("from launch to exit", 1, launch_to_exit),
        ("the rendering of it", 1, took),
        ("the middle half of that", 0.5, middle),
    ):
        count = share * options.samples
        hours = count * 2.5 / 3600 / (seconds / 60)
        print(f"| {name} | {seconds:.2f} | {count / seconds:,.0f} | {share * size / seconds / 1e9:.2f} | {hours:,.0f} |")
    print(f"| only hashed and written, {workers} processes | | | {ceiling / 1e9:.2f} | |")
    print(
        f"| only hashed, one process | | | {hashed / 1e9:.2f} | |\n| only written, one process | | | {written / 1e9:.2f} | |"
    )
    print(f"hash of the hashes of the tars: {digest[:16]}")


def _time_render(options, workers: int) -> tuple[float, float, float, int, str]:
    """Seconds from launch to exit, of the rendering, of its middle half; bytes of the tars; the hash of their hashes."""
    folder = Path(tempfile.mkdtemp(dir=options.out))
    program = [sys.executable, "-m", "dx7data", *arguments(options, folder, options.samples)]
    began = time.perf_counter()
    done = subprocess.run([*program, "--device", options.device, "--workers", str(workers)], capture_output=True, text=True)
    launch_to_exit = time.perf_counter() - began
    if done.returncode:
        sys.exit(done.stderr)
    took = float(re.findall(r"in ([\d.]+) s", (folder / "render.log").read_text())[-1])
    about = sorted((path.stat() for path in folder.glob("*.tar")), key=lambda stat: stat.st_mtime)
    written = np.cumsum([stat.st_size for stat in about])
    quarter, three_quarters = np.interp([0.25, 0.75], written / written[-1], [stat.st_mtime for stat in about])
    digest = hashlib.sha256("".join(re.findall(r'"tar": {[^}]*', (folder / "index.json").read_text())).encode()).hexdigest()
    shutil.rmtree(folder)
    return launch_to_exit, took, three_quarters - quarter, int(written[-1]), digest


def _hash_and_write(work: tuple[Path, int], hashed: bool = True) -> None:
    path, size = work
    piece, state = bytes(_PIECE), hashlib.sha256()
    with open(path, "wb") as file:
        for _ in range(size // _PIECE):
            if hashed:
                state.update(piece)
            file.write(piece)


def _median(step, runs: int) -> float:
    times = []
    for _ in range(runs + 1):
        began = time.perf_counter()
        step()
        times.append(time.perf_counter() - began)
    return float(np.median(times[1:]))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="+", default=["engine"], choices=["engine", "samples", "shards"])
    parser.add_argument("--patches", nargs="+", default=["example"], help="default: the example bank")
    parser.add_argument("--voices", nargs="+", type=int, default=[32768, 131072])
    parser.add_argument("--samples", type=int, default=50_000, help="of the shards")
    parser.add_argument("--device", default="cuda:0", help="of the shards")
    parser.add_argument("--workers", type=int, help="of the shards")
    parser.add_argument("--out", type=Path, default=Path(tempfile.gettempdir()), help="the disk that is measured")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    began = time.perf_counter()
    choose("cuda")
    name = cuda.get_current_device().name
    name = name.decode() if isinstance(name, bytes) else name
    print(f"{name}; {describe_machine()}; {time.perf_counter() - began:.1f} s to try the GPU", flush=True)
    for part in options.parts:
        {"engine": engine, "samples": samples, "shards": shards}[part](options)


if __name__ == "__main__":
    main()
