"""Kernels that stand for torch in bfloat16: in float32 in Triton's interpreter, and as they are on a GPU."""

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("triton", reason="torch has no Triton on this machine")

from torch.utils.checkpoint import checkpoint  # noqa: E402  (after the checks)

from models.layers import activation, linear, mamba2, norm, s4d, split, ssd  # noqa: E402  (after the checks)
from models.model import build  # noqa: E402
from models.settings import ModelSettings  # noqa: E402


def distances(found, exact):
    """Relative to the root mean square."""
    return [((a.double() - b.double()).norm() / b.double().norm()).item() for a, b in zip(found, exact, strict=True)]


def differentiate(function, leaves, upstream):
    """Outputs and gradients."""
    leaves = [leaf.detach().clone().requires_grad_() for leaf in leaves]
    outputs = function(*leaves)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    torch.autograd.backward(outputs, [given.to(output.dtype) for given, output in zip(upstream, outputs, strict=True)])
    return [*(output.detach() for output in outputs), *(leaf.grad for leaf in leaves)]


def compare_convolution(batch, length, channels, dtype, device):
    torch.manual_seed(0)
    x, upstream = torch.randn(2, batch, length, channels, device=device).to(dtype)
    kernel = torch.randn(channels, length, device=device) * torch.exp(-torch.arange(length, device=device) / 20)

    def plain(x, kernel):
        return torch.nn.functional.gelu(s4d.causal_convolution(x.mT, kernel).mT)

    exact = differentiate(plain, (x.double(), kernel.double()), [upstream])
    return distances(differentiate(s4d.LongConvolution.apply, (x, kernel), [upstream]), exact)


def compare_norm(batch, length, channels, dtype, device):
    torch.manual_seed(0)
    x, y, one, two = torch.randn(4, batch, length, channels, device=device)
    weight, bias = torch.randn(2, channels, device=device)

    def ours(x, y, weight, bias):
        return norm.AddNorm.apply(x, y, weight, bias, 1e-5)

    def plain(x, y, weight, bias):
        return x + y, torch.nn.functional.layer_norm(x + y, (channels,), weight, bias)

    leaves = x, y.to(dtype), weight, bias
    exact = differentiate(plain, [leaf.double() for leaf in leaves], (one, two))
    return distances(differentiate(ours, leaves, (one, two)), exact)


