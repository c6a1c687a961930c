"""AdamW: which parameters decay and how fast each may learn, the average of the weights, and a guard."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from dx7data.errors import Ending, InputError
from models.model import Model

_NEVER = 1 << 62


class Diverged(Ending):
    """About a training that has no use any more."""

    status = 3


def group_parameters(model: nn.Module, lr: float, weight_decay: float) -> list[dict]:
    """Groups for AdamW, each with a name. Only matrices and convolutions decay.

    Decay would pull the time scales of a state space, norms and biases towards 0, which is not their small value. `_lr_cap`
    on a parameter (models/layers/base.py) is the highest rate for it.
    """
    embedded = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    groups: dict[tuple[str, float], dict[str, Any]] = {}
    for parameter in filter(lambda each: each.requires_grad, model.parameters()):
        cap = getattr(parameter, "_lr_cap", None)
        if id(parameter) in embedded:
            name = "embedding"
        elif cap is not None:
            name = "state space, rate capped"
        elif getattr(parameter, "_no_weight_decay", False):
            name = "state space"
        else:
            name = "norms and biases" if parameter.ndim < 2 else "weights"
        peak = min(lr, cap or lr)
        empty: dict[str, Any] = {
            "name": name,
            "params": [],
            "lr": peak,
            "peak": peak,
            "weight_decay": weight_decay * (name == "weights"),
        }
        groups.setdefault((name, peak), empty)["params"].append(parameter)
    return list(groups.values())


def describe_groups(groups: Iterable[dict]) -> str:
    """A table of the groups."""
    rows = [f"{'parameters':<26}{'tensors':>8}{'numbers':>12}{'lr':>9}{'decay':>7}"]
    for group in groups:
        tensors = group["params"]
        size = sum(tensor.numel() for tensor in tensors)
        rows.append(f"{group['name']:<26}{len(tensors):>8}{size:>12,}{group['peak']:>9.2g}{group['weight_decay']:>7.2g}")
    return "\n".join(rows)


def make_adamw(groups: list[dict]) -> torch.optim.AdamW:
    # fused: one kernel for all tensors, and it takes a flag on the device that stops the update, see NonFiniteGuard.
    return torch.optim.AdamW(groups, betas=(0.9, 0.95), fused=True)


@torch.no_grad()
def update_average(ema: nn.Module, model: nn.Module, decay: float, step: int) -> None:
    """One step of the exponential moving average, which is shorter at first, so that it forgets the start."""
    weight = 1 - min(decay, step / (step + 10))
    torch._foreach_lerp_(list(ema.parameters()), list(model.parameters()), weight)


def find_gradients(parameters: Iterable[Tensor]) -> list[Tensor]:
    """Of parameters that have had a backward pass."""
    return [parameter.grad for parameter in parameters if parameter.grad is not None]


class NonFiniteGuard:
    """Stops all updates from the first step on whose loss or gradients are not finite, and remembers which these were.

    All of it stays on the device: to look at every step would make the host wait for the GPU each time.
    """

    def __init__(self, model: Model, optimiser: torch.optim.AdamW, device: torch.device):
        self._named = [(name, each) for name, each in model.parameters_on_the_way() if each.requires_grad]
        self._optimiser = optimiser
        self._since = torch.full((len(self._named) + 1,), _NEVER, device=device)  # the step, for the loss and each gradient

    def clip(self, loss: Tensor, step: int, max_norm: float) -> Tensor:
        """Scale the gradients to a norm of at most `max_norm`; the norm they had."""
        if unused := [name for name, parameter in self._named if parameter.grad is None]:
            raise InputError(f"the loss does not depend on {unused[0]}: use it in forward, or add --freeze '{unused[0]}'")
        gradients = find_gradients(parameter for _, parameter in self._named)
        norms = torch.stack(torch._foreach_norm(gradients))
        finite = torch.isfinite(torch.cat([loss.detach()[None], norms]))
        self._since = torch.minimum(self._since, torch.where(finite, _NEVER, step))
        found = (self._since.min() < _NEVER).float()
        self._optimiser.found_inf = found  # type: ignore[attr-defined]  # the name by which a fused AdamW looks for it
        norm = norms.norm()
        torch._foreach_mul_(gradients, (max_norm / (norm + 1e-6)).clamp(max=1.0))
        return norm

    def check(self) -> None:
        """Raises Diverged if there was such a step. The weights are those before it."""
        since = self._since.tolist()
        step = min(since)
        if step == _NEVER:
            return
        bad = [name for (name, _), first in zip(self._named, since[1:], strict=True) if first == step]
        broken = [name for name, parameter in self._named if not torch.isfinite(parameter).all()]
        if broken:
            what = f"parameter {broken[0]} is not finite"
        elif since[0] == step:
            what = f"the loss is not finite, nor are {len(bad)} gradients, though all parameters are"
        else:  # gradients come from the end of the model, so the last one is where it began
            what = f"the gradient of {bad[-1]} is not finite" + (f", nor that of {len(bad) - 1} before it" * (len(bad) > 1))
        raise Diverged(
            f"diverged in step {step}: {what}; checkpoints are from before it: "
            "start again with a lower --lr, or with --precision fp32"
        )
