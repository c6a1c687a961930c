"""S4 and S4D: kernels against closed forms, convolution against recurrence, and what no tensor may grow to."""

import functools
import math

import numpy as np
import pytest
import torch
from scipy.linalg import solve
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from models.layers.s4 import S4, Powers
from models.layers.s4d import S4D, causal_convolution, compute_kernels, hippo_legs

LAYERS = {
    "s4": S4,
    **{f"s4d-{init}": functools.partial(S4D, init=init) for init in ("lin", "inv", "legs")},
    "s4d-bilinear": functools.partial(S4D, discretisation="bilinear"),
}
TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-9}


@pytest.fixture(params=LAYERS)
def name(request):
    return request.param


@pytest.fixture(params=TOLERANCE, ids=str)
def dtype(request):
    before = torch.get_default_dtype()
    torch.set_default_dtype(request.param)
    yield request.param
    torch.set_default_dtype(before)


def build(name, d_model=6, seed=0, **settings):
    torch.manual_seed(seed)
    return LAYERS[name](d_model, **settings)


def array(parameter):
    return parameter.detach().double().numpy()


def complex_array(parameter):
    return torch.view_as_complex(parameter.detach().double()).numpy()


def both(half):
    """All conjugate states from the half that is kept."""
    return np.concatenate((half, half.conj()))


def off_by(found, expected):
    """The largest difference, relative to each channel's peak."""
    found = found.detach().double().numpy()
    return (abs(found - expected).max(-1) / abs(expected).max(-1)).max()


def hippo(N):
    """HiPPO-LegS element by element, as its definition is written."""
    A = np.array(
        [[-math.sqrt((2 * n + 1) * (2 * k + 1)) if n > k else -(n + 1.0) * (n == k) for k in range(N)] for n in range(N)]
    )
    return A, np.sqrt(2 * np.arange(N) + 1.0)


def eigenbasis(N):
    """The N/2 eigenvectors of the normal part with positive frequency, V* B positive."""
    A, B = hippo(N)
    frequency, V = np.linalg.eigh(-1j * (A + np.outer(B, B) / 2 + np.eye(N) / 2))
    V = V[:, frequency > 0]
    return frequency[frequency > 0], V * np.exp(1j * np.angle(V.conj().T @ B))


def recurrence(A, B, C, dt, length):
    """C A^l B of the bilinear discretisation of dense matrices, one power after the other."""
    left, right = np.eye(len(A)) - dt / 2 * A, np.eye(len(A)) + dt / 2 * A
    step, x = solve(left, right), solve(left, dt * B)
    kernel = np.empty(length)
    for position in range(length):
        kernel[position] = (C @ x).real
        x = step @ x
    return kernel


@pytest.mark.parametrize("length", [1, 2, 3, 64, 257, 3000])
@pytest.mark.parametrize("N", [2, 8, 64])
def test_s4_kernel_is_that_of_dense_hippo(length, N, dtype):
    layer = build("s4", d_state=N)
    A, B = hippo(N)
    C = 2 * (complex_array(layer.C) @ eigenbasis(N)[1].conj().T).real  # in the coordinates in which HiPPO is defined
    dt = np.exp(array(layer.log_dt))
    expected = np.array([recurrence(A, B, C[h], dt[h], length) for h in range(6)])
    found = layer.kernel(length)
    assert found.dtype == dtype
    assert found.shape == (6, length)
    assert off_by(found, expected) < TOLERANCE[dtype]


def test_s4_kernel_away_from_its_initialisation(dtype):
    """Any Lambda, P, B: the dense matrix over all conjugate states, built from the parameters."""
    layer = build("s4", d_state=16)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    P, B, C = both(complex_array(layer.P)), both(complex_array(layer.B)), complex_array(layer.C)
    A = np.diag(both(-np.exp(array(layer.log_A_real)) + 1j * array(layer.A_imag))) - np.outer(P, P.conj())
    expected = np.array([recurrence(A, B, both(C[h]), dt, 700) for h, dt in enumerate(np.exp(array(layer.log_dt)))])
    assert off_by(layer.kernel(700), expected) < TOLERANCE[dtype]


