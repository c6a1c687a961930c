"""The training loop: batches in, checkpoints out. It can be killed anywhere and resumed to the same losses."""

import dataclasses
import json
import os
import platform
import signal
import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dx7data.errors import InputError
from dx7data.files import refuse_unwritable, write_atomically
from dx7data.output import format_count, log, progress_bar
from train.config import RunSettings
from train.data import live
from train.data.clips import Clips, LiveClips
from train.data.sampler import Batches
from train.data.web import UrlClips
from train.evaluation import verdict
from train.evaluation.loss import NATS
from train.evaluation.recorder import Recorder
from train.loop import checkpoint, checkpoint_reader, optim, progress, schedule
from train.loop.background import Writer
from train.loop.checks import check_data, check_metric, check_step
from train.loop.devices import SpeedReport
from train.loop.distributed import Ranks
from train.loop.folder import check_contents, check_state, lock_run, read_state, release_run, write_config
from train.loop.learner import Learner
from train.loop.loader import count_steps, load_batches, make_batches, open_training_clips
from train.loop.mirror import Mirror
from train.loop.signals import Stop
from train.loop.timer import FIRST_STEPS, StepTimer
from train.results import boards, reader
from train.results.figures import draw
from train.results.writer import STEPS, Log

if TYPE_CHECKING:
    from tqdm import tqdm

FLUSH_EVERY = {"cpu": 1, "cuda": 10}  # steps until the host waits for the device and sees losses, faults and signals


def prepare(settings: RunSettings, run: Path, ranks: Ranks, mirror: Mirror | None = None) -> "Trainer":
    """A trainer that will go on from a run's last checkpoint, or begin if it has none; nothing has been written.

    Raises InputError, a sentence, for what a person can mend: in all processes alike.
    """
    check_contents(run)
    refuse_unwritable(run)
    boards.check_logger(settings.logger)
    data = open_training_clips(settings)
    check_data(run, data, settings.shards)
    settings = dataclasses.replace(settings, sample_rate=data.format.sample_rate)
    estimate = check_step(settings, data, ranks)
    trainer = Trainer(settings, run, ranks, data, str(estimate))
    trainer.mirror = mirror
    if reader.read_result(run):  # without: it was stopped before it could say so
        if trainer.step == settings.steps:
            raise InputError(
                f"{run} has done all its {format_count(settings.steps, 'step')}: --steps N with more of them extends it"
            )
        if trainer.over:
            raise InputError(f"{run} was ended at step {trainer.step:,} by --patience: with a larger one it goes on")
    ranks.wait()  # until all of them have seen the folder as it was
    return trainer


