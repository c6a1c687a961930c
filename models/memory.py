"""How much memory a training step takes, found without taking any: shapes alone go through the model, as fake tensors."""

import weakref
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from .backbone import Block
from .layers.mamba1 import Mamba1
from .layers.mamba2 import SEGMENT
from .layers.s4d import S4Block
from .model import Model

# The weight, its gradient, both moments of AdamW and the moving average of the weight, in float32.
BYTES_PER_PARAMETER = 5 * 4


def out_of_memory(error: Exception) -> bool:
    """Whether an error says that a GPU's or the machine's memory is full."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "DefaultCPUAllocator" in str(error)


class Allocated(TorchDispatchMode):
    """Counts the bytes of the tensors that are made inside it, for as long as they live."""

    def __init__(self):
        super().__init__()
        self.bytes = self.peak = 0
        self._storages = weakref.WeakSet()

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        made = function(*arguments, **(keywords or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor) and (storage := tensor.untyped_storage()) not in self._storages:
                self._storages.add(storage)
                self._count(storage.nbytes())
                weakref.finalize(storage, self._count, -storage.nbytes())
        return made

    def _count(self, size: int) -> None:
        self.bytes += size
        self.peak = max(self.peak, self.bytes)


def activation_bytes(model: Model, batch: int, length: int, precision: str) -> int:
    """What the layers keep for the gradient of a batch, and the most that is made again to compute it.

    Takes a model made under FakeTensorMode, and leaves it useless. Blocks are alike, so one of each kind and length is
    measured, in the plain-torch form of its layer: mamba-ssm's kernels keep other tensors. Not counted: what libraries take
    for themselves, scratch of FFTs and matrix products, and gaps between tensors.
    """
    met: list[tuple[Block, torch.Size]] = []

    def pass_by(block: Block, x: Tensor, kernel: None) -> Tensor:
        met.append((block, x.shape))
        return x

    for block in model.modules():
        if isinstance(block, Block):
            block.forward = partial(pass_by, block)
    tokens = torch.zeros(batch, length, dtype=torch.int64)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        with Allocated() as outside:  # embedding, pools, logits and loss
            loss = F.cross_entropy(model(tokens).flatten(0, 1), tokens.flatten())
            kept = outside.bytes
            loss.backward()
        again = outside.peak - kept
        found: dict[tuple, tuple[int, int]] = {}
        for block, shape in met:
            kind = type(block.layer), shape, *(parameter.shape for parameter in block.parameters())
            if kind not in found:
                found[kind] = block_bytes(block, *shape)
            kept, again = kept + found[kind][0], max(again, found[kind][1])
    return kept + again


def block_bytes(block: Block, batch: int, length: int, width: int) -> tuple[int, int]:
    """What is kept for the gradient; and, by layers that work in segments, what is made again to compute it for one."""

    def kept(steps: int) -> int:
        x = torch.zeros(batch, steps, width, requires_grad=True)
        with Allocated() as inside:
            y = Block.forward(block, x)  # noqa: F841  (it holds what is counted)
            return inside.bytes

    segment = block.layer.chunk_size if isinstance(block.layer, Mamba1) else SEGMENT
    if isinstance(block.layer, S4Block) or length <= segment:
        return kept(length), 0
    return kept(2 * segment) * length // (2 * segment), kept(segment)
