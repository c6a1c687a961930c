"""Time and memory of a training step on a GPU, by model and by how its kernels are launched.

    PYTHONPATH=. python benchmarks/bench_step.py [--models s4 mamba1 ...] [--batch 28] [--length 4000] [--precision bf16]

A small model may wait for Python to launch its kernels. `eager` launches each of them; `graph` replays forward and
backward as CUDA graphs (torch.cuda.make_graphed_callables); `compile` is torch.compile. A step is forward, backward and
AdamW on random classes. Medians of synchronised steps, after a warm-up that compiles and tunes and is reported apart.
"""

import argparse
import gc
import statistics
import time

import torch

from models.config import MODELS, build, preset
from train import optim
from train.loss import target_loss

WAYS = ("eager", "graph", "compile")
STEPS, WARM = 20, 3


def launched(model, way, tokens):
    if way == "graph":
        return torch.cuda.make_graphed_callables(model, (tokens,))
    return torch.compile(model) if way == "compile" else model


def measure(name, way, batch, length, precision):
    """Milliseconds of a step, seconds of the warm-up, gigabytes."""
    torch.manual_seed(0)
    torch.cuda.reset_peak_memory_stats()
    model = build(preset(name)).cuda()
    optimiser = optim.adamw(optim.parameter_groups(model, 1e-3, 0.0))
    tokens, target = torch.randint(0, 256, (2, batch, length), device="cuda")
    # Weights that autocast has cast must not outlive the graph that they were cast in.
    half = {"dtype": torch.bfloat16, "enabled": precision == "bf16", "cache_enabled": way != "graph"}
    times, began = [], time.perf_counter()
    with torch.autocast("cuda", **half):
        forward = launched(model, way, tokens)
    for step in range(WARM + STEPS):
        if step == WARM:
            warm = time.perf_counter() - began
        start = time.perf_counter()
        optimiser.zero_grad()
        with torch.autocast("cuda", **half):
            logits = forward(tokens)
        target_loss(logits, target).backward()
        optimiser.step()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times[WARM:]), warm, torch.cuda.max_memory_allocated() / 1e9


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--batch", type=int, default=28)
    parser.add_argument("--length", type=int, default=4000)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="bf16")
    options = parser.parse_args()
    torch.set_float32_matmul_precision("highest")
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, {options.precision}")
    print(f"batch {options.batch} x {options.length} steps, the SaShiMi of models/config.py\n")
    print("| model | launched | ms a step | M tokens/s | peak GB | warm-up, s |\n|---|---|---|---|---|---|")
    for name in options.models:
        for way in options.ways:
            try:
                step, warm, memory = measure(name, way, options.batch, options.length, options.precision)
                rate = options.batch * options.length / step / 1e3
                print(f"| {name} | {way} | {step:.1f} | {rate:.2f} | {memory:.1f} | {warm:.1f} |", flush=True)
            except RuntimeError as error:  # of CUDA, of the compiler: the other ways are worth their figures
                print(f"| {name} | {way} | failed: {str(error).splitlines()[0]} |", flush=True)
            torch._dynamo.reset()
            gc.collect()
            torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
