"""Time and memory of a training step on a GPU, by model and by how its kernels are launched.

    PYTHONPATH=. python benchmarks/bench_step.py [--models s4 mamba2 ...] [--ways graph ...] [--batch 28] [--length 4000]
        [--headdim 64] [--precision bf16]

A small model may wait for Python to launch its kernels. `eager` launches each of them; `graph` replays the forward and
backward pass as a CUDA graph, as the trainer does; `compile` is torch.compile. A step is forward, backward and AdamW on
random classes. Medians of synchronised steps, after a warm-up that compiles and tunes and is reported apart.
"""

import argparse
import dataclasses
import gc
import statistics
import time

import torch

from models.model import build
from models.registry import MODELS, preset
from train.evaluation.loss import target_loss
from train.loop import optim
from train.loop.cudagraph import Replay

WAYS = ("eager", "graph", "compile", "compile+graph")
STEPS, WARM = 20, 4


def settings(name, headdim):
    """Of a model of MODELS, with heads of another size where it has heads."""
    found = preset(name)
    options = {kind: given | {"headdim": headdim} if "headdim" in given else given for kind, given in found.options.items()}
    return dataclasses.replace(found, options=options) if headdim else found


def measure(model, way, batch, length, precision):
    """Milliseconds of a step, seconds of the warm-up, gigabytes."""
    torch.manual_seed(0)
    torch.cuda.reset_peak_memory_stats()
    model = build(model).cuda()
    optimiser = optim.make_adamw(optim.group_parameters(model, 1e-3, 0.0))
    tokens, target = torch.randint(0, 256, (2, batch, length), device="cuda")
    forward = torch.compile(model) if "compile" in way else model

    def gradients(tokens, target):
        with torch.autocast("cuda", torch.bfloat16, enabled=precision == "bf16"):
            logits = forward(tokens)
        loss = target_loss(logits, target)
        loss.backward()
        return loss.detach()

    if "graph" in way:
        gradients = Replay(gradients, tokens.device)
    times, began = [], time.perf_counter()
    for step in range(WARM + STEPS):
        if step == WARM:
            warm = time.perf_counter() - began
        start = time.perf_counter()
        optimiser.zero_grad(set_to_none=False)
        gradients(tokens, target)
        optimiser.step()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    if "graph" in way and gradients.refused:
        raise RuntimeError(gradients.refused)
    return 1e3 * statistics.median(times[WARM:]), warm, torch.cuda.max_memory_allocated() / 1e9


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--batch", type=int, default=28)
    parser.add_argument("--length", type=int, default=4000)
    parser.add_argument("--headdim", type=int, help="of Mamba2 and Mamba3, instead of the model's own")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="bf16")
    options = parser.parse_args()
    torch.set_float32_matmul_precision("highest")
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, {options.precision}")
    heads = f", headdim {options.headdim}" if options.headdim else ""
    print(f"batch {options.batch} x {options.length} steps, the SaShiMi of models/registry.py{heads}\n")
    print("| model | launched | ms a step | M tokens/s | peak GB | warm-up, s |\n|---|---|---|---|---|---|")
    for name in options.models:
        for way in options.ways:
            try:
                step, warm, memory = measure(
                    settings(name, options.headdim), way, options.batch, options.length, options.precision
                )
                rate = options.batch * options.length / step / 1e3
                print(f"| {name} | {way} | {step:.1f} | {rate:.2f} | {memory:.1f} | {warm:.1f} |", flush=True)
            except RuntimeError as error:  # of CUDA, of the compiler: the other ways are worth their figures
                print(f"| {name} | {way} | failed: {str(error).splitlines()[0]} |", flush=True)
            torch._dynamo.reset()
            gc.collect()
            torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
