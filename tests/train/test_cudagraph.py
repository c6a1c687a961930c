"""Steps replayed as CUDA graphs, against the same steps launched one kernel after the other."""

import pytest

torch = pytest.importorskip("torch")

from models.model import build  # noqa: E402  (after the check for torch)
from models.registry import MODELS, preset  # noqa: E402  (after the check for torch)
from train.evaluation.loss import target_loss  # noqa: E402
from train.loop.cudagraph import Replay  # noqa: E402

gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.mark.gpu
@gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", MODELS)
def test_a_replay_does_what_the_recorded_call_did(name, precision):
    """Other inputs each time, and two parts of a batch, whose gradients add up."""
    torch.manual_seed(0)
    model = build(preset(name, "tiny")).cuda()

    def act(tokens):
        with torch.autocast("cuda", torch.bfloat16, enabled=precision == "bf16"):
            logits = model(tokens)
        loss = target_loss(logits, tokens[:, 100:])
        loss.backward()
        return loss.detach()

    def total(one, parts):
        model.zero_grad(set_to_none=False)
        losses = [one(part).item() for part in parts]
        return losses, [parameter.grad.clone() for parameter in model.parameters()]

    replay = Replay(act, torch.device("cuda"))
    for _ in range(3):
        parts = torch.randint(0, 256, (2, 2, 300), device="cuda")
        expected, found = total(act, parts), total(replay, parts)
        # kernels add up in an order of their own; in bfloat16 that is seen
        tolerance = {"rtol": 1e-4, "atol": 1e-5} if precision == "fp32" else {"rtol": 2e-2, "atol": 1e-3}
        torch.testing.assert_close(found, expected, **tolerance)
    assert not replay.refused


@pytest.mark.gpu
@gpu
def test_gradients_that_are_written_not_added_up():
    """The recorded call makes them anew, so each replay writes them where it did, and the optimiser may scale them there."""
    model = torch.nn.Linear(3, 2).cuda()

    def act(x):
        model.zero_grad()
        model(x).sum().backward()
        return x.sum()

    replay = Replay(act, torch.device("cuda"))
    for factor in range(1, 6):
        x = torch.full((4, 3), float(factor), device="cuda")
        assert replay(x) == 12 * factor
        assert torch.equal(model.weight.grad, torch.full((2, 3), 4.0 * factor, device="cuda"))
        assert torch.equal(model.bias.grad, torch.full((2,), 4.0, device="cuda"))
        model.weight.grad.mul_(0.5)


@pytest.mark.gpu
@gpu
def test_what_cannot_be_recorded_still_runs():
    weight = torch.zeros((), device="cuda")

    def act(value):
        weight.add_(value.sum().item())  # the host waits for the device, which a graph can't
        return weight.clone()

    replay = Replay(act, torch.device("cuda"))
    one = torch.ones(1, device="cuda")
    assert [replay(one).item() for _ in range(5)] == [1, 2, 3, 4, 5]
    assert replay.refused
    assert torch.cuda.current_stream() == torch.cuda.default_stream()
    assert torch.rand(9, device="cuda").unique().numel() == 9
