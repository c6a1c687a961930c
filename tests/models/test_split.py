"""A projection that is split: its gradient is the same whether or not those who take the parts write into their places."""

import torch

from models.layers.split import split


class Square(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, place):
        ctx.save_for_backward(x)
        ctx.place = place
        return x**2

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        made = torch.empty_like(x) if ctx.place is None else ctx.place()
        return torch.mul(grad, 2 * x, out=made), None


def differentiate(whole, placed):
    """By parts of 3, 1 and 2, of which those in `placed` are written in place; twice, by one graph."""
    parts = split(whole * 1, [3, 1, 2])
    loss = sum((Square.apply(part, place if i in placed else None) * (i + 1)).sum() for i, (part, place) in enumerate(parts))
    first = torch.autograd.grad(loss, whole, retain_graph=True)[0]
    kept = first.clone()
    second = torch.autograd.grad(2 * loss, whole)[0]
    assert first.equal(kept)  # the second pass has memory of its own
    assert second.equal(2 * first)
    return first


def test_the_gradient_of_parts():
    whole = torch.randn(2, 5, 6, requires_grad=True)
    expected = 2 * whole.detach() * torch.tensor([1.0, 1, 1, 2, 3, 3])
    for placed in ((), (0,), (1, 2), (0, 1, 2)):
        torch.testing.assert_close(differentiate(whole, placed), expected)


def test_a_part_that_is_used_twice_or_not_at_all():
    whole = torch.randn(2, 6, requires_grad=True)
    (one, place), (_, unused), (two, _) = split(whole * 1, [3, 1, 2])
    (Square.apply(one, place).sum() + (3 * one).sum() + two.sum()).backward()
    assert unused().shape == (2, 1)
    expected = torch.cat((2 * whole[:, :3] + 3, torch.zeros(2, 1), torch.ones(2, 2)), dim=1)
    torch.testing.assert_close(whole.grad, expected.detach())
