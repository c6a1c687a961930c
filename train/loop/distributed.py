"""The processes of a run: one, or those that torchrun has started, which share each batch."""

import os
import resource
import shlex
import shutil
import sys
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from dx7data import output
from dx7data.errors import InputError

_TIMEOUT = timedelta(hours=2)  # the first process evaluates while the others wait


class Ranks(NamedTuple):
    """This process is number `rank` of `count`."""

    rank: int
    count: int  # type: ignore[assignment]  # hides tuple.count, which nobody needs here
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this process writes: files, and what people read."""
        return self.rank == 0

    def mean(self, values: Tensor) -> Tensor:
        """The mean over all processes."""
        if self.count > 1:
            dist.all_reduce(values)
        return values / self.count

    def average(self, tensors: list[Tensor]) -> None:
        """Replace gradients and the loss by their means over all processes, so that all of them see what is not finite."""
        if self.count > 1:  # a few megabytes in one piece: nothing to gain from sending parts during the backward pass
            means = self.mean(torch.cat([each.flatten() for each in tensors])).split([each.numel() for each in tensors])
            torch._foreach_copy_(tensors, [mean.view_as(each) for mean, each in zip(means, tensors, strict=True)])

    def peak_memory(self) -> int:
        """The most bytes that this process has had at once, of its GPU or of the machine."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    def wait(self) -> None:
        if self.count > 1:
            dist.barrier()


def is_first() -> bool:
    """Whether this process is the first one, also before it has joined the others."""
    return os.environ.get("RANK", "0") == "0"


def join(device: str) -> Ranks:
    """Find this process's place and its device. Raises InputError if there is no such device."""
    rank, count = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    place = torch.device(device)
    if device == "cuda":
        wanted, there = int(os.environ.get("LOCAL_WORLD_SIZE", 1)), torch.cuda.device_count()
        if wanted > there:
            raise InputError(
                f"--device cuda: each process needs a GPU, here {wanted}; torch finds {there}; --device cpu works everywhere"
            )
        place = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
        torch.cuda.set_device(place)
    if count > 1:
        dist.init_process_group("nccl" if device == "cuda" else "gloo", timeout=_TIMEOUT)
    return Ranks(rank, count, place)


def write_command(*words: object) -> str:
    """A command for the next step of `python -m train`, with as many processes as torchrun has started on this machine."""
    if not (count := os.environ.get("LOCAL_WORLD_SIZE")):
        return output.write_command("train", *words)
    launched = ("--nproc-per-node", count, "-m", "train", *words)
    if shutil.which("torchrun") == str(Path(sys.executable).with_name("torchrun")):
        return shlex.join(["torchrun", *map(str, launched)])
    return output.write_command("torch.distributed.run", *launched)  # the same


def leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def is_connection_lost(error: BaseException) -> bool:
    """Whether an error means that another process is gone; gloo has no type of its own for it."""
    return dist.is_initialized() and (isinstance(error, dist.DistError) or "gloo" in str(error))