@pytest.mark.parametrize("length", [1, 2, 3, 257, 40_000])
@pytest.mark.parametrize("init", ["lin", "inv", "legs"])
@pytest.mark.parametrize("discretisation", ["zoh", "bilinear"])
def test_s4d_kernel_is_its_closed_form(length, init, discretisation, dtype):
    torch.manual_seed(1)
    layer = S4D(3, init=init, discretisation=discretisation)
    A = -np.exp(array(layer.log_A_real)) + 1j * array(layer.A_imag)
    z = A * np.exp(array(layer.log_dt))[:, None]
    if discretisation == "zoh":
        exponent, B = z, (np.exp(z) - 1) / A
    else:
        exponent, B = np.log((1 + z / 2) / (1 - z / 2)), z / A / (1 - z / 2)
    weight = complex_array(layer.C) * B
    expected = 2 * np.einsum("hn,hnl->hl", weight, np.exp(exponent[..., None] * np.arange(length))).real
    assert off_by(layer.kernel(length), expected) < TOLERANCE[dtype]


def test_initial_matrices():
    lin, inv = (S4D(2, d_state=8, init=init) for init in ("lin", "inv"))
    assert lin.A_imag[1].tolist() == pytest.approx([0, math.pi, 2 * math.pi, 3 * math.pi])
    assert inv.A_imag[0].tolist() == pytest.approx([8 / math.pi * (8 / n - 1) for n in (1, 3, 5, 7)])
    assert lin.log_A_real.exp().unique().tolist() == pytest.approx([0.5])
    frequency, V = eigenbasis(64)
    Lambda, P, B = hippo_legs(64)
    np.testing.assert_allclose(Lambda.numpy(), -0.5 + 1j * frequency, rtol=1e-9)
    np.testing.assert_allclose(B.numpy(), abs(V.conj().T @ hippo(64)[1]), rtol=1e-9)
    torch.testing.assert_close(P, B / math.sqrt(2))
    dt = S4(4000).log_dt.exp()
    assert 1e-3 <= dt.min() < 1.01e-3 < 0.099 < dt.max() <= 0.1
    assert dt.log().mean().item() == pytest.approx(math.log(1e-2), abs=0.1)


@pytest.mark.parametrize(("batch", "length"), [(1, 1), (3, 2), (2, 37), (1, 1000), (2, 4097)])
def test_steps_equal_the_convolution(name, batch, length):
    layer = build(name, d_model=5)
    x = torch.randn(batch, length, 5)
    with torch.no_grad():
        parallel, state, outputs = layer(x), layer.initial_state(batch), []
        for position in x.unbind(1):
            y, state = layer.step(position, state)
            outputs.append(y)
    assert state.dtype == torch.float32
    assert parallel.shape == x.shape
    assert (parallel - torch.stack(outputs, 1)).abs().max() < 1e-4


def test_convolution_is_causal_and_does_not_wrap():
    u, kernel = torch.randn(2, 3, 101, dtype=torch.float64), torch.randn(3, 101, dtype=torch.float64)
    expected = [[np.convolve(u[b, h], kernel[h])[:101] for h in range(3)] for b in range(2)]
    np.testing.assert_allclose(causal_convolution(u, kernel).numpy(), expected, atol=1e-12)


def test_gradients_are_those_of_finite_differences(name):
    layer = build(name, d_model=2, d_state=4).double()
    parameters = dict(layer.named_parameters())

    def run(x, *values):
        return torch.func.functional_call(layer, dict(zip(parameters, values, strict=True)), x)

    assert torch.autograd.gradcheck(
        run, (torch.randn(1, 11, 2, dtype=torch.float64, requires_grad=True), *parameters.values())
    )


def test_kernels_made_together():
    """Of layers that differ in kind, states and width, and of one that is no S4: those that each makes by itself."""
    names = ["s4", "s4d-lin", "s4", "s4d-legs", "s4d-bilinear", "s4d-lin"]
    options = [{"seed": i, "d_model": 3 + i} for i in range(5)] + [{"d_state": 2}]
    layers = [build(name, **given).double() for name, given in zip(names, options, strict=True)]
    made = compute_kernels([*layers, torch.nn.Linear(4, 4)], 300)
    assert made.pop() is None
    for layer, kernel in zip(layers, made, strict=True):
        alone = layer.kernel(300)
        assert (kernel - alone).abs().max() < 1e-12 * alone.abs().max()
        parameters = [layer.C, *(p for p in layer.parameters() if hasattr(p, "_lr_cap"))]
        shape = torch.randn_like(kernel)
        ours, theirs = (torch.autograd.grad(each, parameters, shape, retain_graph=True) for each in (kernel, alone))
        for one, other in zip(ours, theirs, strict=True):
            assert (one - other).abs().max() < 1e-9 * other.abs().max()


