"""Decay times and frequencies: against tables worked out by hand, and against what the layers' own recurrences do."""

import functools
import json
import math
import subprocess
import sys
from pathlib import Path

import documented
import numpy as np
import pytest
import torch
from PIL import Image
from scipy.linalg import solve_continuous_lyapunov

from models.layers.mamba1 import Mamba1
from models.layers.mamba2 import Mamba2
from models.layers.mamba3 import Mamba3
from models.layers.s4 import S4
from models.layers.s4d import S4D
from models.model import build
from models.registry import MODELS, preset
from models.timescales import lyapunov, modes
from train import timescales
from train.config import RunSettings
from train.loop import checkpoint
from train.timescales import Row, main, measure

ROOT = Path(__file__).resolve().parents[2]
RATE = 8000
WIDTH = 16
LEGS = functools.partial(S4D, init="legs", discretisation="bilinear")
NOISE = torch.randn(2, 512, WIDTH, generator=torch.Generator().manual_seed(1))


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def one_dt(kind, dt, d_model=1, **options):
    return kind(d_model, dt_min=dt, dt_max=dt, **options)


def ends(values):
    return np.min(values.numpy()), np.median(values.numpy()), np.max(values.numpy())


# --- Tables ---


@pytest.mark.parametrize(
    ("dt", "decay", "first", "last"), [(1e-3, 2000, 4, 124), (1e-2, 200, 40, 1240), (1e-1, 20, 400, 12400)]
)
def test_s4d_lin(dt, decay, first, last):
    """-1/2 + i pi n at zero-order hold: 1 / (dt / 2) steps, n dt / 2 cycles a step."""
    found = modes(one_dt(S4D, dt), None)
    np.testing.assert_allclose(found.decay, decay, rtol=1e-6)
    hz = RATE * found.frequency
    assert hz[0] == 0
    np.testing.assert_allclose(hz[[1, -1]], [first, last], rtol=1e-6)
    assert (found.frequency > 0.5).sum() == (21 if dt == 0.1 else 0)  # what aliases
    assert found.states == 64


@pytest.mark.parametrize(("dt", "hz"), [(1e-3, (0.3, 33, 1471)), (1e-2, (3.4, 332, 3612)), (1e-1, (34, 2340, 3961))])
@pytest.mark.parametrize("kind", [S4, LEGS])
def test_legs(kind, dt, hz):
    """The imaginary parts of HiPPO-LegS's normal part, 0.26, 26 and 1304, through the bilinear step."""
    found = modes(one_dt(kind, dt), None)
    # 2 %: the table is rounded, and coupling moves the states of S4 by 1 %.
    assert ends(RATE * found.frequency) == pytest.approx(hz, rel=0.02, abs=0.06)


@pytest.mark.parametrize("layer", [Mamba1, functools.partial(Mamba2, headdim=1, A_init_range=(1, 1.1))])
@pytest.mark.parametrize("dt", [1e-3, 1e-2, 1e-1])
def test_mamba(layer, dt):
    found = modes(one_dt(layer, dt, WIDTH), NOISE)
    rates = np.arange(1, 17) if layer is Mamba1 else np.array([1, 1.1])
    low, _, high = ends(found.decay)
    assert high == pytest.approx(1 / (dt * rates[0]), rel=0.02)
    assert low == pytest.approx(1 / (dt * rates[-1]), rel=0.02)
    assert not found.frequency.any()


@pytest.mark.parametrize(("dt", "hz"), [(1e-3, 4), (1e-2, 40), (1e-1, 400), (1, 4000)])
def test_mamba3(dt, hz):
    found = modes(one_dt(Mamba3, dt, WIDTH, d_state=16, headdim=8), NOISE)
    assert RATE * found.fastest == pytest.approx(hz, rel=1e-5)
    np.testing.assert_allclose(found.decay, 1 / (math.log(2) * dt), rtol=1e-5)  # A = -softplus(0)
    turning = RATE * found.frequency[found.frequency > 0]
    assert len(turning) == 4 * 4  # heads, angles: half of the states turn, and the others are one mode a head
    assert len(found.frequency) == 4 * 5
    assert (turning < 0.7 * hz * 1.6).all()  # dt moves with the input
    assert (turning > 0.2 * hz).all()


