"""How much memory a training step takes, found without taking any: shapes alone go through the model, as fake tensors."""

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from .backbone import Block
from .film import CODE
from .layers.mamba1 import Mamba1
from .layers.mamba2 import Mamba2
from .layers.mamba_layer import MambaLayer, mamba_ssm_usable
from .model import Model, build
from .settings import ModelSettings

# The weight, its gradient, both moments of AdamW and the moving average of the weight, in float32.
BYTES_PER_PARAMETER = 5 * 4
WASTE = 0.05  # of the steps of a stage, as padding: what is less needs no warning


def out_of_memory(error: Exception) -> bool:
    """Whether an error says that a GPU's or the machine's memory is full."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "DefaultCPUAllocator" in str(error)


class Allocated(TorchDispatchMode):
    """Counts the bytes of the tensors that are made inside it, for as long as they live."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = self.peak = 0
        self._storages: weakref.WeakSet = weakref.WeakSet()

    def __torch_dispatch__(
        self, function: Callable[..., Any], types: Any, arguments: tuple = (), keywords: dict | None = None
    ) -> Any:
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

    def pass_by(block: Block, x: Tensor, **given: Any) -> Tensor:
        met.append((block, x.shape))
        return x

    for block in model.modules():
        if isinstance(block, Block):
            setattr(block, "forward", partial(pass_by, block))  # noqa: B010  (a method can't be assigned to, says mypy)
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
    """What is kept for the gradient, and what is made again to compute it: the layer knows how these grow with length."""

    def measure(steps: int) -> int:
        x = torch.zeros(batch, steps, width, requires_grad=True)
        code = torch.zeros(batch, CODE) if block.film else None
        with Allocated() as inside:
            y = Block.forward(block, x, code=code)  # noqa: F841  (it holds what is counted)
            return inside.bytes

    return block.layer.activation_bytes(measure, length)


@dataclass(frozen=True)
class Estimate:
    parameters: int
    bytes: int  # of a training step: weights, gradients, AdamW, moving average, activations
    warnings: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = f"{self.parameters:,} parameters; a training step takes about {self.bytes / 1e9:.1f} GB", *self.warnings
        return "\n".join(lines)


def check_memory(
    settings: ModelSettings, batch: int, length: int, device: str | torch.device = "cpu", precision: str = "fp32"
) -> Estimate:
    """Of a step with `batch` sequences of `length` = P + L, before anything is allocated; takes about a second.

    Raises ValueError, a sentence, for what can't be made or run, or does not fit into the device's free memory. If layers
    run in kernels, the estimate may be too high, so a step that seems not to fit is only a warning.
    """
    device = torch.device(device)
    with FakeTensorMode():
        model = build(settings)
        parameters = sum(parameter.numel() for parameter in model.parameters())
        kernels = kernel_layers(model, precision) if device.type == "cuda" else {}
        warnings = [
            found
            for of, layer in kernels.items()
            if not uses_own_kernels(layer, precision)
            for found in kernel_warnings(*of, layer, batch, length - settings.film)
        ]
        activations = activation_bytes(model, batch, length, precision)
    weights = BYTES_PER_PARAMETER * parameters
    if device.type == "cuda":
        try:
            check_fits(weights, activations, batch, length, torch.cuda.mem_get_info(device)[0])
        except TooLarge as error:
            if not kernels:
                raise
            warnings.append(f"{error} (kernels may take less, or more)")
    return Estimate(parameters, weights + activations, tuple(warnings))


class TooLarge(ValueError):
    """A training step needs more memory than there is."""


def check_fits(weights: int, activations: int, batch: int, length: int, free: int) -> None:
    """All in bytes; activations of a batch of sequences of `length`. Raises TooLarge."""
    if weights + activations > free:
        part = max(0, free - weights) / activations
        fitting, steps = int(batch * part), int(batch * length * part)
        fitting_text = (
            f"{fitting} clips" if fitting else f"1 clip of {steps} steps" if steps else "no clip: the model is too large"
        )
        raise TooLarge(
            f"a training step with {batch} clips of {length} steps in memory takes about "
            f"{(weights + activations) / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free, enough for {fitting_text}"
        )


def kernel_layers(model: Model, precision: str) -> dict[tuple[str, int], MambaLayer]:
    """One layer for each kind and divisor of the rate that will use kernels on CUDA, mamba-ssm's or ours."""
    layers = [(divisor, layer) for _, divisor, layer in model.backbone.layers() if isinstance(layer, MambaLayer)]
    found = {(type(layer).__name__, divisor): layer for divisor, layer in layers if layer.kernels == "auto"}
    own = {of: layer for of, layer in found.items() if uses_own_kernels(layer, precision)}
    try:
        return found if len(own) < len(found) and mamba_ssm_usable() else own
    except ImportError as error:
        raise ValueError(str(error)) from None


def uses_own_kernels(layer: MambaLayer, precision: str) -> bool:
    return precision == "bf16" and isinstance(layer, Mamba2) and layer.has_own_kernels


def kernel_warnings(kind: str, divisor: int, layer: MambaLayer, batch: int, length: int) -> list[str]:
    """What is slower than it need be. Raises ValueError for what the kernels can't do."""
    where, steps, found = f"{kind} at 1/{divisor} of the rate", -(-length // divisor), []
    try:
        layer.check_size(batch, steps)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    if isinstance(layer, Mamba2) and layer.plain:
        if layer.conv_dim % 8:
            found.append(
                f"{where} does not use the fused kernel: its convolution has {layer.conv_dim} channels, d_inner and twice "
                f"ngroups x d_state, and needs a multiple of 8"
            )
        elif layer.nheads % 8:
            near = [n for n in range(1, layer.d_inner + 1) if layer.d_inner % (8 * n) == 0]
            remedy = f"headdim {min(near, key=lambda n: abs(n - layer.headdim))}" if near else "a d_inner of a multiple of 8"
            found.append(f"{where} copies its input, for {layer.nheads} heads are no multiple of 8: {remedy} avoids it")
    padded = -(-steps // layer.chunk_size) * layer.chunk_size
    waste = 1 - steps / padded
    if not isinstance(layer, Mamba1) and waste > WASTE:
        whole = layer.chunk_size * divisor
        found.append(
            f"{where} pads {steps} steps to {padded}, a multiple of chunk_size={layer.chunk_size}, and wastes {waste:.0%} "
            f"of its work: a length of {max(1, round(length / whole)) * whole} wastes none, a smaller chunk_size less"
        )
    return found
