"""The Mamba layers against recurrences written from the papers' formulas, step by step, and against mamba-ssm's kernels."""

import importlib.util
import math

import pytest

torch = pytest.importorskip("torch")
F = torch.nn.functional

from models.layers import mamba1, mamba_layer, rotation, ssd  # noqa: E402  (after the check for torch)
from models.layers.mamba1 import Mamba1  # noqa: E402
from models.layers.mamba2 import Mamba2  # noqa: E402
from models.layers.mamba3 import Mamba3, scan_segment, trapezoid  # noqa: E402

WIDTH = 16
LAYERS = {
    "mamba1": lambda **k: Mamba1(WIDTH, chunk_size=32, **k),
    "mamba1-wide-conv": lambda **k: Mamba1(WIDTH, d_state=5, d_conv=9, dt_rank=3, bias=True, conv_bias=False, **k),
    "mamba2": lambda **k: Mamba2(WIDTH, d_state=16, headdim=8, **k),
    "mamba2-groups": lambda **k: Mamba2(WIDTH, d_state=8, headdim=4, ngroups=2, bias=True, dt_limit=(0.01, 0.5), **k),
    "mamba2-norm": lambda **k: Mamba2(WIDTH, d_state=16, headdim=8, bc_norm=True, d_conv=1, **k),
    "mamba2-rotary": lambda **k: Mamba2(WIDTH, d_state=16, headdim=8, rotary=True, d_conv=16, **k),
    "mamba2-all": lambda **k: Mamba2(
        WIDTH, d_state=8, headdim=8, ngroups=2, bc_norm=True, rotary=True, rope_fraction=1.0, **k
    ),
    "mamba2-turning": lambda **k: Mamba2(WIDTH, d_state=16, headdim=16, bc_norm=True, rotary=True, **k),
    "mamba3": lambda **k: Mamba3(WIDTH, d_state=16, headdim=16, dt_max=1.0, **k),
    "mamba3-groups": lambda **k: Mamba3(
        WIDTH, d_state=16, headdim=16, ngroups=2, is_outproj_norm=True, rope_fraction=1.0, **k
    ),
}


def build(name: str, seed: int = 0, **options):
    torch.manual_seed(seed)
    layer = LAYERS[name](**options)
    with torch.no_grad():  # values that no initialisation has: a swapped or forgotten parameter must show
        for parameter in layer.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return layer


def stepped(layer, u, state=None):
    state = layer.initial_state(len(u)) if state is None else state
    outputs = []
    for t in range(u.shape[1]):
        y, state = layer.step(u[:, t], state)
        outputs.append(y)
    return torch.stack(outputs, 1), state


def leaves(state):
    return [state] if isinstance(state, torch.Tensor) else [leaf for part in state for leaf in leaves(part)]


@pytest.mark.parametrize(("batch", "length"), [(1, 1), (3, 2), (2, 63), (1, 65), (2, 200), (1, 1100)])
@pytest.mark.parametrize("name", LAYERS)
@torch.no_grad()
def test_parallel_is_step_by_step(name, batch, length):
    layer = build(name)
    u = torch.randn(batch, length, WIDTH)
    y, state = stepped(layer, u)
    assert y.shape == u.shape
    assert (layer(u) - y).abs().max() < 1e-4 * max(1.0, y.abs().max().item())
    assert all(leaf.dtype == torch.float32 for leaf in leaves(state))
    assert [leaf.shape for leaf in leaves(state)] == [leaf.shape for leaf in leaves(layer.initial_state(batch))]


@pytest.mark.parametrize("name", LAYERS)
def test_output_sees_no_future(name):
    layer, u = build(name).double(), torch.randn(1, 150, WIDTH, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(layer(u)[:, 70].sum(), u)
    assert gradient[:, 71:].abs().max() == 0
    assert gradient[:, :71].abs().amin(-1).amin() > 0


@pytest.mark.parametrize("name", LAYERS)
def test_gradients(name):
    """Gradients of the input and of every parameter, in double, across a border of chunks."""
    layer = build(name).double()
    u = torch.randn(1, 5, WIDTH, dtype=torch.float64, requires_grad=True)
    layer.chunk_size = 3
    names = [n for n, _ in layer.named_parameters()]

    def output(u, *values):
        return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (u,))

    values = [p.detach().clone().requires_grad_() for p in layer.parameters()]
    assert torch.autograd.gradcheck(output, (u, *values), fast_mode=True)


