"""Rendering, for `render` and `extend`: on which machines, with how many workers, and how far it is."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING

from dx7data.cli import types
from dx7data.cli.types import whole
from dx7data.errors import InputError, make_printable

if TYPE_CHECKING:
    from tqdm import tqdm

    from dx7data.plan.plan import Plan
    from dx7data.plan.spec import Shard
    from dx7data.storage import Folder

_WORTH_A_GPU = 3600  # seconds of clips from which on "auto" takes a GPU: it needs some seconds to begin


def add_machine_options(verb: ArgumentParser) -> None:
    verb.add_argument(
        "--executor", choices=("local", "ray"), default="local", help="this machine, or a Ray cluster (default: local)"
    )
    verb.add_argument(
        "--ray-address",
        metavar="HOST:PORT",
        help="head node of the cluster (default: $RAY_ADDRESS)",
    )
    verb.add_argument(
        "--workers", type=whole(1), metavar="N", help="processes (default: one for each core, up to 8 for each GPU)"
    )
    verb.add_argument(
        "--device",
        type=types.devices,
        default=("auto",),
        metavar="auto|cpu|cuda|cuda:N,...",
        help="where to render, always the same bytes (default: auto, a GPU that can, for an hour of clips or more)",
    )


def start_early(options: Namespace) -> None:
    """Let the workers of this machine begin to load what they need."""
    from dx7data.dataset.executors import local

    if options.executor != "local":
        return
    workers = options.workers or local.count_workers()
    local.start_early(workers, options.device != local.CPU and find_spec("numba_cuda") is not None)


def check_machines(options: Namespace) -> None:
    """Before anything else is done: can the GPUs, or the cluster, that are asked for be used?"""
    from dx7data.dataset.executors import ray
    from dx7data.engine.device import choose

    if options.executor == "ray":
        if options.device not in (("auto",), ("cpu",), ("cuda:0",)):
            raise InputError("--executor ray gives each task a GPU of its own choice: ask for --device cuda")
        options.ray_address = ray.find_cluster(options.ray_address)
        return
    if options.ray_address:
        raise InputError("--ray-address is for --executor ray: ask for that too")
    for device in options.device:
        if device != "auto":
            choose(device)


def _choose_devices(asked: tuple[str, ...], seconds: float) -> tuple[str, ...]:
    """The devices to render so many seconds of clips on."""
    from dx7data.dataset.executors import local
    from dx7data.engine.device import choose

    if asked != ("auto",):
        return asked
    gpu = choose("auto") if seconds >= _WORTH_A_GPU else None
    return local.CPU if gpu is None else (f"cuda:{gpu}",)


def render_shards(plan: Plan, folder: Folder, missing: list, options: Namespace) -> None:
    from dx7data.dataset import folders

    executor = _choose_executor(plan, missing, options)
    with _open_bar(plan, missing) as bar:
        folders.render_missing(plan, folder, missing, executor, lambda count: _advance(bar, count, plan))
    print(make_printable(f"{len(missing)} shards written, {len(plan.shards()) - len(missing)} others: {folder}"))
    print(make_printable(f"Look at them: dx7data inspect {folder}"))


def _choose_executor(plan: Plan, missing: list, options: Namespace) -> Callable:
    """Who renders the missing shards, see `folders.render_missing`."""
    from dx7data.dataset.executors import local, ray

    if options.executor == "ray":
        gpu = options.device == ("cuda:0",)
        print(f"Rendering on {'GPUs' if gpu else 'CPUs'} of a Ray cluster", file=sys.stderr)
        return partial(ray.render_shards, address=options.ray_address, workers=options.workers, gpu=gpu)
    devices = _choose_devices(options.device, sum(each.count for each in missing) * plan.spec.seconds)
    if devices != local.CPU:
        _compile_for_gpu(plan, devices[0])
    print(f"Rendering on {', '.join(devices)}", file=sys.stderr)
    return partial(local.render_shards, workers=options.workers or local.count_workers(devices), devices=devices)


def _compile_for_gpu(plan: Plan, device: str) -> None:
    """Here, lest each worker does it."""
    from dx7data import cache
    from dx7data.plan import sample

    if not cache.is_warm("clips_cuda"):
        print("Compiling the engine for the GPU, once: about 15 seconds", file=sys.stderr)
        sample.render_samples(plan, [(plan.shards()[0].split, 0)], device)


def _open_bar(plan: Plan, missing: list[Shard]) -> tqdm:
    from tqdm import tqdm

    total = sum(plan.counts.values())
    there = total - sum(each.count for each in missing)
    return tqdm(total=total, initial=there, unit=" samples", file=sys.stderr, smoothing=0.1)


def _advance(bar: tqdm, count: int, plan: Plan) -> None:
    bar.update(count)
    rate = bar.format_dict["rate"] or (bar.n - bar.initial) / max(bar.format_dict["elapsed"], 1e-9)
    bar.set_postfix_str(f"{rate * plan.spec.seconds:,.0f} x real time", refresh=False)
