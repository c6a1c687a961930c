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
from models.quantize import int16, mu_law, mu_law_table
from train import metrics
from train.bootstrap import standard_error
from train.decode import decode
from train.form import Example
from train.stream import Clips, LiveClips
from train.urls import UrlClips

_log = logging.getLogger(__name__)
_OF_SIGNALS = ("snr_db", "snr_mean_db", "snr_argmax_db", "mrstft")  # relative to the target's power, so not of silent ones


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
    model: nn.Module,
    sets: list[HeldOut],
    batch: int,
    device: torch.device | str,
    precision: str = "fp32",
    how: str = "mean",
) -> tuple[list[dict], list[dict], list[dict]]:
    """Rows for validation.csv, one of each set, for algorithms.csv, one of each set and algorithm, and for clips.csv.

    The first two hold means over clips, `bits_se` the standard error of `bits`. Silent targets (metrics.py) count in bits,
    accuracy and log-mel distance, but in neither SNR nor STFT distance, which are NaN if all are silent. `how` decodes the
    audio (decode.py) that the two distances are of; SNR is there for the mean and for the likeliest class. The reference is
    the int16 target, so predictions without a fault keep mu-law's noise: `python -m train.baselines` says how much.
    """
    rows, of_algorithms, of_clips = [], [], []
    for one in sets:
        generator = torch.Generator().manual_seed(0)  # so each evaluation draws the same numbers
        parts = tqdm(one.batches(batch), f"evaluate {one.name}", -(-len(one) // batch), leave=False, delay=2)
        measured = [_measured(model, each, one.sample_rate, device, precision, how, generator) for each in parts]
        columns = {name: torch.cat([each[name] for each in measured]).cpu().double() for name in measured[0]}
        spread = {"bits_se": standard_error(columns["bits"].numpy())}
        means = average(columns, one.examples.target)
        rows.append({"set": one.name, "samples": len(one), "decode": how, "bits": means.pop("bits"), **spread, **means})
        algorithms = torch.tensor(one.algorithms)
        for number in algorithms.unique().tolist():
            bits = columns["bits"][algorithms == number]
            of_algorithms.append({"set": one.name, "algorithm": number, "samples": len(bits), "bits": bits.mean().item()})
        of_clips += [
            {"set": one.name, "split": split, "sample": j, "bits": bits}
            for (split, j), bits in zip(one.places, columns["bits"].tolist(), strict=True)
        ]
    return rows, of_algorithms, of_clips


def average(columns: dict[str, Tensor], target: Tensor) -> dict[str, float]:
    """Means of metrics over clips, (N,) each; target: theirs, int16 (N, L)."""
    audible = ~metrics.silent(target / 32768)
    return {name: (each[audible] if name in _OF_SIGNALS else each).mean().item() for name, each in columns.items()}


def _measured(
    model: nn.Module, examples: Example, sample_rate: int, device, precision: str, how: str, generator: torch.Generator
) -> dict[str, Tensor]:
    """Every metric of each clip, by its column, (B,)."""
    logits = predicted(model, examples, device, precision)
    target = examples.target.to(device)
    classes, reference = mu_law(target, mu_law_table(device)), target / 32768
    hits = metrics.accuracies(logits, classes)
    return {
        "bits": metrics.bits_per_sample(logits, classes),
        **{f"accuracy_{rank}": part for rank, part in zip(metrics.RANKS, hits.T, strict=True)},
        "snr_mean_db": metrics.snr_db(decode(logits, "mean"), reference),
        "snr_argmax_db": metrics.snr_db(decode(logits, "argmax"), reference),
        **spectral_distances(decode(logits, how, generator), reference, sample_rate),
    }


def spectral_distances(generated: Tensor, reference: Tensor, sample_rate: int) -> dict[str, Tensor]:
    """By their columns, (B,)."""
    return {
        "mrstft": metrics.multi_resolution_stft_distance(generated, reference, sample_rate),
        "mel_db": metrics.log_mel_distance(generated, reference, sample_rate),
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


def generated(
    model: nn.Module, examples: Example, device: torch.device | str, precision: str = "fp32", how: str = "mean"
) -> Tensor:
    """What the model makes of the sources, int16 audio (B, L) on the CPU. how: one of decode.DECODERS."""
    generator = torch.Generator().manual_seed(0)
    return int16(decode(predicted(model, examples, device, precision), how, generator).cpu())


def write_wavs(folder: Path, examples: Example, audio: Tensor, sample_rate: int) -> None:
    """{i}-source.wav, {i}-target.wav and {i}-generated.wav of each example and of what was generated from it (B, L)."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, clips in (("source", examples.source), ("target", examples.target), ("generated", audio)):
        for i, clip in enumerate(clips.numpy()):
            (folder / f"{i}-{name}.wav").write_bytes(wav(clip, sample_rate))
