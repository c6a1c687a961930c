"""Evaluation: how well a model does on samples that it was not trained on, by metrics, by algorithm, and as audio."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import default_collate
from tqdm import tqdm

from dx7data.patch import ALGORITHM
from dx7data.plan import Plan, Shard
from dx7data.sample import wav
from models.quantize import int16, mu_law, mu_law_decoded, mu_law_table
from train import metrics
from train.form import Example
from train.stream import Clips, LiveClips
from train.urls import UrlClips

_log = logging.getLogger(__name__)
_OF_SIGNALS = ("snr_db", "mrstft")  # relative to the target's power, so not of silent ones


@dataclass(frozen=True)
class HeldOut:
    """N samples in memory that no training step sees; `name` says how far they are from those of training.

    "unseen": patches of families that are in no training sample. "val": instead, if the data set was split by phrase: the
    same patches, and phrases that are in no training sample. "seen": patches of training play what they do not play there.
    """

    name: str
    places: list[tuple[str, int]]  # of the plan: split and number
    algorithms: list[int]  # 1-32, of the target's first layer
    sample_rate: int
    examples: Example  # int16 (N, P), (N, L), (N, L)

    def __len__(self) -> int:
        return len(self.places)

    def batches(self, size: int) -> Iterator[Example]:
        """The samples in order, at most `size` at a time."""
        return map(Example._make, zip(*(part.split(size) for part in self.examples), strict=True))


def held_out(data: Clips | UrlClips, count: int = 32, whole: bool = False) -> list[HeldOut]:
    """The sets to evaluate a training on `data` with, `count` samples each, or as many as there are.

    They have the form of `data`: also its crop, at a start that is always the same, unless `whole`. They are rendered from
    the plan, so they need not be in any shard; workers of a DataLoader that are forks must have been started before.
    """
    if isinstance(data, UrlClips):
        _log.warning(
            "nothing is evaluated: what webdataset reads has no plan, so new samples can't be told from trained ones"
        )
        return []
    plan, found = data.plan, []
    if data.split != "val" and "val" in plan.counts:
        name = "val" if plan.split_report["split_by"] == "phrase" else "unseen"
        found.append(_rendered(name, data, "val", range(min(count, plan.counts["val"])), whole))
    if fresh := _fresh(plan, data.split, count):
        found.append(_rendered("seen", data, data.split, fresh, whole))
    else:
        _log.warning("there is no set of seen patches: those of %s have played all of its phrases", data.split)
    return found


def _fresh(plan: Plan, split: str, count: int) -> list[int]:
    """Numbers of samples beyond the last of a split, each with something new: music comes round again."""
    end = plan.counts[split]
    if plan.phrases is None:  # drawn for each sample: no two are alike
        return list(range(end, end + count))
    turn = plan.targets[split].size * (2 if plan.spec.pairs else 1)  # samples so far apart have the same target
    played: dict[int, set] = {}  # what each target plays in the split, and in what was found
    found = []

    def content(j: int) -> tuple:
        choice = plan.choose(split, j)
        return choice.phrase.id, choice.source, choice.layers

    for j in range(end, end + 8 * count):
        if (target := j % turn) not in played:
            played[target] = {content(k) for k in range(target, end, turn)}
        if (new := content(j)) not in played[target]:
            played[target].add(new)
            found.append(j)
        if len(found) == count:
            break
    return found


def _rendered(name: str, data: Clips, split: str, numbers, whole: bool) -> HeldOut:
    plan, form = data.plan, data.form
    shards = [Shard(split, 0, j, 1) for j in numbers]
    crop = None if whole else form.crop
    clips = LiveClips(plan, split, shards, codec=form.codec, sample_rate=form.sample_rate, crop=crop)
    first_layers = [plan.choose(split, j).layers[0] for j in numbers]
    return HeldOut(
        name=name,
        places=[(split, j) for j in numbers],
        algorithms=(plan.patches.stored[first_layers, ALGORITHM].astype(int) + 1).tolist(),
        sample_rate=form.sample_rate,
        examples=default_collate([clips[i] for i in tqdm(range(len(clips)), f"render {name}", leave=False, delay=2)]),
    )


def evaluate(
    model: nn.Module, sets: list[HeldOut], batch: int, device: torch.device | str, precision: str = "fp32"
) -> tuple[list[dict], list[dict]]:
    """Rows for validation.csv, one of each set, and for algorithms.csv, one of each set and algorithm: means over clips.

    Silent targets (metrics.py) count in bits, accuracy and log-mel distance, but in neither SNR nor STFT distance, which are
    NaN if all are silent. The generated audio is the decoded likeliest class, the reference the int16 target. So predictions
    without a fault keep mu-law's noise: 37 dB, 0.4 and 5 dB with whole clips of the example bank at 8 kHz.
    """
    rows, of_algorithms = [], []
    for one in sets:
        parts = tqdm(one.batches(batch), f"evaluate {one.name}", -(-len(one) // batch), leave=False, delay=2)
        measured = [_measured(model, examples, one.sample_rate, device, precision) for examples in parts]
        columns = {name: torch.cat([each[name] for each in measured]).cpu().double() for name in measured[0]}
        audible = ~metrics.silent(one.examples.target / 32768)
        means = {name: (each[audible] if name in _OF_SIGNALS else each).mean().item() for name, each in columns.items()}
        rows.append({"set": one.name, "samples": len(one), **means})
        algorithms = torch.tensor(one.algorithms)
        for number in algorithms.unique().tolist():
            bits = columns["bits"][algorithms == number]
            of_algorithms.append({"set": one.name, "algorithm": number, "samples": len(bits), "bits": bits.mean().item()})
    return rows, of_algorithms


def _measured(model: nn.Module, examples: Example, sample_rate: int, device, precision: str) -> dict[str, Tensor]:
    """Every metric of each clip, by its column, (B,)."""
    logits = predicted(model, examples, device, precision)
    target = examples.target.to(device)
    classes = mu_law(target, mu_law_table(device))
    generated, reference = mu_law_decoded(logits.argmax(-1)), target / 32768
    hits = metrics.accuracies(logits, classes)
    return {
        "bits": metrics.bits_per_sample(logits, classes),
        **{f"accuracy_{rank}": part for rank, part in zip(metrics.RANKS, hits.T, strict=True)},
        "snr_db": metrics.snr_db(generated, reference),
        "mrstft": metrics.multi_resolution_stft_distance(generated, reference, sample_rate),
        "logmel": metrics.log_mel_distance(generated, reference, sample_rate),
    }


def predicted(model: nn.Module, examples: Example, device: torch.device | str, precision: str = "fp32") -> Tensor:
    """Logits of the target region, float32 (B, L, 256), without dropout or gradients. precision: "fp32" or "bf16"."""
    tokens = mu_law(torch.cat([examples.prefix, examples.source], 1).to(device), mu_law_table(device))
    training = model.training
    model.eval()
    with torch.no_grad(), torch.autocast(torch.device(device).type, torch.bfloat16, enabled=precision == "bf16"):
        logits = model(tokens)
    model.train(training)
    return logits[:, examples.prefix.shape[1] :].float()


def generated(model: nn.Module, examples: Example, device: torch.device | str, precision: str = "fp32") -> Tensor:
    """What the model makes of the sources: the likeliest class at each sample, as int16 audio (B, L) on the CPU."""
    audio = mu_law_decoded(predicted(model, examples, device, precision).argmax(-1).cpu())
    return int16(audio)


def write_wavs(folder: Path, examples: Example, audio: Tensor, sample_rate: int) -> None:
    """{i}-source.wav, {i}-target.wav and {i}-generated.wav of each example and of what was generated from it (B, L)."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, clips in (("source", examples.source), ("target", examples.target), ("generated", audio)):
        for i, clip in enumerate(clips.numpy()):
            (folder / f"{i}-{name}.wav").write_bytes(wav(clip, sample_rate))
