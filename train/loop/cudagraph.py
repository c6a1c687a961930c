"""A part of a step as a CUDA graph: recorded once, then launched whole.

A model of a few million parameters has thousands of small kernels a step, which the GPU runs faster than Python launches
them: benchmarks/bench_step.py has the figures.
"""

from collections.abc import Callable

import torch
from torch import Tensor

_WARMUP_CALLS = 2  # calls that run as they are, so that kernels are compiled and tuned before they are recorded


class Replay:
    """`function`, which takes tensors of fixed shapes and gives one, in as few launches as its device allows.

    What it changes besides, such as gradients, it must change in place: a replay writes where the recorded call wrote.
    """

    def __init__(self, function: Callable[..., Tensor], device: torch.device):
        self._function, self._calls, self.refused = function, 0, ""  # refused: why there is no graph though there could be
        self._records = device.type == "cuda"
        self._graph: torch.cuda.CUDAGraph | None = None
        if self._records:  # autograd runs on the stream of the forward pass; work for the default stream can't be recorded
            self._stream = torch.cuda.Stream(device)

    def __call__(self, *tensors: Tensor) -> Tensor:
        if not self._records:
            return self._function(*tensors)
        if self._graph is None:
            self._calls += 1
            if self._calls > _WARMUP_CALLS:
                self._graph = self._record(tensors)
            if self._graph is None:
                return self.run_once(*tensors)
        for kept, given in zip(self._inputs, tensors, strict=True):
            kept.copy_(given, non_blocking=True)
        self._graph.replay()
        return self._output.clone()

    def run_once(self, *tensors: Tensor) -> Tensor:
        """As it is, but on the stream of the recording: gradients belong to the stream that first adds to them."""
        current = torch.cuda.current_stream()
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            output = self._function(*tensors)
        current.wait_stream(self._stream)
        return output

    def _record(self, tensors: tuple[Tensor, ...]) -> torch.cuda.CUDAGraph | None:
        """Record a call, which does not run it; None where a kernel can't be recorded."""
        graph, self._inputs = torch.cuda.CUDAGraph(), [tensor.clone() for tensor in tensors]
        try:
            # The first: a recording that fails leaves its own stream current. thread_local: threads that pin memory or
            # render meanwhile are not part of it, and do no harm.
            with (
                torch.cuda.stream(torch.cuda.current_stream()),
                torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"),
            ):
                self._output = self._function(*self._inputs)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            self._records, self.refused = False, str(error).splitlines()[0]
            # It leaves random numbers in its mode too, in which no others can be drawn: a copy of their state is not.
            generator = torch.cuda.default_generators[self._stream.device.index]
            generator.graphsafe_set_state(generator.clone_state())
            return None
        return graph
