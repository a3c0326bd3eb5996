"""Number of threads of the numerical libraries."""

import contextlib
from collections.abc import Iterator

import torch
from threadpoolctl import threadpool_limits

__all__ = ["one_thread"]


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Limit torch and BLAS to one thread inside the block.

    With more threads, matrices of this size take longer. The order of sums is fixed, so that results are bitwise equal
    for any number of cores.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)