@pytest.mark.parametrize("name", LAYERS)
def test_segments_are_computed_again_for_gradients(name, monkeypatch):
    layer, u = build(name).double(), torch.randn(2, 40, WIDTH, dtype=torch.float64)
    whole = torch.autograd.grad(layer(u).square().sum(), list(layer.parameters()))
    layer.chunk_size = 7
    for module in ("models.layers.mamba2", "models.layers.mamba3"):
        monkeypatch.setattr(f"{module}.SEGMENT", 14)
    parts = torch.autograd.grad(layer(u).square().sum(), list(layer.parameters()))
    assert all(torch.allclose(a, b, rtol=1e-9, atol=1e-12) for a, b in zip(whole, parts, strict=True))


def uniform(*shape, low=0.0, high=1.0):
    return torch.empty(*shape, dtype=torch.float64).uniform_(low, high)


def randn(*shape):
    return torch.randn(*shape, dtype=torch.float64)


@pytest.mark.parametrize("length", [1, 2, 31, 97])
def test_mamba1_scan(length):
    torch.manual_seed(length)
    x, dt, A = randn(2, length, 3), uniform(2, length, 3, high=2.0), -uniform(3, 4, low=0.01, high=16.0)
    B, C, h = randn(2, length, 4), randn(2, length, 4), randn(2, 3, 4)
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        parts = [t.to(dtype) for t in (x, dt, B, C)]
        y, last = mamba1.selective_scan(*parts, A.to(dtype), h.to(dtype))
        again, last = mamba_layer.run_segments(mamba1.selective_scan, tuple(parts), (A.to(dtype),), h.to(dtype), 16)
        assert (y - again).abs().max() < tolerance
        expected, state = [], h
        for t in range(length):
            decay = torch.exp(dt[:, t, :, None] * A)
            state = decay * state + dt[:, t, :, None] * B[:, t, None] * x[:, t, :, None]
            expected.append((state * C[:, t, None]).sum(-1))
        assert (y - torch.stack(expected, 1)).abs().max() < tolerance
        assert (last - state).abs().max() < tolerance


@pytest.mark.parametrize("chunk", [1, 8, 64])
@pytest.mark.parametrize("length", [1, 7, 65, 130])
def test_mamba2_scan(length, chunk):
    torch.manual_seed(length)
    x, dt, A = randn(2, length, 4, 3), uniform(2, length, 4, high=1.0), -uniform(4, low=0.01, high=16.0)
    B, C, h = randn(2, length, 2, 5), randn(2, length, 2, 5), randn(2, 4, 3, 5)
    for dtype, tolerance in ((torch.float64, 1e-11), (torch.float32, 1e-4)):
        parts = [t.to(dtype) for t in (x, A * dt, dt, B, C)]
        y, last = ssd.ssd(*parts, chunk, h.to(dtype))
        expected, state = [], h
        for t in range(length):
            B_t, C_t = B[:, t, [0, 0, 1, 1]], C[:, t, [0, 0, 1, 1]]  # heads 0, 1 share group 0
            drive = dt[:, t, :, None, None] * x[:, t, :, :, None] * B_t[:, :, None]
            state = torch.exp(A * dt[:, t])[..., None, None] * state + drive
            expected.append((state * C_t[:, :, None]).sum(-1))
        assert (y - torch.stack(expected, 1)).abs().max() < tolerance
        assert (last - state).abs().max() < tolerance


@pytest.mark.parametrize("length", [1, 7, 65, 130])
def test_mamba3_scan(length):
    """In complex numbers: a pair of states that turns by an angle is one complex state times e^(i angle)."""
    torch.manual_seed(length)
    x, dt, A = randn(2, length, 2, 3), uniform(2, length, 2), -uniform(2, length, 2, low=0.01, high=2.0)
    B, C, trap, rate = randn(2, length, 1, 6), randn(2, length, 1, 6), randn(2, length, 2), randn(2, length, 2)
    B_bias, C_bias = randn(2, 6), randn(2, 6)
    now, weight = trapezoid(dt, trap)
    state = torch.zeros(2, 2, 2).double(), torch.zeros(2, 2, 3, 6).double()
    y, _ = scan_segment(x, A * dt, weight, now, B, C, dt, rate, B_bias, C_bias, 16, state)

    def pairs(t):
        return torch.view_as_complex(t.unflatten(-1, (-1, 2)).contiguous())

    h = torch.zeros(2, 2, 3, 3, dtype=torch.complex128)
    before, expected = torch.zeros_like(h), []
    for t in range(length):
        step = F.pad(dt[:, t, :, None] * math.pi * torch.tanh(rate[:, t, None]), (0, 1))  # the third pair does not turn
        share, decay = torch.sigmoid(trap[:, t]), torch.exp(A[:, t] * dt[:, t])
        # the state turns back where the angle of B and C would go on: Re(C conj(h)) is the same
        spin = torch.exp(-1j * step)[:, :, None]
        drive = x[:, t, :, :, None] * pairs(B[:, t] + B_bias)[:, :, None]
        h = (decay[..., None, None] * spin) * (h + ((1 - share) * dt[:, t])[..., None, None] * before)
        h = h + (share * dt[:, t])[..., None, None] * drive
        before = drive
        expected.append((pairs(C[:, t] + C_bias)[:, :, None].conj() * h).real.sum(-1))
    assert (y - torch.stack(expected, 1)).abs().max() < 1e-11