@pytest.mark.parametrize(
    ("kind", "percent"), [(S4D, (5, 5, 56, 24, 10)), (LEGS, (11, 9, 50, 29, 0)), (S4, (11, 9, 50, 29, 0))]
)
def test_bands(kind, percent):
    """dt log-uniform in 1e-3 to 1e-1."""
    layer = kind(400)
    with torch.no_grad():
        layer.log_dt.copy_(torch.linspace(math.log(1e-3), math.log(1e-1), 400))
    found = modes(layer, None)
    row = Row("", "", "", RATE, found.decay.numpy(), RATE * found.frequency.numpy(), 0, None, None)
    assert row.shares() == pytest.approx(percent, abs=1)
    assert row.shares().sum() == pytest.approx(100)


# --- What the recurrences do ---


def impulse_response(layer, steps):
    """States after an impulse at step 0, (steps, H, N/2), and the output without D, by `recur`."""
    state = torch.view_as_complex(layer.initial_state(1))
    states, outputs = [], []
    for t in range(steps):
        y, state = layer.recur(torch.full((1, layer.d_model), float(t == 0), dtype=layer.dtype), state)
        states.append(state[0])
        outputs.append(y[0])
    return torch.stack(states).numpy(), torch.stack(outputs).numpy()


@pytest.mark.parametrize("kind", [S4D, LEGS, functools.partial(S4D, init="inv")])
@pytest.mark.parametrize("n", [1, 5, 12])
@torch.no_grad()
def test_a_mode_of_s4d_by_linear_prediction(kind, n):
    """A damped cosine is y_t = 2 r cos(w) y_(t-1) - r^2 y_(t-2): r and w by least squares from the impulse response."""
    layer = one_dt(kind, 0.03).double()
    found = modes(layer, None)
    layer.C.zero_()
    layer.C[0, n, 0] = 1
    _, y = impulse_response(layer, 200)
    y = y[:, 0]
    (twice, square), *_ = np.linalg.lstsq(np.stack((y[1:-1], y[:-2]), 1), y[2:], rcond=None)
    r = math.sqrt(-square)
    assert found.decay[n].item() == pytest.approx(-1 / math.log(r), rel=1e-6)
    heard = math.acos(twice / (2 * r)) / (2 * math.pi)
    nominal = found.frequency[n].item()
    assert heard == pytest.approx(abs(nominal - round(nominal)), rel=1e-6)


@pytest.mark.parametrize(("dt", "steps"), [(0.02, 3000), (0.1, 1500)])
@torch.no_grad()
def test_states_of_s4_by_their_energy(dt, steps):
    layer = one_dt(S4, dt).double()
    found = modes(layer, None)
    h, _ = impulse_response(layer, steps)
    energy = abs(h[:, 0]) ** 2
    mean = (np.arange(steps)[:, None] * energy).sum(0) / energy.sum(0)
    np.testing.assert_allclose(found.decay, 2 / np.log1p(1 / mean), rtol=1e-4)
    turn = np.angle((h[1:, 0] * h[:-1, 0].conj()).sum(0))
    np.testing.assert_allclose(found.frequency, turn / (2 * math.pi), rtol=1e-4)


@torch.no_grad()
def test_s4_without_coupling_is_s4d():
    coupled, diagonal = one_dt(S4, 0.05), one_dt(LEGS, 0.05)
    coupled.P.zero_()
    for name in ("decay", "frequency"):
        np.testing.assert_allclose(getattr(modes(coupled, None), name), getattr(modes(diagonal, None), name), rtol=1e-6)


