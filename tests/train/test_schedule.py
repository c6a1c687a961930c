"""The learning rate: as torch's schedulers have it, and without a jump where a run is extended."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from train.config import Part, make_settings
from train.loop.schedule import FLOOR, describe_extension, find_factor, find_rate


@pytest.mark.parametrize(("steps", "warmup"), [(100, 0.1), (7, 0.5), (1, 1.0), (5, 0.0)])
def test_the_schedule(steps, warmup):
    """As torch's own schedulers have it."""
    rising = max(1, round(warmup * steps))
    optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    up = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda epoch: (epoch + 1) / rising)
    for step in range(1, rising + 1):
        assert find_factor(step, [Part(0, steps)], warmup) == pytest.approx(optimiser.param_groups[0]["lr"])
        optimiser.step()
        up.step()
    if steps > rising:
        optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
        down = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps - rising, eta_min=0.1)
        for step in range(rising + 1, steps + 1):
            optimiser.step()
            down.step()
            assert find_factor(step, [Part(0, steps)], warmup) == pytest.approx(optimiser.param_groups[0]["lr"])


@pytest.mark.parametrize(("steps", "warmup", "decay"), [(100, 0.1, 0.2), (10, 0.2, 0.5), (40, 0.0, 0.0)])
def test_warm_up_stable_decay(steps, warmup, decay):
    """As torch's linear schedulers have it, one after the other."""
    rising, falling = max(1, round(warmup * steps)), round(decay * steps)
    optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    linear = torch.optim.lr_scheduler.LinearLR
    parts = [linear(optimiser, 1 / rising, 1.0, max(1, rising - 1)), linear(optimiser, 1.0, 1.0, 1)]
    parts.append(linear(optimiser, 1.0, FLOOR, max(1, falling)))
    after = torch.optim.lr_scheduler.SequentialLR(optimiser, parts, [rising, steps - falling - 1])
    for step in range(1, steps + 1):
        expected = optimiser.param_groups[0]["lr"]
        assert find_factor(step, [Part(0, steps)], warmup, "wsd", decay) == pytest.approx(expected), step
        optimiser.step()
        after.step()


EXTENSIONS = [[(1200, 2400)], [(600, 2400)], [(100, 2400)], [(800, 1000)], [(1200, 2400), (2000, 2200), (2200, 6000)]]


@pytest.mark.parametrize("schedule", ["cosine", "wsd"])
@pytest.mark.parametrize("extensions", EXTENSIONS)
def test_an_extended_run_goes_on_from_its_rate(schedule, extensions):
    """At its end, before it, in the warm-up of 300 steps, to an earlier end, and more than once."""
    settings = make_settings("", "s4d", "tiny", lr=1.0, warmup=0.25, steps=1200, schedule=schedule)
    for at, steps in extensions:
        done = [find_rate(step, settings) for step in range(1, at + 1)]
        settings = settings.extend(at, steps)
        rates = [find_rate(step, settings) for step in range(1, steps + 1)]
        assert rates[:at] == done
        assert max(abs(a - b) for a, b in pairwise(rates)) < 0.01, "there is no jump"
        assert rates[-1] == pytest.approx(0.1)
        if schedule == "cosine":
            assert max(rates[at:]) == pytest.approx(done[-1] if at > 300 else 1, abs=1e-3), "it goes down from where it is"
        elif steps > at + 1000:
            assert rates.count(1.0) > 500, "it goes back to the constant rate"


def test_a_run_that_is_extended_twice_at_one_step():
    """The second time counts; and a run without a checkpoint just has another end."""
    settings = make_settings("", "s4d", "tiny", steps=12)
    assert settings.extend(8, 20).extend(8, 30) == settings.extend(8, 30)
    assert settings.extend(8, 20).extend(4, 30) == settings.extend(4, 30)
    assert settings.extend(0, 30) == make_settings("", "s4d", "tiny", steps=30)
    assert settings.extend(12, 20).parts == (Part(0, 12), Part(12, 20))
    assert "goes on at 0.001 and stays there" in describe_extension(settings.extend(12, 20))
