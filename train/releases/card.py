"""The card of a released model: `README.md`, written from config.json alone, whose `record` is what the run has left."""

import shlex
from typing import Any

from dx7data.markup import escape_markdown

_TEXT = """---
license: apache-2.0
pipeline_tag: audio-to-audio
tags: [audio, music, synthesizer, dx7, fm, {model}]
---

# {title}

Plays a phrase of sine tones {voice}. The model is `{model}` with {parameters:,} parameters, for mono audio at {rate} Hz,
trained by dx7data. `python -m train.release` has written this folder, with every figure in it, from what the run has left.

```bash
python -m train.convert --pretrained {name} --source in.wav{patch} --out out.wav
```

## Training

| | |
|---|---|
| data | {data} |
| clips | {seconds:g} s at {rate} Hz |
| fingerprint of the plan | `{fingerprint}` |
| prefix | {prefix} |
| steps | {step:,} of {steps:,}, each of {batch} clips |
| time of these steps | {minutes:.1f} minutes, {device} |
| versions | {versions} |

```bash
{commands}
```

## Measured

On the clips of the run's evaluation: {sets}.
With the weights of this folder, in float32.

| set | clips | bits a sample | order-0 entropy | SNR of the mean | of the likeliest class |
|---|---|---|---|---|---|
{scores}

Bits a sample: the cross-entropy of the target's classes. A blind guess takes 8; to know how frequent each class is, and no
more, takes the order-0 entropy. Silence has an SNR of 0 dB. The weights were rounded to 16 bits:

| set | bits a sample by rounding | bits that the run recorded, before |
|---|---|---|
{rounding}

How audio is made of the predicted classes, by its distance from the target (log-mel in dB, multi-resolution STFT; less is
better):

| set | {decoders} |
|---|{lines}|
{heard}

`--decode {decode}` is the default of this model, for its log-mel distance is the smallest{where}.

## Files

`config.json` has the settings, the figures above, and a SHA-256 of each file of weights ({pieces}). The weights are the
averaged ones of the run, as float16 in safetensors. Licence: Apache-2.0.{rights}
"""

_RIGHTS = """
The patches that it was trained on are of the example bank, or bred from it, which is in the public domain (CC0-1.0).
"""
_READERS = {"mlp": "an MLP", "operators": "an MLP for all operators", "table": "a table of known voices"}
_SETS = {
    "unseen": "`unseen`, voices of near-duplicate groups that are in no training sample",
    "seen": "`seen`, voices of training with phrases that are in no training sample",
    "val": "`val`, phrases that are in no training sample",
}


def format_card(config: dict[str, Any]) -> str:
    """config: all of config.json."""
    settings, record = config["settings"], config["record"]
    rows = record["sets"]
    decoders = list(rows[0]["heard"])
    codec = settings["prefix"]
    return _TEXT.format(
        title=escape_markdown(record["title"]),
        name=shlex.quote(record["title"]),
        model=escape_markdown(settings["model_name"]),
        voice="in the voice of a DX7 patch, which the prefix gives" if codec else f"in the voice of {_name_voice(record)}",
        patch=" --patch example:5" if codec else "",
        parameters=record["parameters"],
        rate=settings["sample_rate"],
        data=_describe_data(record["plan"]),
        seconds=record["clip_seconds"],
        fingerprint=record["plan"]["fingerprint"],
        prefix=f"`{codec}`, read by {_name_reader(settings['model'])}" if codec else "none",
        step=config["step"],
        steps=settings["steps"],
        batch=settings["batch"],
        minutes=record["training_seconds"] / 60,
        device=escape_markdown(record["versions"].get("device", "unknown")),
        versions=", ".join(
            f"{name} {escape_markdown(text)}" for name, text in record["versions"].items() if name != "device"
        ),
        commands="\n".join(map(shlex.join, record["commands"])),
        sets="; ".join(_SETS.get(row["set"], f"`{escape_markdown(row['set'])}`") for row in rows),
        scores="\n".join(map(_write_scores, rows)),
        rounding="\n".join(map(_write_rounding, rows)),
        decoders=" | ".join(f"`{how}`" for how in decoders),
        lines="|".join(["---"] * len(decoders)),
        heard="\n".join(map(_write_distances, rows)),
        decode=config["decode"],
        where=f" on `{escape_markdown(record['decoder_chosen_on'])}`" if len(rows) > 1 else "",
        pieces=len(config["pieces"]),
        rights=_RIGHTS if record["plan"]["benchmark"] else "",
    )


def _name_voice(record: dict[str, Any]) -> str:
    plan = record["plan"]
    return escape_markdown(plan["voices"][0]) if plan["patches"] == 1 else f"one of {plan['patches']:,} patches"


def _name_reader(model: dict[str, Any]) -> str:
    if not model["film"]:
        return "the layers"
    return f"{_READERS[model.get('film_reader', 'mlp')]} (FiLM)"


def _describe_data(plan: dict[str, Any]) -> str:
    benchmark = f"benchmark `{plan['benchmark']}`: " if plan["benchmark"] else ""
    voices = f"{plan['patches']:,} patches" if plan["patches"] > 1 else f"the patch {escape_markdown(plan['voices'][0])}"
    if (phrases := plan.get("phrases")) is not None:  # releases of earlier versions don't say
        kinds = f"{phrases:,} phrases from music"
    else:
        kinds = ", ".join(plan["kinds"]) or "phrases of all kinds"
    return f"{benchmark}{voices} and {plan['samples']:,} samples for training, {kinds}"


def _write_scores(row: dict[str, Any]) -> str:
    error = _write(row["bits_se"], " ± {:.3f}")  # of one clip there is none
    figures = [f"{row['bits']:.3f}{error}", f"{row['order0_bits']:.3f}"]
    figures += [_write(row[name], "{:.1f} dB") for name in ("snr_mean_db", "snr_argmax_db")]  # nor SNR of silent targets
    return f"| {escape_markdown(row['set'])} | {row['samples']:,} | {' | '.join(figures)} |"


def _write_rounding(row: dict[str, Any]) -> str:
    recorded = "not evaluated at this step" if row["recorded_bits"] is None else f"{row['recorded_bits']:.4f}"
    return f"| {escape_markdown(row['set'])} | {row['change']:+.5f} | {recorded} |"


def _write_distances(row: dict[str, Any]) -> str:
    cells = [f"{heard['mel_db']:.2f} dB{_write(heard['mrstft'], ', {:.3f}')}" for heard in row["heard"].values()]
    return f"| {escape_markdown(row['set'])} | {' | '.join(cells)} |"


def _write(number: float | None, form: str) -> str:
    """Nothing where it is not known."""
    return "" if number is None else form.format(number)