@torch.no_grad()
def test_eigenvalues_of_legs_are_real():
    """Why `modes` looks at energies: with few states -1 .. -N come out, with many they are lost in rounding."""

    def eigenvalues(d_state):
        layer = S4(1, d_state=d_state)
        half = (
            torch.complex(-layer.log_A_real.double().exp(), layer.A_imag.double()),
            torch.view_as_complex(layer.P.double()),
        )
        Lambda, P = (torch.cat((value, value.conj())) for value in half)
        return torch.linalg.eigvals(torch.diag(Lambda) - torch.outer(P, P.conj()))

    np.testing.assert_allclose(sorted(-eigenvalues(8).numpy(), key=np.real), np.arange(1, 9), atol=0.01)
    assert abs(eigenvalues(64).imag).max() > 10


def test_lyapunov():
    draw = torch.Generator().manual_seed(0)
    M, B = (torch.randn(20, 20, dtype=torch.complex128, generator=draw) for _ in range(2))
    A = M - M.mH - B @ B.mH / 20 - 0.01 * torch.eye(20)
    Q = B @ B.mH
    np.testing.assert_allclose(lyapunov(A, Q), solve_continuous_lyapunov(A.numpy(), -Q.numpy()), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("layer", [Mamba1, Mamba2, functools.partial(Mamba2, rotary=True, rope_fraction=1.0), Mamba3])
@torch.no_grad()
def test_decay_of_mamba_under_constant_input(layer):
    """Input 0 leaves dt and A to their biases, and a state to its decay."""
    options = {} if layer is Mamba1 else {"headdim": 8, "d_state": 8}
    layer = layer(WIDTH, **options).double()
    if hasattr(layer, "conv1d"):
        layer.conv1d.bias.zero_()  # its output feeds dt in Mamba1
    found = modes(layer, NOISE.double())
    state = list(layer.initial_state(1))
    state[1] = torch.ones_like(state[1])
    steps = []
    for _ in range(40):
        _, state = layer.step(torch.zeros(1, WIDTH, dtype=torch.float64), state)
        steps.append(state[1][0].flatten(1))
    slopes = np.polyfit(np.arange(40), torch.stack(steps).flatten(1).log().numpy(), 1)[0].reshape(steps[0].shape)
    decay = found.decay.reshape(len(slopes), -1).numpy()
    if not isinstance(layer, Mamba1):  # all states of a head decay alike
        decay = decay[:, :1]
    np.testing.assert_allclose(-1 / slopes, np.broadcast_to(decay, slopes.shape), rtol=1e-6)


@pytest.mark.parametrize("layer", [functools.partial(Mamba2, rotary=True), Mamba3])
@torch.no_grad()
def test_frequency_of_rotary_states_under_constant_input(layer):
    layer = layer(WIDTH, headdim=8, d_state=8).double()
    u = torch.randn(1, WIDTH, dtype=torch.float64)
    found = modes(layer, u.expand(1, 2, WIDTH))
    place = 0 if isinstance(layer, Mamba3) else 2
    state, angles = layer.initial_state(1), []
    for _ in range(50):
        _, state = layer.step(u, state)
        angles.append(state[place][0].numpy())
    speed = abs(np.diff(np.unwrap(angles, axis=0), axis=0)).mean(0) / (2 * math.pi)
    np.testing.assert_allclose(found.frequency.reshape(layer.nheads, -1)[:, 1:], speed, rtol=1e-6)
    assert not found.frequency.reshape(layer.nheads, -1)[:, 0].any()  # half of the states stay


@torch.no_grad()
def test_spread_of_mamba2():
    """A projection of normal inputs is normal: dt, where it is small, is the exponential of one."""
    layer = one_dt(Mamba2, 1e-3, WIDTH, headdim=8)
    row = layer.in_proj.weight[-layer.nheads :]
    assert modes(layer, NOISE).spread == pytest.approx(math.exp(row.norm(dim=1).median()), rel=0.1)


# --- Models and the command ---


@pytest.mark.parametrize("name", [name for name in MODELS if name not in ("wavenet", "transformer")])
def test_every_layer_of_every_model(name):
    model = build(preset(name, "tiny"))
    rows = measure(name, model, 16000)
    assert [row.name for row in rows] == [place for place, _, _ in model.backbone.layers()]
    assert all(np.isfinite(row.decay).all() and len(row.decay) == len(row.frequency) for row in rows)
    assert len(timescales.table([row.summarize() for row in rows])) == len(rows) + 3


def test_pooled_stages_are_slower():
    """The same dt at a quarter and a sixteenth of the rate."""
    rows = timescales.measure_initial("s4d", RATE)
    assert [row.rate for row in rows] == [8000] * 8 + [2000] * 8 + [500] * 8
    longest = {rate: max(row.decay.max() for row in rows if row.rate == rate) for rate in (8000, 2000, 500)}
    assert longest[2000] / longest[8000] == pytest.approx(4, rel=0.1)
    assert longest[500] / longest[8000] == pytest.approx(16, rel=0.1)


@pytest.fixture
def trained_run(tmp_path):
    """A run whose averaged weights have one dt of 1, hence a decay of 1 / A steps, and the other weights none."""
    settings = RunSettings("shards", "mamba2-seed", "tiny", preset("mamba2-seed", "tiny"), sample_rate=4000)
    model, average = build(settings.model), build(settings.model)
    optimiser = torch.optim.AdamW(model.parameters())
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimiser.step()
    with torch.no_grad():
        average.backbone.blocks[1].layer.dt_bias[0] = math.log(math.expm1(1))
        average.backbone.blocks[1].layer.A_log[0] = math.log(5)
    state = {"settings": settings.to_json(), "fingerprint": "0" * 64, "layers": 1, "stream": {}, "seconds": 0.0}
    checkpoint.save(tmp_path / "run", 7, model, average, optimiser, state)
    return tmp_path / "run"


def test_checkpoint(trained_run, capsys):
    assert main(["--checkpoint", str(trained_run), "--model", "mamba2-seed"]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = {line.split()[1]: line.split() for line in lines if "blocks." in line}
    assert rows["blocks.1"][0] == "4000"
    assert rows["blocks.1"][5] == "0.05"  # ms: a fifth of a step
    assert float(rows["blocks.0"][5]) > 1
    assert not any("dt_min" in line for line in lines)  # it's too late for that
    assert main(["--checkpoint", str(trained_run), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    documented.check("python -m train.timescales", found, without=["picture"])
    one = found["layers"][[each["layer"] for each in found["layers"]].index("blocks.1")]
    assert (one["rate"], one["decay_ms"]["min"]) == (4000, pytest.approx(0.05))
    assert sum(one["percent"].values()) == pytest.approx(100)
    assert found["remarks"] == [line for line in lines if line.startswith("mamba2-seed")][1:]
    assert main(["--checkpoint", str(trained_run), "--model", "s4"]) == 2
    assert "holds mamba2-seed; leave --model out" in capsys.readouterr().err


def test_command(tmp_path):
    """Without a display, and with matplotlib only where it draws."""
    out = tmp_path / "modes.png"
    words = ["--model", "s4d", "--sample-rate", "16000", "--out", str(out)]
    done = subprocess.run([sys.executable, "-m", "train.timescales", *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "dt_min=0.0005, dt_max=0.05" in done.stdout
    assert max(map(len, done.stdout.splitlines())) < 170
    with Image.open(out) as image:
        assert image.format == "PNG"
        assert image.width == 800
    assert out.stat().st_size < 150_000
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--model", "mamba4"], "there is no model 'mamba4'"),
        (["--model", "s4", "--sample-rate", "0"], "--sample-rate 0 must be above 0"),
        (["--model", "s4", "--sample-rate", "nan"], "--sample-rate nan must be above 0"),
        (["--checkpoint", "nowhere"], "nowhere is no checkpoint"),
        (["--model", "s4", "--out", "modes.jpg"], "must end in .png"),
        (["--model", "s4d", "--out", "nowhere/modes.png"], "can't be written: No such file"),
        ([], "name a --model"),
    ],
)
def test_what_a_person_can_get_wrong(words, sentence, capsys):
    assert main(words) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1
