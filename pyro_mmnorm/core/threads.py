"""How many threads the numerical libraries may use."""

import contextlib
from collections.abc import Iterator

import torch
from threadpoolctl import threadpool_limits

__all__ = ["one_thread"]


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Limit torch and BLAS to one thread inside the block.

    Matrices this small lose time with more, and sums keep their order, so that results are bitwise the same whatever
    the machine's number of cores.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)