class Trainer:
    """A run: what changes from step to step, and what a step needs."""

    def __init__(self, settings: RunSettings, run: Path, ranks: Ranks, data: Clips | UrlClips, estimate: str):
        self.settings, self.run, self.ranks, self.data, self.estimate = settings, run, ranks, data, estimate
        self.before = read_state(run)
        self.mirror: Mirror | None = None
        found = checkpoint_reader.read_last(run, checkpoint.PARTS, settings)
        self.learner = Learner(settings, ranks, found)
        self.part = settings.batch // (settings.grad_accum * ranks.count)  # clips at once
        self.step, seconds = 0, 0.0
        stream: dict[str, Any] | None = None
        if found:
            about = found.metadata
            self.step, seconds, stream = about["step"], about["seconds"], dict(about["stream"])
        self.start = self.step
        checkpoint.check_places(run, self.step, bool(settings.keep_best))
        self.over = progress.is_out_of_patience(run, settings, self.step)
        self.batches = make_batches(data, settings, ranks, stream)
        if found and isinstance(self.batches, Batches) and self.batches.delivered != self.step:
            raise InputError(
                f"{found.folder / checkpoint.META}, field stream: it is at step {self.batches.delivered:,} of the data, the "
                f"checkpoint at step {self.step:,}"
            )
        self.pending: list[tuple[int, Tensor, Tensor]] = []  # steps whose losses are still on the device
        self.timer = StepTimer(seconds)
        self.writer = Writer()
        self.result: dict[str, Any] | None = None  # in the first process, when the last step is done
        self.report = SpeedReport(settings, ranks, data, self.learner.replay)

    def train(self) -> int:
        """To the last step, or until a signal comes: that signal, or 0."""
        if not self.ranks.first:
            return self.loop()
        self.open()
        try:
            if self.mirror:
                self.mirror.push()  # the first of two runs at one URL
            return self.loop()
        finally:
            self.writer.close()
            self.log.close(done=(self.run / "result.json").exists())
            os.close(self.lock)

    def open(self) -> None:
        """Make the folder of the run, or go on in it."""
        self.run.mkdir(parents=True, exist_ok=True)
        self.lock = lock_run(self.run)
        try:
            check_state(self.run, self.before)
            logger = boards.open_logger(self.settings.logger, self.run, self.settings.to_json())
        except InputError:
            release_run(self.run, self.lock)
            raise
        where = torch.cuda.get_device_name() if self.ranks.device.type == "cuda" else "CPU"
        versions = {"torch": torch.__version__, "python": platform.python_version(), "device": where}
        parameters = sum(parameter.numel() for parameter in self.learner.model.parameters())
        about = {**self.data.describe(), "parameters": parameters, "versions": versions}
        (self.run / "result.json").unlink(missing_ok=True)  # it says how the run ended, which now goes on
        about = write_config(self.run, about, self.settings.to_json())
        self.log = Log(self.run, self.step, about, logger)
        self.log.say(f"{self.run}: {self.settings.model_name} on {self.ranks.count} x {where}, {self.data}")
        if isinstance(self.data, LiveClips):
            self.log.say(f"batches are rendered {live.choose_gpu(self.ranks.device)[1]}")
        self.log.say(self.estimate)
        if self.settings.extended:
            self.log.say(schedule.describe_extension(self.settings))
        for table in self.learner.describe():
            self.log.say(table)

    def loop(self) -> int:
        """Train to the end; the signal that stopped it, or 0."""
        settings, stopped = self.settings, False
        # Its workers are forks: they must be there before anything is rendered.
        batches = load_batches(self.data, self.batches, settings.workers, self.ranks.device)
        if self.ranks.first:
            self.recorder = Recorder(self.data, settings, self.ranks.device, self.part)
            check_metric(settings.keep_best, [one.name for one in self.recorder.sets])
        bar = progress_bar(total=settings.steps, initial=self.step, unit="step", disable=not self.ranks.first)
        with Stop() as stop, bar:
            self.timer.start()
            while self.step < settings.steps and not stopped and not self.over:
                with self.timer.waiting():
                    batch = next(batches)
                self.step += 1
                self.pending.append((self.step, *self.learner.advance(batch, self.step)))
                bar.update()
                if self.is_due(FLUSH_EVERY[settings.device]) or self.step == self.start + FIRST_STEPS or self.is_save_due():
                    stopped = self.flush_metrics(stop, bar)
                    if self.ranks.first:
                        self.save(stopped)
                    if settings.patience and self.is_due(settings.evaluate_every):
                        self.over = self.ranks.mean(torch.tensor(float(self.over), device=self.ranks.device)).item() > 0
                    if stopped:
                        self.ranks.wait()  # torchrun ends all of them as soon as one has ended
                    self.timer.start()
        if self.step < settings.steps and not self.over:
            return stop.signal or signal.SIGTERM
        if self.ranks.first:
            self.finish()
        return 0

    def is_due(self, every: int) -> bool:
        return self.step % every == 0 or self.step == self.settings.steps

    def is_save_due(self) -> bool:
        return self.is_due(self.settings.evaluate_every) or self.is_due(self.settings.checkpoint_every)

    def flush_metrics(self, stop: Stop, bar: "tqdm") -> bool:
        """Wait for the device and write down the steps since the last flush; whether a signal asks to stop.

        The time of a step is the mean from flush to flush, without evaluations and checkpoints.
        """
        steps, losses, norms = zip(*self.pending, strict=True)
        self.pending, norm_values = [], torch.stack(norms).tolist()
        flag = torch.tensor(float(bool(stop.signal)), device=self.ranks.device)
        means, asked = (torch.stack(losses) / NATS).tolist(), self.ranks.mean(flag).item()
        self.check_finite()
        speed: tuple[float | None, ...] = (None, None, None)
        said: list[str] = []
        if timed := self.timer.stop(len(steps), first=steps[-1] <= self.start + FIRST_STEPS):
            each, wait = timed
            tokens_per_second = self.settings.batch * count_steps(self.data.format) / each
            speed = each, wait, tokens_per_second
            numbers = f"{1e3 * each:.0f} ms, data {1e3 * wait:.1f} ms, {self.settings.batch / each:.1f} clips/s"
            bar.set_postfix_str(f"{means[-1]:.3f} bits, {numbers}", refresh=False)
            said = list(self.report.update(self.timer, tokens_per_second))
        if self.ranks.first:
            rates = [schedule.find_rate(step, self.settings) for step in steps]
            rows = [
                dict(zip(STEPS, (step, self.timer.total, loss, rate, norm, *speed), strict=True))
                for step, loss, rate, norm in zip(steps, means, rates, norm_values, strict=True)
            ]
            self.log.add("metrics", rows)
            for text in said:
                self.log.say(text)
        return asked > 0

    def check_finite(self) -> None:
        """Raises Diverged, in all processes, if a loss or a gradient is not finite. result.json says so then."""
        try:
            self.learner.guard.check()
        except optim.Diverged:
            if self.ranks.first:
                self.write_result(verdict.judge_run(self.run, self.recorder.sets) | {"verdict": verdict.DIVERGED})
            self.ranks.wait()  # torchrun ends all of them as soon as one has ended
            raise

    def save(self, stopped: bool) -> None:
        """Evaluate and write a checkpoint, each when it is due. At the end it waits until all is on the disk.

        The files of a checkpoint, and after them the pictures of an evaluation, are left to a thread.
        """
        settings = self.settings
        self.writer.check()
        if not (stopped or self.is_save_due()):
            return
        self.writer.wait()  # the pictures of the last evaluation are drawn from files that this one adds to
        work: list[Callable[[], None]] = []
        if evaluated := self.is_due(settings.evaluate_every):
            self.recorder.record(self.run, self.log, self.learner.average, self.step)
            self.over = progress.is_out_of_patience(self.run, settings, self.step)
        best = progress.find_best(self.run, settings, self.step)
        saved = stopped or self.over or best == self.step or self.is_due(settings.checkpoint_every)
        if saved:
            work.append(self.take_checkpoint(best))
        if evaluated:
            work.append(partial(draw, self.run))
        if saved and self.mirror:
            work.append(self.mirror.try_push)
        self.writer.start(*work)
        if stopped or self.over or self.step == settings.steps:
            self.writer.wait()

    def take_checkpoint(self, best: int | None) -> Callable[[], None]:
        """Copy all that it holds; what is returned writes it. best: the step of the best one, which is kept."""
        state = {
            "settings": self.settings.to_json(),
            "fingerprint": self.data.fingerprint,
            "layers": self.data.format.layers,  # patches that the prefix has room for
            "stream": self.batches.state(self.step),
            "seconds": self.timer.total,
        }
        snapshot = self.learner.take_snapshot(self.step, state)

        def write() -> None:
            self.log.sync()  # the run goes on from the checkpoint, and its tables with it
            checkpoint.write(self.run, snapshot, self.settings.keep_last, best)
            log.debug(f"checkpoint of step {snapshot.step} is written")

        return write

    def finish(self) -> None:
        """Write result.json, and how it ended into train.log. Raises Diverged."""
        found = verdict.judge_run(self.run, self.recorder.sets)
        result = self.write_result(found)
        if found["verdict"] == verdict.DIVERGED:
            raise optim.Diverged(
                f"{self.run} diverged: its loss ends at {found['loss_bits']:.4g} bits a sample, where a guess costs 8: "
                "start again with a lower --lr"
            )
        warnings = verdict.find_warnings(found)
        self.result = {**result, "warnings": warnings}
        if self.over and self.settings.patience:
            evaluations = format_count(self.settings.patience, "evaluation")
            self.log.say(f"no better {self.settings.keep_best} in {evaluations}: the run ends here")
        for text in [f"{format_count(self.step, 'step')} done: {found['verdict']}", *warnings]:
            self.log.write(text)

    def write_result(self, found: dict) -> dict[str, Any]:
        """result.json: how the run ended, and what it cost: in seconds all of it, else since it was last started."""
        step = statistics.median(self.timer.steps) if self.timer.steps else None
        result: dict[str, Any] = {"steps": self.step, "seconds": self.timer.total, "first_steps_seconds": self.timer.first}
        result |= {"step_seconds": step, "peak_memory_bytes": self.ranks.peak_memory(), **found}
        write_atomically(self.run / "result.json", lambda file: file.write((json.dumps(result, indent=1) + "\n").encode()))
        return result
