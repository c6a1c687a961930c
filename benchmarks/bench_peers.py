"""The engine on a GPU beside two other synthesizers on the same card: synthax (JAX) and torchsynth (PyTorch).

    pip install synthax==0.2.2 torchsynth==1.0.2 "jax[cuda13]"
    PYTHONPATH=. python benchmarks/bench_peers.py [--patches PATH ...] [--voices N ...] [--batches N ...] [--runs N]

Each renders 4 s at 44.1 kHz into GPU memory. Its parameters are there when the clock starts: drawing them, which the
peers' own benchmarks count, is left out for all. Wall time of a synchronised batch, median, after one that compiles; a
process for each program. After each peer, a line that compares the best rows.

The tasks differ. dx7data plays DX7 patches, FM of six operators, to 16-bit integers. The peers play subtractive voices to
float32, without gradients: each `Voice` is a sine, a square-saw and noise, with envelopes and LFOs at 441 Hz; synthax's
ParametricSynth, with the counts that are its defaults, adds a sine that modulates another.
"""

import argparse
import multiprocessing
import pkgutil
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from types import SimpleNamespace

from dx7data.engine.speed import RATE, SECONDS, describe_machine, draw_voices, prepare_mix, time_stages


def with_dx7data(patches: list[str], batch: int):
    """A call that plays so many voices and waits for them, and the name of what plays; so for each program."""
    from numba import cuda

    from dx7data.engine.cuda import zeros
    from dx7data.engine.device import choose
    from dx7data.patches import bank

    choose("cuda")
    mix = prepare_mix(draw_voices(bank.load(patches).patches, batch), zeros((batch, int(SECONDS * RATE)), "int16"))
    name = cuda.get_current_device().name
    return partial(time_stages, mix), name.decode() if isinstance(name, bytes) else name


def with_synthax(kind: str, batch: int):
    import jax
    from synthax import synth
    from synthax.config import SynthConfig

    voices = getattr(synth, kind)(config=SynthConfig(batch, RATE, SECONDS))
    parameters, play = jax.jit(voices.init)(jax.random.PRNGKey(0)), jax.jit(voices.apply)
    return lambda: play(parameters).block_until_ready(), jax.devices()[0].device_kind


def with_torchsynth(batch: int):
    import pytorch_lightning
    import torch

    # torchsynth 1.0.2 imports a module that Lightning 2 has renamed, and pkg_resources, which newer setuptools lack.
    sys.modules["pytorch_lightning.core.lightning"] = pytorch_lightning.core
    sys.modules["pkg_resources"] = SimpleNamespace(resource_string=pkgutil.get_data)
    from torchsynth.config import SynthConfig
    from torchsynth.synth import Voice

    torch.cuda.empty_cache()  # what the smaller batch held
    device, name = ("cuda", torch.cuda.get_device_name()) if torch.cuda.is_available() else ("cpu", "cpu")
    voices = Voice(SynthConfig(batch, RATE, SECONDS, reproducible=False)).to(device)
    voices.on_post_move_to_device()  # Lightning 2 no longer calls it
    return lambda: voices()[0][-1, -1].item(), name  # item() waits for the GPU


def measure(program, batch: int, runs: int) -> tuple[float, str]:
    """Median seconds of a batch, and on what."""
    play, device = program(batch)
    times = []
    for _ in range(1 + runs):
        began = time.perf_counter()
        play()
        times.append(time.perf_counter() - began)
    return statistics.median(times[1:]), device


def best(name: str, program, batches: list[int], runs: int) -> float:
    """Samples a second. Prints a row for each batch, up to the first that fails, as one too large does."""
    rates = [0.0]
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as alone:
        for batch in batches:
            try:
                took, device = alone.submit(measure, program, batch, runs).result()
            except Exception as reason:  # each fails in its own way, and the others go on
                why = f"{type(reason).__name__}: {reason}".splitlines()[0]
                print(f"| {name} | {batch:,} | {why} | | | |", flush=True)
                break
            rates.append(batch * SECONDS * RATE / took)
            row = f"{took * 1e3:.1f} | {rates[-1] / 1e9:.2f} | {rates[-1] / RATE:,.0f} | {device}"
            print(f"| {name} | {batch:,} | {row} |", flush=True)
    return max(rates)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--patches", nargs="+", default=["example"], help="default: the example bank")
    parser.add_argument("--voices", nargs="+", type=int, default=[32768, 131072], help="in a batch of dx7data")
    parser.add_argument("--batches", nargs="+", type=int, default=[128, 512, 1024, 2048, 4096], help="of the peers")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    print(
        f"{describe_machine()}\n\n| | batch | ms | G samples/s | x real time | on |\n|---|---|---|---|---|---|", flush=True
    )
    ours = best("dx7data", partial(with_dx7data, options.patches), options.voices, options.runs)
    for name, program in (
        ("torchsynth Voice", with_torchsynth),
        ("synthax ParametricSynth", partial(with_synthax, "ParametricSynth")),
        ("synthax Voice", partial(with_synthax, "Voice")),
    ):
        peers = best(name, program, options.batches, options.runs)
        if ours and peers:
            print(f"| dx7data is {ours / peers:.1f} x {name} | | | | | |", flush=True)
    sys.exit(not ours)


if __name__ == "__main__":
    main()
