"""The state in which every test and doctest starts, and must end."""

import contextlib
import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

os.environ.setdefault("MPLBACKEND", "Agg")
# one thread a process, set before numpy is loaded: workers run side by side, and sums keep their order on every machine
for threads in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(threads, "1")
# no test may depend on a wall time: other processes may use the machine
settings.register_profile("no wall time", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("no wall time")

SEED = 20231


@pytest.fixture(autouse=True)
def _clean_state() -> Iterator[None]:
    """Fixed seeds before; afterwards no figure left open and no parameter left in Pyro's global store.

    Torch and Pyro are only touched where they are loaded already, so that tests of the numpy files start at once;
    a test that loads torch by itself starts from torch's own fixed seed.
    """
    import numpy as np

    random.seed(SEED)
    np.random.seed(SEED)  # noqa: NPY002  (hypothesis and scikit-learn fall back on it)
    with _torch_state() if "pyro" in sys.modules else contextlib.nullcontext():
        yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")
    if "pyro" in sys.modules:
        store = sys.modules["pyro"].get_param_store()
        left = sorted(store)
        store.clear()
        assert not left, f"parameters left in the global store: {left}; fit inside pyro.get_param_store().scope()"


@contextlib.contextmanager
def _torch_state() -> Iterator[None]:
    """Seeded, with Pyro's checks on, on one thread: sums in the same order on every machine."""
    import pyro
    import torch

    pyro.set_rng_seed(SEED)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with pyro.validation_enabled(True):
            yield
    finally:
        torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of the optional real tables; the test is skipped where there is none."""
    beside = Path(__file__).resolve().parent.parent / "shared"
    folder = Path(os.environ.get("MMNORM_SHARED", beside))
    if not (folder / "data").is_dir():
        pytest.skip("no real tables here; set MMNORM_SHARED to the folder that holds data/abide_fs6")
    return folder
