"""A prefix read all at once: a reader makes a code of it, and the code scales and shifts what each block receives.

FiLM is of Perez et al., "FiLM: Visual Reasoning with a General Conditioning Layer" (2018).
"""

import torch
from torch import Tensor, nn

from .mulaw import CLASSES

CODE = 128  # numbers that all blocks are given of a prefix
_HIDDEN = 512
_BITS = 8  # of a class
_PRIME, _ROOT = (1 << 31) - 1, 16807  # its powers go through all numbers below the prime (Park and Miller, 1988)
_TABLES, _ROWS = 4, 1 << 14  # 65,536 rows in all: enough for some 50,000 voices to differ in every way


class PrefixReader(nn.Module):
    """Mu-law classes of a whole prefix (B, P) -> its code (B, CODE).

    Each class enters as a number from -1 to 1 and as its bits: levels of the `bytes` prefix pack several parameters of a
    patch into one, and order is what the number says and bits do not. Every place has weights of its own.
    """

    def __init__(self, length: int):
        super().__init__()
        self.length = length
        wide = nn.Linear((1 + _BITS) * length, _HIDDEN), nn.GELU(), nn.Linear(_HIDDEN, CODE), nn.GELU()
        self.mlp = nn.Sequential(*wide)

    def forward(self, classes: Tensor) -> Tensor:
        bits = classes[..., None].bitwise_right_shift(torch.arange(_BITS, device=classes.device)).bitwise_and(1)
        numbers = 2 * classes[..., None] / (CLASSES - 1) - 1
        seen = torch.cat([numbers, 2 * bits - 1], dim=-1).flatten(1)
        return self.mlp(seen.to(next(self.parameters()).dtype))


class PrefixTable(nn.Module):
    """Mu-law classes of a whole prefix (B, P) -> its code (B, CODE), learned by heart.

    A hash of the classes chooses a row of each table, and the code is their sum, so nothing that is learned of one prefix
    says anything of another one, however similar. It is as good as an embedding with a row for each voice, whose number
    need not be known (Svenstrup et al., "Hash Embeddings", 2017).
    """

    powers: Tensor

    def __init__(self, length: int):
        super().__init__()
        self.length = length
        powers = torch.tensor([pow(_ROOT, i + 1, _PRIME) for i in range(length)])
        self.register_buffer("powers", powers, persistent=False)
        self.tables = nn.ModuleList(nn.Embedding(_ROWS, CODE) for _ in range(_TABLES))
        for table in self.tables.parameters():
            nn.init.normal_(table, std=_TABLES**-0.5)  # so that the variance of a code is 1

    def forward(self, classes: Tensor) -> Tensor:
        hashed = (classes * self.powers).sum(1) % _PRIME  # below 2^60 before, whatever the length
        rows = [hashed * pow(_ROOT, 7 + i, _PRIME) % _PRIME % _ROWS for i in range(_TABLES)]
        return torch.stack([table(row) for table, row in zip(self.tables, rows, strict=True)]).sum(0)


READERS: dict[str, type[PrefixReader] | type[PrefixTable]] = {"mlp": PrefixReader, "table": PrefixTable}


class FiLM(nn.Module):
    """Scale and shift of each channel by a code: x (..., D) of B sequences or steps, code (B, CODE)."""

    def __init__(self, d_model: int):
        super().__init__()
        self.of_code = nn.Linear(CODE, 2 * d_model)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        both = self.of_code(code)
        scale, shift = (both if x.dim() == 2 else both[:, None]).chunk(2, dim=-1)
        return x * (1 + scale) + shift
