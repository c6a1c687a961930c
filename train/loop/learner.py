"""What learns: the weights, their average and the optimiser; and what a step does with a batch."""

import copy
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from models.model import build
from models.mulaw import mu_law_encode, mu_law_table
from train.config import RunSettings
from train.data.example import Example
from train.evaluation.loss import target_loss
from train.loop import checkpoint, checkpoint_reader, optim, schedule
from train.loop.compiling import compile_kernels
from train.loop.cudagraph import Replay
from train.loop.distributed import Ranks
from train.loop.frozen import freeze


class Learner:
    """A model and all that changes with it from step to step."""

    def __init__(self, settings: RunSettings, ranks: Ranks, found: checkpoint_reader.Checkpoint | None):
        """As a checkpoint has it; else as it begins. Raises InputError if `--init-from` or `--freeze` does not fit."""
        self._settings, self._ranks = settings, ranks
        # fp32 means 24 bits of precision. TF32 has 11, too few for the states of a layer; who wants speed takes bf16.
        torch.set_float32_matmul_precision("highest")
        torch.backends.cudnn.allow_tf32 = False
        torch.manual_seed(settings.seed)
        self._threads = torch.get_num_threads()
        self.model = build(settings.model).to(ranks.device)
        freeze(self.model, settings.freeze)
        if settings.init_from and not found:
            checkpoint_reader.load_initial(Path(settings.init_from), self.model)
        self.average = copy.deepcopy(self.model).requires_grad_(False)
        self._optimiser = optim.make_adamw(optim.group_parameters(self.model, settings.lr, settings.weight_decay))
        self.guard = optim.NonFiniteGuard(self.model, self._optimiser, ranks.device)
        if found:
            checkpoint_reader.restore(found, self.model, self.average, self._optimiser)
        self._table = mu_law_table(ranks.device)
        self._forward = torch.compile(self.model) if settings.compile else self.model
        self.replay = Replay(self._add_gradients, ranks.device)
        self._is_compiled = settings.compile or ranks.device.type != "cuda"

    def advance(self, batch: Example, step: int) -> tuple[Tensor, Tensor]:
        """One step of the optimiser; the mean loss of all processes in nats, and the norm of all gradients."""
        settings, device = self._settings, self._ranks.device
        torch.set_num_threads(self._threads)  # the engine's OpenMP sets its own number, for torch too; sums depend on it
        for group in self._optimiser.param_groups:
            group["lr"] = group["peak"] / settings.lr * schedule.find_rate(step, settings)
        parts = list(zip(*(tensor.chunk(settings.grad_accum) for tensor in batch), strict=True))
        if not self._is_compiled:
            first = [tensor.to(device) for tensor in parts[0]]
            compile_kernels(lambda: self.replay.run_once(*first), device, shown=self._ranks.first)
            self._is_compiled = True
        if settings.grad_accum > 1:
            self._optimiser.zero_grad(set_to_none=False)  # Replay wants them to stay where they are
        total = torch.zeros((), device=device)
        for part in parts:
            total += self.replay(*(tensor.to(device, non_blocking=True) for tensor in part))
        self._ranks.average([*optim.find_gradients(self.model.parameters()), total])
        norm = self.guard.clip(total, step, settings.clip)
        self._optimiser.step()
        optim.update_average(self.average, self.model, settings.ema, step)
        return total, norm

    def _add_gradients(self, prefix: Tensor, source: Tensor, target: Tensor) -> Tensor:
        """Of a part of a batch, int16; what it adds to the loss."""
        settings = self._settings
        if settings.grad_accum == 1:
            self._optimiser.zero_grad()  # so that they are written: to add them to zeros takes 3 % of a step of S4
        tokens, classes = (mu_law_encode(audio, self._table) for audio in (torch.cat([prefix, source], 1), target))
        with torch.autocast(self._ranks.device.type, torch.bfloat16, enabled=settings.precision == "bf16"):
            logits = self._forward(tokens)
        loss = target_loss(logits, classes) / settings.grad_accum
        loss.backward()
        return loss.detach()

    def describe(self) -> Iterator[str]:
        """Tables of the parameters: by learning rate, and those that are frozen."""
        yield optim.describe_groups(self._optimiser.param_groups)
        if frozen := [each.numel() for each in self.model.parameters() if not each.requires_grad]:
            yield f"{'frozen':<26}{len(frozen):>8}{sum(frozen):>12,}"

    def take_snapshot(self, step: int, state: dict) -> checkpoint.Snapshot:
        """Copy all of it to memory of the host. state: what else goes into checkpoint.json."""
        return checkpoint.take_snapshot(step, self.model, self.average, self._optimiser, state)
