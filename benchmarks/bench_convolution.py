"""The short convolution of Mamba layers on a GPU, forward and backward: our kernel, causal-conv1d's, torch's.

    PYTHONPATH=. python benchmarks/bench_convolution.py

Of the largest tensors of the SaShiMi of models/registry.py, 28 clips of 4,000 steps and 256 channels, in bfloat16 with the
channels last. Medians, one after the other in one process.
"""

from functools import partial

import torch
import torch.nn.functional as F
from causal_conv1d import causal_conv1d_fn
from triton.testing import do_bench_cudagraph

from models.layers.convolution import causal_conv, depthwise_conv

BATCH, LENGTH, CHANNELS = 28, 4000, 256
WIDTHS = (4, 16)


def peer(x, conv):
    """causal-conv1d, which has 2 to 4 taps."""
    return causal_conv1d_fn(x.mT, conv.weight[:, 0], conv.bias, activation="silu").mT


def of_torch(x, conv):
    padded = F.pad(x.mT, (conv.kernel_size[0] - 1, 0))
    return F.silu(F.conv1d(padded, conv.weight.to(x.dtype), conv.bias.to(x.dtype), groups=CHANNELS)).mT


def milliseconds(way, x, conv, upstream):
    """Replayed as a CUDA graph, as the trainer does it: launching from Python would take longer than all of this."""
    return do_bench_cudagraph(
        lambda: torch.autograd.grad(way(x, conv), (x, *conv.parameters()), upstream), return_mode="median"
    )


def main():
    print(f"{torch.cuda.get_device_name()}, {BATCH} x {LENGTH} x {CHANNELS}, bfloat16\n")
    print("| width | | ms, forward and backward |\n|---|---|---|")
    x = torch.randn(BATCH, LENGTH, CHANNELS, device="cuda", dtype=torch.bfloat16, requires_grad=True)
    upstream = torch.randn_like(x)
    for width in WIDTHS:
        conv = depthwise_conv(CHANNELS, width, bias=True).cuda()
        ways = {"ours": partial(causal_conv, kernels=True), "causal-conv1d": peer, "torch": of_torch}
        if width > 4:
            del ways["causal-conv1d"]
        for name, way in ways.items():
            print(f"| {width} | {name} | {milliseconds(way, x, conv, upstream):.3f} |", flush=True)


if __name__ == "__main__":
    main()
