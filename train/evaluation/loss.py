"""The loss: how well the target is predicted, position by position; prefix and source are not scored."""

import math

import torch.nn.functional as F
from torch import Tensor

NATS = math.log(2)  # a bit, in nats


def target_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Mean cross entropy in nats of the last L positions: logits (B, P + L, 256), target classes (B, L)."""
    scored = logits[:, -target.shape[1] :]
    return F.cross_entropy(scored.flatten(0, 1).float(), target.flatten())
