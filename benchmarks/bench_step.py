"""Time and memory of a training step on a GPU, by model and by how its kernels are launched.

    PYTHONPATH=. python benchmarks/bench_step.py [--models s4 mamba2 ...] [--ways graph ...] [--batch 28] [--length 4000]
        [--headdim 64] [--precision bf16] [--without activation norm ...]

A small model may wait for Python to launch its kernels. `eager` launches each of them; `graph` replays the forward and
backward pass as a CUDA graph, as the trainer does it; `compile` is torch.compile. A step is forward, backward and AdamW on
random classes. Medians of synchronised steps, after a warm-up that compiles and tunes and is reported apart. The floor is
the time that this GPU needs to move the bytes of `count_work`, or for its operations, if that is longer. `--without` leaves
out kernels of ours, to see what each is worth.
"""

import argparse
import dataclasses
import gc
import statistics
import time

import torch
from torch import nn
from triton.testing import do_bench

from models.backbone import Block, SaShiMi
from models.layers import activation, linear, mamba2, norm, s4d
from models.layers.s4d import S4Block
from models.layers.sliding_attention import SlidingAttention
from models.layers.wavenet import WaveNet
from models.model import build
from models.registry import MODELS, preset
from train.evaluation.loss import target_loss
from train.loop import optim
from train.loop.cudagraph import Replay

# Kernels of ours: the modules, and what they ask before a kernel stands for torch.
OURS = {
    "activation": (activation, "fits_activation"),
    "linear": (linear, "fits_bfloat16"),
    "norm": (norm, "fits_add_norm"),
    "convolution": (s4d, "fits_long_convolution"),
    "scan": (mamba2, "fits_bfloat16"),
}
WAYS = ("eager", "graph", "compile", "compile+graph")
STEPS, WARM = 20, 4


def settings(name, headdim):
    """Of a model of MODELS, with heads of another size where it has heads."""
    found = preset(name)
    options = {kind: given | {"headdim": headdim} if "headdim" in given else given for kind, given in found.options.items()}
    return dataclasses.replace(found, options=options) if headdim else found


def count_work(model, batch, length):
    """The fewest bytes of GPU memory that a step in bf16 moves, all between two products being fused into one of them, and
    the operations of its linear layers.

    A product reads its input and writes its output; back, it reads the gradient and the input and writes a gradient: 6 bytes
    for each number of the input, 4 of the output. So does a sequence layer, and the short convolution in one. The residual
    stream is float32: each branch reads and writes it, back its gradient, and reads it once more for the gradient of the
    norm: 20 bytes. A parameter is read forth and back (8), its gradient written and read (8), AdamW reads and writes it and
    two moments (24), its average is read and written (8). The logits are written and read twice (8).
    """
    divisors = {id(layer): divisor for _, divisor, layer in model.backbone.layers()}
    linear, mixing, streams = [], [], 0  # positions, numbers in, numbers out
    for block in (part for part in model.modules() if isinstance(part, Block)):
        layer, width = block.layer, block.norm.normalized_shape[0]
        rows = batch * -(-length // divisors[id(layer)])
        linear += [(rows, part.in_features, part.out_features) for part in block.modules() if isinstance(part, nn.Linear)]
        if isinstance(layer, S4Block):
            mixing.append((rows, width, width))
        elif isinstance(layer, SlidingAttention):
            mixing.append((rows, 3 * width, width))
        elif not isinstance(layer, WaveNet):  # all of which can be fused into its products
            mixing.append((rows, layer.in_proj.out_features, layer.d_inner))
        if hasattr(layer, "conv1d"):
            mixing.append((rows, layer.conv1d.in_channels, layer.conv1d.in_channels))
        streams += rows * width * (1 if block.feed_forward is None else 2)
    if isinstance(model.backbone, SaShiMi):
        for divisor, *parts in zip(model.backbone.divisors[1:], model.backbone.down, model.backbone.up, strict=True):
            linear += [(batch * -(-length // divisor), part.in_features, part.out_features) for part in parts]
    head = batch * length, model.head.in_features, model.head.out_features
    parameters = sum(parameter.numel() for parameter in model.parameters())
    moved = sum(rows * (6 * inputs + 4 * outputs) for rows, inputs, outputs in [*linear, *mixing, head])
    moved += 20 * streams + 4 * head[0] * head[2] + 48 * parameters  # the head is counted as a product above
    return moved, 6 * sum(rows * inputs * outputs for rows, inputs, outputs in [*linear, head])


def measure_rates():
    """Bytes a second of a large copy, read and written, and operations a second of a large product in bfloat16."""
    source = torch.randn(1 << 28, device="cuda")
    copy = do_bench(source.clone, return_mode="median")
    square = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    product = do_bench(lambda: square @ square, return_mode="median")
    return 2e3 * source.nbytes / copy, 2e3 * 8192**3 / product


def measure(model, way, batch, length, precision, rates):
    """Milliseconds of the floor and of a step, seconds of the warm-up, gigabytes."""
    torch.manual_seed(0)
    torch.cuda.reset_peak_memory_stats()
    model = build(model).cuda()
    optimiser = optim.make_adamw(optim.group_parameters(model, 1e-3, 0.0))
    tokens, target = torch.randint(0, 256, (2, batch, length), device="cuda")
    forward = torch.compile(model) if "compile" in way else model

    def gradients(tokens, target):
        optimiser.zero_grad()
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
        gradients(tokens, target)
        optimiser.step()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    if "graph" in way and gradients.refused:
        raise RuntimeError(gradients.refused)
    floor = 1e3 * max(work / rate for work, rate in zip(count_work(model, batch, length), rates, strict=True))
    return floor, 1e3 * statistics.median(times[WARM:]), warm, torch.cuda.max_memory_allocated() / 1e9


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--batch", type=int, default=28)
    parser.add_argument("--length", type=int, default=4000)
    parser.add_argument("--headdim", type=int, help="of Mamba2 and Mamba3, instead of the model's own")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="bf16")
    parser.add_argument("--without", nargs="+", choices=OURS, default=[], help="leave out these kernels of ours")
    options = parser.parse_args()
    for name in options.without:
        setattr(*OURS[name], lambda *given: False)
    torch.set_float32_matmul_precision("highest")
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, {options.precision}")
    rates = measure_rates()
    print(f"copies {rates[0] / 1e12:.2f} TB/s, products {rates[1] / 1e12:.0f} T operations/s; floor for bf16")
    heads = f", headdim {options.headdim}" if options.headdim else ""
    print(f"batch {options.batch} x {options.length} steps, the SaShiMi of models/registry.py{heads}\n")
    print("| model | launched | ms a step | floor | M tokens/s | peak GB | warm-up, s |\n|---|---|---|---|---|---|---|")
    for name in options.models:
        for way in options.ways:
            try:
                floor, step, warm, memory = measure(
                    settings(name, options.headdim), way, options.batch, options.length, options.precision, rates
                )
                rate = options.batch * options.length / step / 1e3
                print(f"| {name} | {way} | {step:.1f} | {floor:.1f} | {rate:.2f} | {memory:.1f} | {warm:.1f} |", flush=True)
            except RuntimeError as error:  # of CUDA, of the compiler: the other ways are worth their figures
                print(f"| {name} | {way} | failed: {str(error).splitlines()[0]} |", flush=True)
            torch._dynamo.reset()
            gc.collect()
            torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
