"""A linear recurrence, a block of steps at a time: what a block puts out and what it leaves behind are matrix products.

Shapes: H channels, each with N real states and one input and output; B batch, L steps, Q steps of a block, K blocks.
States, inputs and outputs of a channel are rows here, so matrices act from the right: torch multiplies a few rows by a
matrix several times faster than a matrix by a few columns.
"""

from typing import NamedTuple

import torch
from torch import Tensor

LARGEST = 64  # steps of a block, a power of two: the matrices of a block, H (N+Q)^2 numbers, should stay in a CPU's cache
MAX_SEQUENTIAL = 16  # up to this many blocks, their states are computed one after another


class BlockForm(NamedTuple):
    """state after = state leap + inputs drive; outputs = state readout + inputs response."""

    leap: Tensor  # H N N
    drive: Tensor  # H Q N
    readout: Tensor  # H N Q
    response: Tensor  # H Q Q: nothing before its own input


class LinearRecurrence:
    """x_l = x_(l-1) A + u_l B with outputs y_l = x_l C, of which it keeps the matrices of blocks of 1, 2, 4 .. steps.

    These are powers of A, so they are formed in float64 and rounded once, to `dtype`.
    """

    def __init__(self, A: Tensor, B: Tensor, CA: Tensor, CB: Tensor, dtype: torch.dtype):
        """A (H, N, N); B (H, N); what comes out one step after a state, CA (H, N), and at once from an input, CB (H)."""
        self.B, self.CA, self.CB, self.dtype = B, CA, CB, dtype
        self._powers = {1: A}
        self._leaps: dict[int, Tensor] = {}
        self._forms: dict[int, BlockForm] = {}

    def run(self, u: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs (B, H, L) and state (B, H, N) -> outputs and the state after them."""
        u = u.contiguous()  # else a CPU copies and multiplies channel by channel, which takes twice the time in all
        state, at, outputs = state.transpose(0, 1), 0, []
        size = LARGEST
        while at < u.shape[2]:  # blocks of 64, then those of 32 .. 1 that make up the rest
            count = (u.shape[2] - at) // size
            if count:
                blocks = u[:, :, at : at + count * size].unflatten(2, (count, size)).transpose(0, 1)
                y, state = self._run_blocks(blocks, state)
                outputs.append(y.transpose(0, 1).flatten(2))
                at += count * size
            size //= 2
        return torch.cat(outputs, dim=2), state.transpose(0, 1)

    def _run_blocks(self, u: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """u (H, B, K, Q), state (H, B, N) -> y (H, B, K, Q), state."""
        form = self._form(u.shape[3])
        before, state = self._pass_on(state, multiply(u, form.drive), u.shape[3])
        return multiply(u, form.response) + multiply(before, form.readout), state

    def _pass_on(self, state: Tensor, made: Tensor, size: int) -> tuple[Tensor, Tensor]:
        """made (H, B, K, N): what each block of `size` steps adds to the state -> the states before each, and after all."""
        count, leap = made.shape[2], self._leap(size)
        if count <= MAX_SEQUENTIAL:
            states = [state]
            for k in range(count):
                states.append(states[-1] @ leap + made[:, :, k])
            return torch.stack(states[:-1], dim=2), states[-1]
        # Pairs of blocks are half as many blocks of twice the size: log2(K) rounds, each a few large products.
        paired = count - count % 2
        first, second = made[:, :, :paired:2], made[:, :, 1:paired:2]
        even, state = self._pass_on(state, multiply(first, leap) + second, 2 * size)
        odd = multiply(even, leap) + first
        before = torch.stack((even, odd), dim=3).flatten(2, 3)
        if paired < count:
            before = torch.cat((before, state[:, :, None]), dim=2)
            state = state @ leap + made[:, :, -1]
        return before, state

    def _power(self, size: int) -> Tensor:
        """A^size, size a power of two, in float64."""
        if size not in self._powers:
            half = self._power(size // 2)
            self._powers[size] = half @ half
        return self._powers[size]

    def _leap(self, size: int) -> Tensor:
        if size not in self._leaps:
            self._leaps[size] = self._power(size).to(self.dtype)
        return self._leaps[size]

    def _form(self, size: int) -> BlockForm:
        if size not in self._forms:
            self._forms[size] = self._make_form(size)
        return self._forms[size]

    def _make_form(self, size: int) -> BlockForm:
        drive, readout = self.B[:, None], self.CA[:, None]  # rows A^q B and C A^(q+1), for q < size
        for k in range(size.bit_length() - 1):
            power = self._power(1 << k)
            drive = torch.cat((drive, drive @ power), dim=1)
            readout = torch.cat((readout, readout @ power.mT), dim=1)
        later = (readout[:, :-1] @ self.B[..., None])[..., 0]  # C A^t B for t = 1 .. size - 1
        kernel = torch.cat((self.CB[:, None], later, torch.zeros_like(self.CB)[:, None]), dim=1)
        time = torch.arange(size, device=kernel.device)
        behind = time - time[:, None]  # of an output, a column, behind an input, a row
        response = kernel[:, behind.where(behind >= 0, size)]  # the last number of the kernel is the 0 of what is ahead
        parts = drive.flip(1), readout.mT, response
        return BlockForm(self._leap(size), *(part.to(self.dtype).contiguous() for part in parts))


def multiply(rows: Tensor, matrix: Tensor) -> Tensor:
    """(H, B, K, N) and (H, N, M) -> (H, B, K, M)."""
    return (rows.flatten(1, 2) @ matrix).unflatten(1, rows.shape[1:3])
