"""Types of arrays."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["Floats"]

type Floats = NDArray[np.float64]
"""An array of float64."""
