"""Evaluation: how well a model does on samples that it was not trained on, by metrics, by algorithm, and as audio."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import default_collate

from dx7data.audio.wav import encode_wav
from dx7data.files import write_atomically
from dx7data.output import log, progress_bar
from dx7data.patches.patch import ALGORITHM, patch_name
from dx7data.plan.plan import Plan
from dx7data.plan.spec import Shard
from models.mulaw import mu_law_encode, mu_law_table, to_int16
from train.data.clips import Clips, LiveClips
from train.data.example import Example
from train.data.web import UrlClips
from train.evaluation import metrics
from train.evaluation.bootstrap import describe_error, standard_error
from train.evaluation.decode import decode

_AT_ONCE = 64  # clips that are made before the progress bar moves
_OF_SIGNALS = ("snr_db", "snr_mean_db", "snr_argmax_db", "mrstft")  # relative to the target's power, so not of silent ones


@dataclass(frozen=True)
class HeldOut:
    """N samples in memory that no training step sees; `name` says how far they are from those of training.

    "unseen": patches of near-duplicate groups that are in no training sample. "seen": patches of training, and phrases
    that are in no training sample. "val": instead of both, if the data set was split by phrase: all patches, and such
    phrases.
    """

    name: str
    places: list[tuple[str, int]]  # split and number; of "seen" in the plan that _find_unheard gives
    algorithms: list[int]  # 1-32, of the target's first layer
    sample_rate: int
    examples: Example  # int16 (N, P), (N, L), (N, L)
    voices: tuple[str, ...] = ()  # names of the target's patches, joined by " + "

    def __len__(self) -> int:
        return len(self.places)

    def batches(self, size: int) -> Iterator[Example]:
        """The samples in order, at most `size` at a time."""
        return map(Example._make, zip(*(part.split(size) for part in self.examples), strict=True))


def load_held_out(data: Clips | UrlClips, count: int = 32, whole: bool = False) -> list[HeldOut]:
    """The sets to evaluate a training on `data` with, `count` samples each, or as many as there are.

    They have the format of `data`: also its crop, at a start that is always the same, unless `whole`. They are rendered from
    the plan, so they need not be in any shard; workers of a DataLoader that are forks must have been started before. Data
    sets of format 2 can't be rendered: of these it is what their shards for validation have.
    """
    if isinstance(data, UrlClips):
        log.warning(
            "nothing is evaluated: what webdataset reads has no plan, so new samples can't be told apart from trained ones"
        )
        return []
    plan, found = data.plan, []
    options = _list_options(data, whole)
    by_phrase = plan.split_report["split_by"] == "phrase"
    if data.split != "val" and "val" in plan.counts:
        own = range(min(count, plan.counts["val"]))
        of_val = data.open_split("val", **options) if plan.old_fingerprint else _open_live(plan, "val", own, options)
        found.append(_gather("val" if by_phrase else "unseen", of_val, count))
    if found and by_phrase:
        return found  # what "seen" would be, seen patches and new phrases, "val" is already
    if plan.old_fingerprint:
        log.warning("there is no set of seen patches: it would have to be rendered, and the data set is of an old format")
    elif fresh := _find_unheard(plan, data.split, count):
        found.append(_gather("seen", _open_live(*fresh, options), count))
    else:
        log.warning("there is no set of seen patches: no phrases are left for them but those that they play in training")
    return found


def replay(data: Clips, one: HeldOut, plan: Plan) -> HeldOut:
    """The samples of a set of val as another plan has them, in which other patches play."""
    return _gather(one.name, _open_live(plan, "val", range(len(one)), _list_options(data)), len(one))


def _list_options(data: Clips, whole: bool = False) -> dict:
    """Of clips in the format of `data`."""
    crop = None if whole else data.format.crop
    return {"codec": data.format.codec, "sample_rate": data.format.sample_rate, "crop": crop}


def _find_unheard(plan: Plan, split: str, count: int) -> tuple[Plan, str, range] | None:
    """A plan, a split and numbers of samples in which its patches play what none plays in training."""
    if plan.phrases is None:  # drawn for each sample: beyond the last of the split there are others
        end = plan.counts[split]
        return plan, split, range(end, end + count)
    spare = next((other for other in ("val", "train") if other != split and len(plan.phrases.within(other))), None)
    if spare is None:
        return None
    splits = np.full(len(plan.phrases), "", f"U{len(split)}")
    splits[plan.phrases.within(spare)] = split
    return replace(plan, phrases=plan.phrases.with_splits(splits.tolist())), split, range(count)


def _open_live(plan: Plan, split: str, numbers: range, options: dict) -> LiveClips:
    return LiveClips(plan, split, [Shard(split, 0, j, 1) for j in numbers], **options)


def _gather(name: str, clips: Clips, count: int) -> HeldOut:
    """The first samples of some clips, in memory."""
    count = min(count, len(clips))
    parts = [range(i, min(i + _AT_ONCE, count)) for i in range(0, count, _AT_ONCE)]
    return HeldOut(
        name=name,
        places=[(clips.split, clips.sample_number(i)) for i in range(count)],
        algorithms=[int(clips.target_patches(i)[0, ALGORITHM]) + 1 for i in range(count)],
        sample_rate=clips.format.sample_rate,
        examples=default_collate(
            [
                each
                for part in progress_bar(parts, desc=f"prepare {name}", leave=False, delay=2)
                for each in clips.__getitems__(list(part))
            ]
        ),
        voices=tuple(" + ".join(map(patch_name, clips.target_patches(i))) for i in range(count)),
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
        parts = progress_bar(
            one.batches(batch), desc=f"evaluate {one.name}", total=-(-len(one) // batch), leave=False, delay=2
        )
        measured = [_measure(model, each, one.sample_rate, device, precision, how, generator) for each in parts]
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


def describe(row: dict) -> str:
    """A row for validation.csv as a person reads it."""
    return (
        f"{row['set']}: {row['bits']:.3f}{describe_error(row['bits_se'])} bits a sample, accuracy {row['accuracy_1']:.1%}, "
        f"SNR {row['snr_mean_db']:z.1f} dB (mean), {row['snr_argmax_db']:z.1f} dB (argmax), "
        f"log-mel distance {row['mel_db']:.1f} dB ({row['decode']})"
    )


def average(columns: dict[str, Tensor], target: Tensor) -> dict[str, float]:
    """Means of metrics over clips, (N,) each; target: theirs, int16 (N, L)."""
    audible = ~metrics.is_silent(target / 32768)
    return {name: (each[audible] if name in _OF_SIGNALS else each).mean().item() for name, each in columns.items()}


def _measure(
    model: nn.Module,
    examples: Example,
    sample_rate: int,
    device: torch.device | str,
    precision: str,
    how: str,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """Every metric of each clip, by its column, (B,)."""
    logits = predict(model, examples, device, precision)
    target = examples.target.to(device)
    classes, reference = mu_law_encode(target, mu_law_table(device)), target / 32768
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


def predict(model: nn.Module, examples: Example, device: torch.device | str, precision: str = "fp32") -> Tensor:
    """Logits of the target region, float32 (B, L, 256), without dropout or gradients. precision: "fp32" or "bf16"."""
    tokens = mu_law_encode(torch.cat([examples.prefix, examples.source], 1).to(device), mu_law_table(device))
    training = model.training
    model.eval()
    with torch.no_grad(), torch.autocast(torch.device(device).type, torch.bfloat16, enabled=precision == "bf16"):
        logits = model(tokens)
    model.train(training)
    return logits[:, examples.prefix.shape[1] :].float()


def generate(
    model: nn.Module, examples: Example, device: torch.device | str, precision: str = "fp32", how: str = "mean"
) -> Tensor:
    """What the model makes of the sources, int16 audio (B, L) on the CPU. how: one of decode.DECODERS."""
    generator = torch.Generator().manual_seed(0)
    return to_int16(decode(predict(model, examples, device, precision), how, generator).cpu())


def write_wavs(folder: Path, examples: Example, audio: Tensor, sample_rate: int) -> None:
    """{i}-source.wav, {i}-target.wav and {i}-generated.wav of each example and of what was generated from it (B, L)."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, clips in (("source", examples.source), ("target", examples.target), ("generated", audio)):
        for i, clip in enumerate(clips.numpy()):
            data = encode_wav(clip, sample_rate)
            write_atomically(folder / f"{i}-{name}.wav", lambda file, data=data: file.write(data))
