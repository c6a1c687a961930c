"""Evaluations during training: what they leave in the folder of the run, tables and wavs."""

from pathlib import Path

import torch
from torch import nn

from train.config import RunSettings
from train.data.clips import Clips
from train.data.web import UrlClips
from train.evaluation import evaluate
from train.results.writer import Log

EXAMPLES = 2  # whole clips that are converted, written as wav and drawn at each evaluation


class Recorder:
    """The sets to evaluate on, in memory."""

    def __init__(self, data: Clips | UrlClips, settings: RunSettings, device: torch.device, size: int):
        """size: clips at once."""
        self.settings, self.device, self.size = settings, device, size
        self.sets = evaluate.load_held_out(data, settings.evaluate_samples)
        self.examples = evaluate.load_held_out(data, EXAMPLES, whole=True)[:1] if self.sets else []

    def record(self, run: Path, log: Log, model: nn.Module, step: int) -> None:
        """How well a model does."""
        settings = self.settings
        rows, algorithms, clips = evaluate.evaluate(
            model, self.sets, self.size, self.device, settings.precision, settings.decode
        )
        for table, found in (("validation", rows), ("algorithms", algorithms)):
            if found:
                log.add(table, [{"step": step, **row} for row in found])
        if clips:
            log.replace("clips", [{"step": step, **row} for row in clips])
        for one in self.examples:
            made = [
                evaluate.generate(model, each, self.device, settings.precision, settings.decode) for each in one.batches(1)
            ]
            evaluate.write_wavs(run / "samples" / f"{step:08d}", one.examples, torch.cat(made), one.sample_rate)
        log.show_samples()
        for row in rows:
            log.say(f"step {step}, {evaluate.describe(row)}")
