"""Do 1,000 workers that write to one object store meet its limits of requests? A simulation of a terabyte, event by event.

    python -m benchmarks.simulate_store [--workers 1000]

A worker renders a shard, then writes its three files one after the other, and takes the next shard at once. The jobs of an
array first list the whole folder and read the plan; the workers of a Ray cluster get it from their driver. A store lets so
many requests through each second and answers 503 to the others, which come again after the pauses of dx7data/storage. All
workers begin at the same moment, which is the worst for a store. Their bandwidth is a share of a node's.
"""

import argparse
import heapq
from itertools import count
from typing import NamedTuple

import numpy as np

from dx7data.storage.remote import TRIES, compute_pause

TERABYTE = 15_716  # shards, as is the CPU time of one: benchmarks/results/2026-11-27-clusters.md
SIZES = (63.5e6, 0.1e6, 1e3)  # bytes of a shard's tar, table and stats
LISTED = 1000  # names in one answer to a request for a list
LATENCY = 0.05  # seconds, of each request
BANDWIDTH = 25e9 / 8 / 64  # bytes a second: 25 Gbit/s for 64 cores


class Store(NamedTuple):
    """How many requests it answers in a second, by its own documentation; the last one is made up."""

    name: str
    writes: float
    reads: float


class Work(NamedTuple):
    """What is to be done: seconds to render a shard, give or take a fifth; each worker's requests to read; shards in all."""

    name: str
    render: float
    reads: int
    shards: int


class Found(NamedTuple):
    """What came of it."""

    seconds: float
    writes: int
    refused: int
    most_tries: int
    gave_up: int  # each of them ends a command, which is to be given again


STORES = (
    Store("Amazon S3, one prefix: 3,500 writes a second", 3500, 5500),
    Store("Google Cloud Storage, a new bucket: 1,000", 1000, 5000),
    Store("a small server: 200", 200, 1000),
)
WORKS = (
    Work("Ray, CPU cores, 2.0 s a shard", 2.0, 0, TERABYTE),
    Work("Ray, 8 on each GPU, 0.38 s a shard", 0.38, 0, TERABYTE),
    Work("job array, half of it there, 2.0 s a shard", 2.0, 3 * TERABYTE // 2 // LISTED + 3, TERABYTE // 2),
)


class Limit:
    """So many requests a second, and no more than those of one second at once."""

    def __init__(self, rate: float):
        self._rate = self._allowed = rate
        self._since = 0.0

    def admit(self, now: float) -> bool:
        self._allowed = min(self._rate, self._allowed + (now - self._since) * self._rate)
        self._since = now
        if self._allowed < 1:
            return False
        self._allowed -= 1
        return True


def simulate(store: Store, work: Work, workers: int, seed: int = 0) -> Found:
    """Each event is a request of a worker: its place among those before the first shard, below 0, or in the current one."""
    rng, order = np.random.default_rng(seed), count()
    limits = {True: Limit(store.reads), False: Limit(store.writes)}
    writes = refused = most = gave_up = 0
    left = work.shards - workers
    events: list[tuple[float, int, int, int]] = []  # when, order, place, try

    def push(when: float, place: int, attempt: int = 1) -> None:
        rendered = rng.normal(work.render, work.render / 5) if place == 0 and attempt == 1 else 0
        heapq.heappush(events, (when + rendered, next(order), place, attempt))

    for _ in range(workers):
        push(0.0, -work.reads)
    now = 0.0
    while events:
        now, _, place, attempt = heapq.heappop(events)
        if place == len(SIZES):  # the shard is whole
            if left > 0:
                left -= 1
                push(now, 0)
            continue
        most = max(most, attempt)
        if limits[place < 0].admit(now):
            writes += place >= 0
            push(now + LATENCY + (SIZES[place] / BANDWIDTH if place >= 0 else 0), place + 1)
        elif attempt == TRIES:
            gave_up += 1
        else:
            refused += 1
            push(now + LATENCY + compute_pause(attempt, rng.random()), place, attempt + 1)
    return Found(now, writes, refused, most, gave_up)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=1000)
    options = parser.parse_args()
    print(f"| store | {options.workers:,} workers | s | writes/s | refused | most tries of {TRIES} | gave up |")
    print("|---|---|---|---|---|---|---|")
    for store in STORES:
        for work in WORKS:
            found = simulate(store, work, options.workers)
            print(
                f"| {store.name} | {work.name} | {found.seconds:,.0f} | {found.writes / found.seconds:,.0f} | "
                f"{found.refused:,} | {found.most_tries} | {found.gave_up} |"
            )


if __name__ == "__main__":
    main()
