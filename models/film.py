"""A prefix read all at once: a reader makes a code of it, and the code scales and shifts what each block receives.

FiLM is of Perez et al., "FiLM: Visual Reasoning with a General Conditioning Layer" (2018).
"""

import torch
from torch import Tensor, nn

from .mulaw import CLASSES

CODE = 128  # numbers that all blocks are given of a prefix
_HIDDEN = 512
_BITS = 8  # of a class
_NUMBERS = 1 + _BITS  # that a class enters as
_OPERATORS, _OPERATOR_SAMPLES = 6, 17  # with which the `bytes` prefix begins: those of operator 6, of 5, ...
_COMMON_SAMPLES = 16  # that follow them: pitch EG, algorithm, feedback, LFO, transpose
_OPERATOR_CODE = 16  # numbers of each operator in the code
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
        wide = nn.Linear(_NUMBERS * length, _HIDDEN), nn.GELU(), nn.Linear(_HIDDEN, CODE), nn.GELU()
        self.mlp = nn.Sequential(*wide)

    def forward(self, classes: Tensor) -> Tensor:
        return self.mlp(_spread(classes, next(self.parameters()).dtype))


class OperatorReader(nn.Module):
    """Mu-law classes of a whole `bytes` prefix (B, P) -> its code (B, CODE). Raises ValueError for a P without room for it.

    One MLP, with the same weights, reads the samples of each operator: what a parameter means is learned once, from six
    examples in each voice, and not six times. Another one reads what the operators have in common. The name and the
    checksum, which follow and by which a voice could be recognised, are not read.
    """

    def __init__(self, length: int):
        super().__init__()
        operators = _OPERATORS * _OPERATOR_SAMPLES
        if length < operators + _COMMON_SAMPLES:
            raise ValueError(f"film_reader is operators, and film is {length}: a bytes prefix has 192 samples")
        self.length = length
        self.parts = operators, _COMMON_SAMPLES, length - operators - _COMMON_SAMPLES
        self.operator = nn.Sequential(
            nn.Linear(_NUMBERS * _OPERATOR_SAMPLES, _HIDDEN),
            nn.GELU(),
            nn.Linear(_HIDDEN, _HIDDEN // 2),
            nn.GELU(),
            nn.Linear(_HIDDEN // 2, _OPERATOR_CODE),
        )
        self.common = nn.Sequential(
            nn.Linear(_NUMBERS * _COMMON_SAMPLES, _HIDDEN),
            nn.GELU(),
            nn.Linear(_HIDDEN, CODE - _OPERATORS * _OPERATOR_CODE),
        )

    def forward(self, classes: Tensor) -> Tensor:
        dtype = next(self.parameters()).dtype
        operators, common, _ = classes.split(self.parts, dim=1)
        each = self.operator(_spread(operators.unflatten(1, (_OPERATORS, -1)), dtype))
        return torch.cat([each.flatten(1), self.common(_spread(common, dtype))], dim=1)


def _spread(classes: Tensor, dtype: torch.dtype) -> Tensor:
    """Classes (..., N) -> (..., 9 N): of each class a number from -1 to 1, and its eight bits, lowest first, as -1 or 1."""
    bits = classes[..., None].bitwise_right_shift(torch.arange(_BITS, device=classes.device)).bitwise_and(1)
    numbers = 2 * classes[..., None] / (CLASSES - 1) - 1
    return torch.cat([numbers, 2 * bits - 1], dim=-1).flatten(-2).to(dtype)


class PrefixTable(nn.Module):
    """Mu-law classes of a whole prefix (B, P) -> its code (B, CODE), from tables that are learned.

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


Reader = PrefixReader | OperatorReader | PrefixTable
READERS: dict[str, type[Reader]] = {"mlp": PrefixReader, "operators": OperatorReader, "table": PrefixTable}


class FiLM(nn.Module):
    """Scale and shift of each channel by a code: x (..., D) of B sequences or steps, code (B, CODE)."""

    def __init__(self, d_model: int):
        super().__init__()
        self.of_code = nn.Linear(CODE, 2 * d_model)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        both = self.of_code(code)
        scale, shift = (both if x.dim() == 2 else both[:, None]).chunk(2, dim=-1)
        return x * (1 + scale) + shift