def test_angles_of_a_long_sequence():
    dt, rate = torch.full((1, 40_000, 1), 0.9), torch.full((1, 40_000, 1), 0.3)
    exact = (math.pi * torch.tanh(rate.double()) * dt.double()).cumsum(1)[..., None]
    difference = torch.exp(1j * exact) - torch.exp(1j * rotation.accumulate_angles(dt, rate).double())
    assert difference.abs().max() < 2e-2  # 40,000 roundings of the product to float32, no more
    assert rotation.accumulate_angles(dt.double(), rate.double()).sub(torch.remainder(exact, 2 * math.pi)).abs().max() < 1e-9


def test_initial_values():
    torch.manual_seed(0)
    one = Mamba1(64)
    assert torch.equal(one.A_log, torch.log(torch.arange(1.0, 17.0)).repeat(128, 1))
    assert one.dt_proj.weight.abs().max() <= one.dt_rank**-0.5
    assert one.dt_proj.bias._no_reinit
    two, three = Mamba2(64, headdim=1), Mamba3(64, d_state=16, headdim=1)
    A = two.A_log.exp()
    assert 1 <= A.min() < 1.5
    assert 15.5 < A.max() <= 16.0001
    for bias in (one.dt_proj.bias, two.dt_bias, three.dt_bias):
        dt = F.softplus(bias)
        assert 0.999e-3 <= dt.min() < 2e-3
        assert 0.05 < dt.max() <= 0.1001
        assert 0.25 < (dt < 1e-2).float().mean() < 0.75  # uniform in log dt: half lies below 0.01
    assert all((layer.D == 1).all() for layer in (one, two, three))
    assert (three.B_bias == 1).all()
    assert (three.C_bias == 1).all()


MAMBA_SSM_SHAPES = {  # of mamba-ssm 2.3.2.post1
    "mamba1": "A_log 32x16, D 32, in_proj.weight 64x16, conv1d.weight 32x1x4, conv1d.bias 32, x_proj.weight 33x32, "
    "dt_proj.weight 32x1, dt_proj.bias 32, out_proj.weight 16x32",
    "mamba2": "dt_bias 4, A_log 4, D 4, in_proj.weight 100x16, conv1d.weight 64x1x4, conv1d.bias 64, norm.weight 32, "
    "out_proj.weight 16x32",
    "mamba3": "dt_bias 2, B_bias 2x1x16, C_bias 2x1x16, D 2, in_proj.weight 106x16, B_norm.weight 16, C_norm.weight 16, "
    "out_proj.weight 16x32",
}


@pytest.mark.parametrize("name", MAMBA_SSM_SHAPES)
def test_names_and_shapes_are_mamba_ssms(name):
    ours = {key: "x".join(map(str, value.shape)) for key, value in LAYERS[name]().state_dict().items()}
    assert ours == dict(entry.split() for entry in MAMBA_SSM_SHAPES[name].split(", "))


@pytest.mark.parametrize("name", LAYERS)
def test_no_weight_decay_on_time_constants_and_norms(name):
    for key, parameter in LAYERS[name]().named_parameters():
        projection = key.endswith(("proj.weight", "conv1d.weight"))
        ordinary_bias = key in ("in_proj.bias", "out_proj.bias", "conv1d.bias")  # one-dimensional: exempt by that rule
        assert getattr(parameter, "_no_weight_decay", False) != (projection or ordinary_bias), key


@pytest.mark.parametrize("name", LAYERS)
def test_autocast_keeps_states_in_float32(name):
    layer, u = build(name), torch.randn(2, 70, WIDTH)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = layer(u)
        y.float().square().mean().backward()
        with torch.no_grad():
            steps, state = stepped(layer, u)
    assert all(leaf.dtype == torch.float32 for leaf in leaves(state))
    assert all(parameter.grad.isfinite().all() for parameter in layer.parameters())
    exact = layer(u).detach()
    for result in (y, steps):
        assert (result.float() - exact).abs().max() < 0.05 * exact.abs().max()


