"""Rendering, for `render` and `extend`: on which machines, with how many workers, and how far it is."""

from __future__ import annotations

import shutil
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING

from dx7data.cli import types
from dx7data.cli.summary import summarize
from dx7data.cli.types import whole
from dx7data.errors import InputError
from dx7data.output import format_count, log, print_result, progress_bar, write_command

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


def render_shards(plan: Plan, folder: Folder, missing: list, options: Namespace) -> dict:
    """Render the missing shards; how many, in how many seconds, how fast (seconds of clips in each), and whether none is
    missing now."""
    from dx7data.dataset import folders

    _announce_size(plan, folder, missing)
    executor, began = _choose_executor(plan, missing, options), time.perf_counter()
    with _open_bar(plan, missing) as bar:
        complete = folders.render_missing(plan, folder, missing, executor, lambda count: _advance(bar, count, plan))
    took, samples = time.perf_counter() - began, sum(each.count for each in missing)
    found = {"written": len(missing), "others": len(plan.shards()) - len(missing), "written_samples": samples}
    return found | {"complete": complete, "render_seconds": took, "x_real_time": samples * plan.spec.seconds / took}


def _announce_size(plan: Plan, folder: Folder, missing: list[Shard]) -> None:
    """A warning only where the disk is too small: it may compress, or get more room while shards are rendered."""
    from dx7data.storage import LocalFolder

    size = sum(each.count for each in missing) * plan.spec.sample_bytes
    log.info(f"To render: {format_count(len(missing), 'shard')}, about {size / 1e6:,.0f} MB")
    if isinstance(folder, LocalFolder) and (free := shutil.disk_usage(folder.path).free) < size:
        log.warning(f"Warning: {folder} has only {free / 1e6:,.0f} MB of free disk space")


def print_rendered(found: dict, plan: Plan, folder: Folder) -> None:
    """What render_shards has found, with the plan and the next step."""
    following = write_command("dx7data", "inspect" if found["complete"] else "verify", folder)
    about = {"folder": str(folder), "plan": summarize(plan)}
    print_result(about | found | {"next": following}, _describe)


def _describe(found: dict) -> list[str]:
    rate = f" in {found['render_seconds']:.1f} s, {found['x_real_time']:,.0f} x real time" if found["written"] else ""
    others = f"; {format_count(found['others'], 'other shard')} untouched" if found["others"] else ""
    return [
        f"{found['folder']}: {format_count(found['written'], 'shard')} written{rate}{others}",
        f"Look at them: {found['next']}"
        if found["complete"]
        else f"More shards are to come; then this checks them all and writes index.json: {found['next']}",
    ]


def _choose_executor(plan: Plan, missing: list, options: Namespace) -> Callable:
    """Who renders the missing shards, see `folders.render_missing`."""
    from dx7data.dataset.executors import local, ray

    if options.executor == "ray":
        gpu = options.device == ("cuda:0",)
        log.info(f"Rendering on {'GPUs' if gpu else 'CPUs'} of a Ray cluster")
        return partial(ray.render_shards, address=options.ray_address, workers=options.workers, gpu=gpu)
    devices = _choose_devices(options.device, sum(each.count for each in missing) * plan.spec.seconds)
    if devices != local.CPU:
        _compile_for_gpu(plan, devices[0])
    workers = options.workers or local.count_workers(devices)
    log.info(f"Rendering on {', '.join(devices)}")
    log.debug(
        f"{len(missing)} of {format_count(len(plan.shards()), 'shard')} to render, by {format_count(workers, 'process')}"
    )
    return partial(local.render_shards, workers=workers, devices=devices)


def _compile_for_gpu(plan: Plan, device: str) -> None:
    """Here, lest each worker does it."""
    from dx7data import cache
    from dx7data.plan import sample

    if not cache.is_warm("clips_cuda"):
        log.info("Compiling the engine for the GPU, once: 15 to 30 seconds")
        sample.render_samples(plan, [(plan.shards()[0].split, 0)], device)


def _open_bar(plan: Plan, missing: list[Shard]) -> tqdm:
    total = sum(plan.counts.values())
    there = total - sum(each.count for each in missing)
    return progress_bar(total=total, initial=there, unit=" samples", smoothing=0.1)


def _advance(bar: tqdm, count: int, plan: Plan) -> None:
    bar.update(count)
    if bar.disable:
        return
    rate = bar.format_dict["rate"] or (bar.n - bar.initial) / max(bar.format_dict["elapsed"], 1e-9)
    bar.set_postfix_str(f"{rate * plan.spec.seconds:,.0f} x real time", refresh=False)
