"""What `python -m train.doctor` runs in processes of their own: `python -m train.doctor.probe mamba2` prints JSON.

A C++ abort in an extension, which no `except` catches, ends the probe and not the doctor.
"""

import importlib
import importlib.util
import json
import math
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

BATCH, LENGTH = 2, 300  # 300 steps cross a border of Mamba2's chunks of 256
TYPICAL = 14, 4000  # clips in memory and steps of each, as the predecessor trained: half a second at 8 kHz


def machine() -> dict:
    """The GPU as torch sees it, and the compiler that extensions of this torch would be built with."""
    import torch
    import torchaudio  # noqa: F401  (beside another torch it does not import)
    from torch.utils.cpp_extension import CUDA_HOME

    from train.wheels import read_cuda_version

    found = {"cuda": torch.version.cuda, "nvcc": read_cuda_version(f"{CUDA_HOME}/bin/nvcc"), "gpu": None, "reason": ""}
    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        capability = "{}.{}".format(*torch.cuda.get_device_capability())
        return found | {"gpu": torch.cuda.get_device_name(), "capability": capability, "free": free, "total": total}
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:  # AssertionError: a torch without CUDA
        found["reason"] = str(error).splitlines()[0]
    return found


def guards() -> dict:
    """Our own checks, tried on what they are there for."""
    import torch

    from models.layers.mamba1 import Mamba1
    from models.layers.mamba2 import Mamba2
    from models.layers.mamba3 import Mamba3
    from models.layers.mamba_layer import INT32, check_int32
    from models.memory import check_memory
    from models.registry import MODELS

    one, two = Mamba1(16), Mamba2(16, headdim=8)
    u = torch.randn(1, 5, 16)
    models = {name: make() for name, make in MODELS.items()}
    batch, length = TYPICAL
    return {
        "one contract": all(layer(u).shape == u.shape for layer in (one, two, Mamba3(16, headdim=8))),
        "weights refused": refuses(lambda: two.load_state_dict(one.state_dict())),
        "long refused": refuses(lambda: check_int32(INT32, 1, "size")),
        "d_state": max(options.get("d_state", 0) for model in models.values() for options in model.options.values()),
        "bytes": {name: check_memory(models[name], batch, length).bytes for name in ("mamba1", "mamba2")},
        "growth": check_memory(models["mamba2"], batch, 2 * length).bytes
        / check_memory(models["mamba2"], batch, length).bytes,
    }


def refuses(act: Callable[[], object]) -> bool:
    try:
        act()
    except (ValueError, RuntimeError):
        return True
    return False


def imports() -> dict:
    """Whether causal-conv1d was lost on the way, and where Triton keeps what it compiles. Raises what importing raises."""
    from models.layers.mamba_layer import configure_triton

    convolution = importlib.util.find_spec("causal_conv1d") is not None
    if convolution:
        importlib.import_module("causal_conv1d_cuda")
        importlib.import_module("causal_conv1d")
    importlib.import_module("selective_scan_cuda")
    importlib.import_module("mamba_ssm")
    # mamba-ssm keeps None where causal-conv1d does not import, whatever the reason.
    combined = importlib.import_module("mamba_ssm.ops.triton.ssd_combined")
    configure_triton()
    knobs = importlib.import_module("triton.knobs")
    cache = Path(knobs.cache.dir).absolute()
    there = next(folder for folder in (cache, *cache.parents) if folder.exists())
    return {
        "convolution lost": convolution and combined.causal_conv1d_fwd_function is None,
        "cache": str(cache),
        "cache writable": os.access(there, os.W_OK),
    }


def layer(name: str) -> dict:
    """The layer of a model of MODELS: how far mamba-ssm's kernels are from plain torch, and seconds of two calls."""
    import torch

    from models.registry import LAYERS, MODELS

    torch.backends.cudnn.allow_tf32 = False  # what is compared with has to be float32
    torch.manual_seed(0)
    settings = MODELS[name]()
    kind = settings.layers[0]
    kernels: Any = LAYERS[kind](settings.d_model, **settings.options[kind]).cuda()  # a MambaLayer
    plain = LAYERS[kind](settings.d_model, kernels="torch", **settings.options[kind]).cuda()
    plain.load_state_dict(kernels.state_dict())
    u, direction = torch.randn(2, BATCH, LENGTH, settings.d_model, device="cuda")
    if not kernels.use_kernels(u):
        raise RuntimeError("the layer did not take mamba-ssm's kernels")

    rounds = kind == "mamba3"  # its kernel is used in bfloat16 alone

    def call(layer: Any, half: bool = rounds) -> tuple[dict, float]:
        layer.zero_grad()
        start = time.perf_counter()
        with torch.autocast("cuda", torch.bfloat16, enabled=half):
            y = layer(u)
        (y.float() * direction).sum().backward()
        torch.cuda.synchronize()
        gradients = {key: parameter.grad for key, parameter in layer.named_parameters()}
        return {"output": y.detach()} | gradients, time.perf_counter() - start

    found, first_seconds = call(kernels)
    _, second_seconds = call(kernels)
    expected, _ = call(plain)
    half, _ = call(kernels, half=True)
    return {
        "off": {key: peak_error(found[key], expected[key]) for key in expected},
        "not finite in bf16": [key for key, tensor in half.items() if not tensor.isfinite().all()],
        "first seconds": first_seconds,
        "second seconds": second_seconds,
    }


def peak_error(ours: Any, theirs: Any) -> float:
    """The largest difference, relative to the largest value. Infinite where there is a NaN: no comparison may pass it."""
    error = ((ours - theirs).abs().max() / theirs.abs().max()).item()
    return error if math.isfinite(error) else math.inf


def main(name: str) -> None:
    probes = {"machine": machine, "guards": guards, "imports": imports}
    try:
        figures = probes[name]() if name in probes else layer(name)
    except Exception as error:  # whatever it is, it is what the doctor has to report
        figures = {"error": f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"}
    print(json.dumps(figures))


if __name__ == "__main__":
    main(sys.argv[1])
