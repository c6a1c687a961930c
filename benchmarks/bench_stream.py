"""Pairs per second out of local shards, against webdataset's own pipeline: one process, page cache warm, interleaved.

    PYTHONPATH=. python benchmarks/bench_stream.py [--folder FOLDER] [--batch 64] [--rounds 7]

Both read the same train shards and give batches of int16 source and target. webdataset is given the shortest decoder there
is, the bytes behind the 44 of the header, and no shuffle buffer; ours is in random order. Ours opens the folder and reads
the tables of its shards once, as training does, and that time stands apart. Without --folder, 2,000 pairs of
0.5 s at 8 kHz and 1,000 of 2.5 s at 16 kHz are rendered from the example bank.
"""

import argparse
import os
import platform
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import webdataset
from torch.utils.data import DataLoader

from dx7data import cli
from dx7data.engine.speed import describe_machine
from train.data.datasets import open_clips
from train.data.sampler import Batches

RENDERED = ((2000, 0.5, 8000), (1000, 2.5, 16000))  # samples, seconds, sample rate


def ours(data, batch):
    return ((source, target) for _, source, target in DataLoader(data, batch_sampler=Batches(data, batch, epochs=1)))


def theirs(folder, batch):
    def decode(wav):
        return torch.from_numpy(np.frombuffer(wav, "<i2", offset=44).copy())

    shards = webdataset.WebDataset([str(path) for path in sorted(folder.glob("train-*.tar"))], shardshuffle=False)
    decoders = {"source.wav": decode, "target.wav": decode}
    return shards.map_dict(**decoders).to_tuple(*decoders).batched(batch, collation_fn=torch.utils.data.default_collate)


def pairs_per_second(batches):
    began, pairs = time.perf_counter(), 0
    for source, target in batches:
        assert source.dtype == target.dtype == torch.int16
        pairs += len(source)
    return pairs / (time.perf_counter() - began)


def measure(folder, batch, rounds):
    began = time.perf_counter()
    data = open_clips(folder)
    for first in np.cumsum([0, *data.counts[:-1]]):
        data[int(first)]
    opened = time.perf_counter() - began
    both = [(pairs_per_second(ours(data, batch)), pairs_per_second(theirs(folder, batch))) for _ in range(rounds + 1)]
    both = np.array(both)[1:]
    ratio = both[:, 0] / both[:, 1]
    format, size = data.format, sum(path.stat().st_size for path in folder.glob("train-*.tar"))
    print(f"\n{len(data):,} pairs of {format.length:,} samples at {format.sample_rate} Hz, ", end="")
    print(f"{size / 1e6:,.0f} MB in {len(data.counts)} shards, opened in {opened * 1000:.0f} ms\n")
    print("| | pairs/s | µs a pair | x webdataset, median (least to most) |\n|---|---|---|---|")
    for name, speed, than in (
        (f"webdataset {webdataset.__version__}", np.median(both[:, 1]), "1"),
        ("train.data.datasets", np.median(both[:, 0]), f"{np.median(ratio):.1f} ({ratio.min():.1f} to {ratio.max():.1f})"),
    ):
        print(f"| {name} | {speed:,.0f} | {1e6 / speed:.0f} | {than} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="a data set; default: two small ones are rendered")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(
        f"{describe_machine()}, torch {torch.__version__}, {platform.system()}, load average before {os.getloadavg()[0]:.2f}"
    )
    print(f"batches of {options.batch}, medians of {options.rounds} interleaved rounds after one that warms up")
    if options.folder:
        measure(options.folder, options.batch, options.rounds)
        return
    for samples, seconds, rate in RENDERED:
        with tempfile.TemporaryDirectory() as folder:
            spec = ["--samples", str(samples), "--seconds", str(seconds), "--sample-rate", str(rate)]
            cli.main(["render", "--patches", "example", "--out", folder, *spec, "--split", "1,0,0"])
            measure(Path(folder), options.batch, options.rounds)


if __name__ == "__main__":
    main()
