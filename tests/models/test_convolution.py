"""The convolution's kernel against torch's, in Triton's interpreter and on a GPU."""

import pytest

torch = pytest.importorskip("torch")

from models.layers.convolution import causal_conv, causal_conv_by_kernel, depthwise_conv  # noqa: E402  (after the check for torch)

CASES = [  # width, steps, channels, bias: less than a block, more than one, neither a multiple of anything
    (1, 5, 3, True),
    (2, 1, 8, True),
    (4, 70, 40, True),
    (7, 32, 32, True),
    (16, 37, 33, False),
    (16, 9, 5, True),
]
LONG = [(4, 300, 40, True), (16, 600, 33, False), (4, 4000, 256, True), (16, 4000, 256, True)]


def errors(width, length, channels, bias, dtype, device):
    """Of outputs and gradients, relative to the peak; the inputs are a slice of something wider."""
    torch.manual_seed(width)
    conv, wide = depthwise_conv(channels, width, bias).to(device), torch.randn(2, length, channels + 5).to(device, dtype)
    upstream, found = torch.randn(2, length, channels).to(device, dtype), []
    for kernels, kind in ((True, dtype), (False, torch.float64)):
        source = wide.detach().to(kind).requires_grad_()
        conv = conv if kernels else conv.double()
        conv.zero_grad()
        x = source[..., 3:-2]
        y = causal_conv_by_kernel(x, conv) if kernels else causal_conv(x, x.new_zeros(2, channels, width - 1), conv)[0]
        assert y.dtype == kind
        (y * upstream.to(kind)).sum().backward()
        found.append([y.detach(), source.grad, *(parameter.grad.clone() for parameter in conv.parameters())])
    return [((ours - exact).abs().max() / exact.abs().max()).item() for ours, exact in zip(*found, strict=True)]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_kernel_as_torch_interpreted(case, interpreter):
    assert max(interpreter.submit(errors, *case, torch.float32, "cpu").result()) < 1e-5


@pytest.mark.parametrize("name", ["forward_kernel", "backward_kernel"])
def test_kernel_compiles(name):
    """Which needs no GPU. The interpreter is Python, and lets pass what Triton's language has not."""
    pytest.importorskip("triton", reason="torch has no Triton on this machine")
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, compile

    from models.layers import convolution_kernel

    kernel = getattr(convolution_kernel, name)
    sizes = {"step_stride": 40, "made_step_stride": 40, "channels": 32, "WIDTH": 4, "RUN": 64, "RUNS": 4, "CHANNELS": 32}
    sizes = {name: size for name, size in sizes.items() if name in kernel.arg_names}
    numbers = dict.fromkeys({"length", "item_stride", "made_item_stride"}.intersection(kernel.arg_names), "i32")
    kinds = dict.fromkeys(kernel.arg_names, "*fp32") | numbers | dict.fromkeys(sizes, "constexpr")
    compiled = compile(ASTSource(kernel, kinds, sizes), GPUTarget("cuda", 90, 32))
    assert compiled.asm["cubin"]


@pytest.mark.gpu
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-5), (torch.bfloat16, 1e-2)], ids=str)
@pytest.mark.parametrize("case", CASES + LONG, ids=str)
def test_kernel_as_torch(case, dtype, bound):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA GPU")
    assert max(errors(*case, dtype, "cuda")) < bound
    assert errors(*case, dtype, "cuda") == errors(*case, dtype, "cuda"), "sums in another order"
