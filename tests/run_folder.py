"""Run folders as the trainer leaves them, made up: curves that fall, and clips that a bad model could have made."""

import csv
import json
import math

import numpy as np

from dx7data.audio.wav import encode_wav

CONFIG = {
    "settings": {
        "shards": "shards",
        "model_name": "s4",
        "preset": "base",
        "model": {"layers": ["s4"], "backbone": "sashimi", "d_model": 64, "n_layers": 8, "options": {"s4": {"d_state": 64}}},
        "split": "train",
        "prefix": "fsk",
        "sample_rate": 16000,
        "seconds": 1.0,
        "steps": 2000,
        "batch": 8,
        "accumulation": 1,
        "lr": 0.003,
        "precision": "bf16",
        "compile": False,
        "seed": 0,
        "evaluate_samples": 64,
    },
    "fingerprint": "0123456789abcdef" * 4,
    "parameters": 1_234_567,
    "versions": {"torch": "2.11.0", "device": "CPU"},
}
CLIP = 16000 + 8576  # samples of a crop and its prefix
FIRST_STEPS = 3  # whose time is not told


def config(**settings):
    return CONFIG | {"settings": CONFIG["settings"] | settings}


def write_table(path, rows):
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def make(folder, config=CONFIG, steps=2000, evaluate_every=250, final=1.9, seed=0, clips=2, rate=16000, seconds=2.5):
    """A run of so many steps, whose loss goes from 8 bits to `final`; `clips` fixed samples of `seconds`."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config, indent=1))

    def bits(step):
        return final + (8 - final) * math.exp(-step / 250)

    metrics, each = [], 0.0
    for step in range(1, steps + 1):
        if step % 10 == 1:  # the trainer looks at the clock every ten steps
            each = 0.4 + rng.exponential(0.01)
        timed = step > FIRST_STEPS
        metrics.append(
            {
                "step": step,
                "time": 0.41 * step,
                "loss_bits": bits(step) + rng.normal(0, 0.12),
                "lr": 0.003,
                "grad_norm": 1 + rng.exponential(),
                "step_seconds": each if timed else None,
                "data_seconds": rng.exponential(0.002) if timed else None,
                "tokens_per_second": config["settings"]["batch"] * CLIP / each if timed else None,
            }
        )
    write_table(folder / "metrics.csv", metrics)
    if steps == config["settings"]["steps"]:
        result = {
            "steps": steps,
            "first_steps_seconds": 41.25 + seed,
            "step_seconds": 0.4,
            "peak_memory_bytes": 3_456_789_012,
        }
        (folder / "result.json").write_text(json.dumps(result))
    evaluated = range(evaluate_every, steps + 1, evaluate_every)
    sets = {"unseen": 0.25, "seen": 0.05}
    validation = [
        {"step": step, "set": name, "samples": 64, "decode": "mean", "bits": bits(step) + worse + rng.normal(0, 0.01)}
        | {"bits_se": 0.0625}
        | {f"accuracy_{k}": 1 - math.exp(-k * 2 / (bits(step) + worse) ** 2) for k in (1, 3, 5, 10)}
        | {"snr_mean_db": 14 - 2 * bits(step) - worse, "snr_argmax_db": 12 - 2 * bits(step) - worse}
        | {"mrstft": bits(step) / 3 + worse, "mel_db": bits(step) * 2 + worse}
        for step in evaluated
        for name, worse in sets.items()
    ]
    algorithms = [
        {"step": step, "set": name, "algorithm": algorithm, "samples": 2, "bits": bits(step) + rng.normal(0, 0.3)}
        for step in evaluated
        for name in sets
        for algorithm in rng.permutation(np.arange(1, 33))[:25]
    ]
    if validation:
        write_table(folder / "validation.csv", validation)
        write_table(folder / "algorithms.csv", algorithms)
        hard = np.random.default_rng(99).normal(0, 1, 64)  # for every run alike
        of_clips = [
            {"step": evaluated[-1], "set": name, "split": "train", "sample": j}
            | {"bits": bits(evaluated[-1]) + worse + hard[j] + rng.normal(0, 0.1)}
            for name, worse in sets.items()
            for j in range(64)
        ]
        write_table(folder / "clips.csv", of_clips)
    for step in evaluated:
        for i in range(clips):
            write_clips(folder / "samples" / f"{step:08d}", i, notes(i, rate, seconds), math.exp(-step / 800), rate, rng)
    return folder


def write_clips(folder, i, pair, noise, rate, rng):
    """{i}-source.wav and so on; generated is the target, softer, with noise."""
    source, target = pair
    generated = np.clip(target * (1 - 0.3 * noise) + rng.normal(0, 6000 * noise, len(target)), -32768, 32767)
    folder.mkdir(parents=True, exist_ok=True)
    for kind, audio in {"source": source, "target": target, "generated": generated}.items():
        (folder / f"{i}-{kind}.wav").write_bytes(encode_wav(audio.astype(np.int16), rate))


def notes(i, rate, seconds):
    """The same notes as sines and as FM tones that decay, with a rest at the end."""
    time = np.arange(round(seconds * rate)) / rate
    source, target = np.zeros(len(time)), np.zeros(len(time))
    for k in range(4):
        since = time - k * seconds / 5
        frequency = 220 * 2 ** ((k * 4 + 3 * i) % 13 / 12)
        on = (since >= 0) & (since < seconds / 6)
        decay = np.exp(-np.maximum(since, 0) * 6) * (0.5 + 0.1 * k) * on
        phase = 2 * np.pi * frequency * since
        source += 0.3 * on * np.sin(phase)
        target += decay * np.sin(phase + 3 * decay * np.sin((2 + i) * phase))
    return np.rint(32000 * source), np.rint(32000 * target)