def compare_activation(rows, width, glu, dtype, device):
    torch.manual_seed(0)
    z, bias = torch.randn(rows, width, device=device).to(dtype), torch.randn(width, device=device)
    upstream = torch.randn(rows, width // (1 + glu), device=device)

    def plain(z, bias):
        return torch.nn.functional.glu(z + bias) if glu else torch.nn.functional.gelu(z + bias)

    exact = differentiate(plain, (z.double(), bias.double()), [upstream])
    return distances(differentiate(lambda z, bias: activation.Activation.apply(z, bias, glu), (z, bias), [upstream]), exact)


def compare_linear(rows, wide, narrow, dtype, device):
    torch.manual_seed(0)
    x, upstream = torch.randn(rows, wide, device=device).to(dtype), torch.randn(rows, narrow, device=device)
    weight, bias = torch.randn(narrow, wide, device=device), torch.randn(narrow, device=device)

    def ours(x, weight, bias):
        made = torch.nn.functional.linear(x, weight.to(dtype), bias.detach().to(dtype))
        return linear.AddedBias.apply(made, bias)

    exact = differentiate(torch.nn.functional.linear, [leaf.double() for leaf in (x, weight, bias)], [upstream])
    return distances(differentiate(ours, (x, weight, bias), [upstream]), exact)


def compare_gated_norm(batch, length, channels, dtype, device):
    """The gate is a part of wider rows, as in Mamba2."""
    torch.manual_seed(0)
    x, both = (torch.randn(batch, length, width, device=device).to(dtype) for width in (channels, 2 * channels))
    weight, upstream = torch.randn(channels, device=device), torch.randn(batch, length, channels, device=device)

    def ours(x, both, weight):
        return norm.GatedNorm.apply(x, both[..., 3 : 3 + channels], weight, 1e-5)

    def plain(x, both, weight):
        gated = x * torch.nn.functional.silu(both[..., 3 : 3 + channels])
        return torch.nn.functional.rms_norm(gated, (channels,), weight, 1e-5)

    leaves = x, both, weight
    exact = differentiate(plain, [leaf.double() for leaf in leaves], [upstream])
    return distances(differentiate(ours, leaves, [upstream]), exact)


def compare_scan(batch, length, heads, headdim, groups, state, limits, dtype, device):
    torch.manual_seed(0)
    inner, shared = heads * headdim, groups * state
    xBC = torch.randn(batch, length, inner + 2 * shared, device=device).to(dtype)
    raw = 2 * torch.randn(batch, length, heads + 3, device=device).to(dtype)  # a part of wider rows, as in Mamba2
    bias, D = torch.randn(2, heads, device=device) - 4, torch.randn(heads, device=device)
    bias, A_log, upstream = bias[0], bias[1] + 5, torch.randn(batch, length, inner, device=device)

    def ours(xBC, raw, *of_heads):
        return ssd.ScanInChunks.apply(xBC, raw[..., 3:], *of_heads, limits, None, heads, headdim, groups, state)

    def plain(xBC, raw, bias, A_log, D):
        dt, A = torch.nn.functional.softplus(raw[..., 3:] + bias).clamp(*limits), -torch.exp(A_log)
        x, B, C = xBC.split([inner, shared, shared], dim=-1)
        x, B, C = x.unflatten(-1, (heads, -1)), B.unflatten(-1, (groups, -1)), C.unflatten(-1, (groups, -1))
        before = torch.zeros(batch, heads, headdim, state, dtype=torch.float64, device=device)
        y, _ = ssd.ssd(x, A * dt, dt, B, C, 64, before)
        return (y + D[:, None] * x).flatten(-2)

    leaves = xBC, raw, bias, A_log, D
    exact = differentiate(plain, [leaf.double() for leaf in leaves], [upstream])
    return distances(differentiate(ours, leaves, [upstream]), exact)


NO_LIMITS = 0.0, float("inf")
SMALL = [
    (compare_convolution, (3, 50, 5)),
    (compare_convolution, (2, 16, 17)),
    (compare_norm, (2, 7, 5)),
    (compare_norm, (3, 20, 24)),
    (compare_activation, (50, 12, False)),
    (compare_activation, (50, 12, True)),
    (compare_linear, (5, 6, 3)),
    (compare_linear, (200, 4, 21)),
    (compare_gated_norm, (3, 20, 12)),
    (compare_scan, (2, 37, 4, 16, 1, 16, NO_LIMITS)),
    (compare_scan, (1, 20, 4, 16, 2, 32, (0.01, 0.1))),
]
LARGE = [
    (compare_convolution, (28, 4000, 64)),
    (compare_convolution, (28, 250, 256)),
    (compare_norm, (28, 4000, 64)),
    (compare_norm, (3, 33, 100)),
    (compare_activation, (28 * 4000, 128, False)),
    (compare_activation, (28 * 4000, 128, True)),
    (compare_activation, (33, 200, True)),
    (compare_linear, (28 * 4000, 128, 64)),
    (compare_linear, (28 * 250, 512, 256)),
    (compare_linear, (1000, 30, 100)),
    (compare_gated_norm, (28, 4000, 128)),
    (compare_gated_norm, (3, 33, 100)),
    (compare_scan, (28, 4000, 8, 16, 1, 64, NO_LIMITS)),
    (compare_scan, (28, 250, 32, 16, 1, 64, NO_LIMITS)),
    (compare_scan, (2, 300, 4, 64, 2, 128, (0.01, 0.1))),
]
IDS = (
    [f"{compare.__name__}-{sizes}" for compare, sizes in SMALL],
    [f"{compare.__name__}-{sizes}" for compare, sizes in LARGE],
)


@pytest.mark.parametrize(("compare", "sizes"), SMALL, ids=IDS[0])
def test_as_torch_interpreted(compare, sizes, interpreter):
    assert max(interpreter.submit(compare, *sizes, torch.float32, "cpu").result()) < 1e-5


# What each module asks before it lets its kernel stand for torch.
ASKED = (
    (activation, "fits_activation"),
    (linear, "fits_bfloat16"),
    (norm, "fits_add_norm"),
    (norm, "fits_bfloat16"),
    (mamba2, "fits_bfloat16"),
    (s4d, "fits_long_convolution"),
)


def run_model(kernels):
    """Logits and gradients of a model on the CPU, by kernels or by torch."""
    torch.manual_seed(0)
    options = {"mamba2": {"headdim": 16, "d_state": 16}}
    model = build(ModelSettings(("s4", "s4d", "mamba2"), d_model=8, n_layers=3, ff=2, pool=(2,), options=options))
    tokens = torch.randint(0, 256, (2, 37))
    with pytest.MonkeyPatch.context() as patched:
        for module, name in ASKED if kernels else ():
            patched.setattr(module, name, lambda *given: True)
        if kernels:
            patched.setattr(mamba2.Mamba2, "_run_all", mamba2.Mamba2.run_kernels)  # which it runs on a GPU alone
        logits = model(tokens)
    logits.square().mean().backward()
    return [logits.detach(), *(parameter.grad for parameter in model.parameters())]


def compare_models():
    return distances(run_model(kernels=True), run_model(kernels=False))


def test_model_interpreted(interpreter):
    assert max(interpreter.submit(compare_models).result()) < 1e-4


def compare_checkpointed():
    """Gradients of a layer that is computed again for them."""
    torch.manual_seed(0)
    layer, u = mamba2.Mamba2(8, headdim=16, d_state=16), torch.randn(2, 37, 8)
    found = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(mamba2, "fits_bfloat16", lambda *given: True)
        patched.setattr(norm, "fits_bfloat16", lambda *given: True)
        for y in (layer.run_kernels(u), checkpoint(layer.run_kernels, u, use_reentrant=False)):
            found.append(torch.autograd.grad(y.square().sum(), list(layer.parameters())))
    return distances(found[1], found[0])


def test_checkpointed_interpreted(interpreter):
    assert max(interpreter.submit(compare_checkpointed).result()) < 1e-6


def differentiate_sum():
    x, y = torch.randn(2, 3, 8, requires_grad=True), torch.randn(2, 3, 8, requires_grad=True)
    whole, _ = norm.AddNorm.apply(x, y, torch.ones(8), torch.zeros(8), 1e-5)
    return [grad.unique().tolist() for grad in torch.autograd.grad(whole.sum(), (x, y))]


def test_a_sum_without_its_norm_interpreted(interpreter):
    assert interpreter.submit(differentiate_sum).result() == [[1.0], [1.0]]


def find_joins():
    """Of the gradients of Mamba2's projections, in two models: whether each was in its place."""
    found = []
    with pytest.MonkeyPatch.context() as patched:
        is_same = split._is_same
        patched.setattr(split, "_is_same", lambda one, other: found.append(is_same(one, other)) or found[-1])
        run_model(kernels=True)
        run_model(kernels=True)
    return found


def test_gradients_of_a_projection_are_written_in_place(interpreter):
    assert interpreter.submit(find_joins).result() == [True] * 3 * 2 * 2  # parts, layers, models


@pytest.mark.gpu
@pytest.mark.parametrize(("compare", "sizes"), LARGE, ids=IDS[1])
def test_as_torch(compare, sizes):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA GPU")
    assert max(compare(*sizes, torch.bfloat16, "cuda")) < 2e-2
    assert compare(*sizes, torch.bfloat16, "cuda") == compare(*sizes, torch.bfloat16, "cuda"), "sums in another order"