@pytest.mark.parametrize("name", LAYERS)
def test_extreme_time_steps_give_no_nan(name):
    layer, u = build(name), 300 * torch.randn(1, 130, WIDTH)
    y = layer(u)
    y.sum().backward()
    assert y.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in layer.parameters())


BAD_SETTINGS = [
    (lambda: Mamba2(16, headdim=12), "headdim=12 must divide d_inner=32: the nearest legal values are 8 and 16"),
    (lambda: Mamba3(16, headdim=64), "headdim=64 must divide d_inner=32: the nearest legal values are 32"),
    (lambda: Mamba2(16, headdim=8, ngroups=3), "ngroups=3 must divide nheads=4: the nearest legal values are 2 and 4"),
    (lambda: Mamba3(16, d_state=7, headdim=8), "nearest legal value is 8"),
    (lambda: Mamba3(16, headdim=8, rope_fraction=0.3), "must be 0.5 or 1.0"),
    (lambda: Mamba1(16, expand=1.3), "nearest legal expand is 1.3125"),
    (lambda: Mamba1(16, d_conv=0), "d_conv=0 must be a whole number from 1: the nearest legal one is 1"),
    (lambda: Mamba1(16, dt_min=0.2), "0 < dt_min <= dt_max"),
    (lambda: Mamba1(16, kernels="triton"), "use 'auto'"),
    (lambda: Mamba2(16, headdim=8, A_init_range=(0, 1)), "A_init_range"),
    (lambda: mamba_layer.check_int32(2**29, 4, "B x L"), "use a batch of at most 3"),
    (lambda: mamba_layer.check_int32(2**32, 1, "B x L"), "use shorter sequences"),
]


@pytest.mark.parametrize(("make", "message"), BAD_SETTINGS)
def test_impossible_settings_name_the_rule_and_a_legal_value(make, message):
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        make()


def test_a_broken_installation_is_an_error(tmp_path, monkeypatch):
    (tmp_path / "broken_kernels.py").write_text("import no_such_library_anywhere")
    monkeypatch.syspath_prepend(tmp_path)
    assert mamba_layer.import_or_explain("no_such_library_anywhere") is None
    with pytest.raises(ImportError, match="make mamba"):
        mamba_layer.import_or_explain("broken_kernels")


def peak_error(ours, theirs):
    return ((ours - theirs).abs().max() / theirs.abs().max().clamp(min=1e-12)).item()


# Mamba3's kernel is used in bfloat16 alone, hence wider bounds for what it computes. Gradients of dt, which is up to 1 here,
# are sums of terms that cancel: 6e-2 was seen.
PRECISIONS = [(name, "bf16" if name.startswith("mamba3") else "fp32") for name in LAYERS] + [("mamba2-turning", "bf16")]
KERNEL_BOUNDS = {"fp32": (1e-3, 2e-2), "bf16": (2e-2, 1e-1)}


@pytest.mark.gpu
@pytest.mark.parametrize("length", [65, 300])
@pytest.mark.parametrize(("name", "precision"), PRECISIONS)
def test_kernels_agree_with_torch(name, precision, length):
    """Outputs, and gradients of the input and of every parameter: A, dt and the convolution among them."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA GPU")
    if importlib.util.find_spec("mamba_ssm") is None:
        pytest.skip("mamba-ssm is not installed: make mamba")
    kernel, plain = build(name).cuda(), build(name, kernels="torch").cuda()
    u = torch.randn(2, length, WIDTH, device="cuda")
    target = torch.randn_like(u)
    results = []
    for layer in (kernel, plain):
        source = u.clone().requires_grad_()
        with torch.autocast("cuda", torch.bfloat16, enabled=precision == "bf16"):
            y = layer(source)
        (y * target).sum().backward()
        gradients = {key: parameter.grad for key, parameter in layer.named_parameters()}
        results.append((y.detach(), {"input": source.grad, **gradients}))
    (y, gradients), (y_plain, gradients_plain) = results
    bound, gradient_bound = KERNEL_BOUNDS[precision]
    assert peak_error(y, y_plain) < bound
    errors = {key: peak_error(gradients[key], gradients_plain[key]) for key in gradients_plain}
    assert max(errors.values()) < gradient_bound, errors