def test_autocast_leaves_the_state_space_in_float32(name):
    layer, x = build(name, d_model=4), torch.randn(2, 50, 4)
    kernel, y = layer.kernel(50), layer(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(x.bfloat16()).dtype == torch.bfloat16  # the Linear
        assert layer.kernel(50).equal(kernel)
        assert (layer(x) - y).abs().max() < 0.05
        out, state = layer.step(x[:, 0].bfloat16(), layer.initial_state(2))
    assert out.dtype == torch.bfloat16
    assert state.dtype == torch.float32


@pytest.mark.parametrize("last", [False, True])
def test_gradients_of_powers_under_autocast(last):
    """A training loop of one's own may call backward within autocast, which rounds products to bfloat16."""
    first, factor = torch.randn(2, 1, 6, requires_grad=True), (torch.randn(2, 6, 6) / 3).requires_grad_()
    rows, power = Powers.apply(first, factor, 8, last)
    expected = torch.cat([first @ torch.linalg.matrix_power(factor, k) for k in range(8)], 1)
    loss, plain = rows.square().sum(), expected.square().sum()
    if last:
        loss, plain = loss + power.square().sum(), plain + torch.linalg.matrix_power(factor, 8).square().sum()
    with torch.autocast("cpu", torch.bfloat16):
        found = torch.autograd.grad(loss, (first, factor))
    torch.testing.assert_close(found, torch.autograd.grad(plain, (first, factor)), rtol=1e-4, atol=1e-4)


def test_weights_of_16_bits(name):
    layer, x = build(name, d_model=4), torch.randn(2, 50, 4)
    y = layer.bfloat16()(x.bfloat16())
    assert y.dtype == torch.bfloat16
    assert (layer.float()(x) - y).abs().max() < 0.1


def test_second_derivatives_of_powers_are_refused():
    """Its squares are made without a graph, so these would be wrong."""
    first, factor = torch.randn(2, 1, 6), (torch.randn(2, 6, 6) / 3).requires_grad_()
    rows, _ = Powers.apply(first, factor, 8, False)
    (grad,) = torch.autograd.grad(rows.square().sum(), factor, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()


def test_hints_for_the_optimiser(name):
    hints = {key: (hasattr(p, "_no_weight_decay"), getattr(p, "_lr_cap", None)) for key, p in build(name).named_parameters()}
    own_rate = {"log_dt", "log_A_real", "A_imag"} | ({"P", "B"} if name == "s4" else set())
    assert {key for key, (exempt, _) in hints.items() if exempt} == own_rate | {"C", "D"}
    assert {key for key, (_, cap) in hints.items() if cap == 1e-3} == own_rate


def test_what_cannot_be_built():
    with pytest.raises(ValueError, match="even number"):
        S4(4, d_state=7)
    with pytest.raises(ValueError, match="lin, inv or legs"):
        S4D(4, init="real")
    with pytest.raises(ValueError, match="zoh or bilinear"):
        S4D(4, discretisation="euler")
    with pytest.raises(ValueError, match="dt_min"):
        S4D(4, dt_min=0.2)


class Largest(TorchDispatchMode):
    """Notes the most bytes that one tensor takes, in forward and backward."""

    size = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                self.size = max(self.size, leaf.numel() * leaf.element_size())
        return result


def test_no_tensor_of_channels_by_states_by_length(name):
    H, N, L = 4, 64, 40_000
    layer = build(name, d_model=H, d_state=N)
    with Largest() as largest:
        layer(torch.randn(1, L, H)).square().mean().backward()
    assert all(parameter.grad.isfinite().all() for parameter in layer.parameters())
    # The gradient of the FFT, complex on all 2 L padded positions; H N L floats would be 15 times that.
    assert largest.size < 8 * H * 2.1 * L
