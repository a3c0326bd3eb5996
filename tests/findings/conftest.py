"""A cohort with stages."""

import numpy as np
import pandas as pd
import pytest

from tests.findings.cohorts import NAN, deviations, who


@pytest.fixture(scope="session")
def staged():
    """Test controls and three stages of 40, ever smaller in 4 of 12 regions and larger in one; a score that follows."""
    rng = np.random.default_rng(5)
    split, group = who(("test", "CN", 40), ("target", "SMC", 40), ("target", "MCI", 40), ("target", "AD", 40))
    severity = np.repeat([0.0, 0.2, 0.8, 1.6], 40)
    z = rng.normal(size=(160, 12)) - severity[:, None] * (np.arange(12) % 3 == 0)
    z[:, 1] += 1.5 * severity
    z[rng.random(z.shape) < 0.05] = NAN
    square = np.nanmean(z**2, 1)
    extra = {"omnibus_p": (1 + (square[:40, None] >= square).sum(0)) / 41, "mse": square + rng.random(160)}
    ids = split.index
    scores = pd.DataFrame({"ADAS13": 10 + 6 * severity + rng.normal(size=160) * 3, "MMSE": 30 - severity}, index=ids)
    scores.iloc[:10, 0] = NAN
    adjust = pd.DataFrame({"age": rng.uniform(50, 90, 160), "rating": rng.choice(["good", "fair"], 160)}, index=ids)
    adjust.iloc[5] = None
    return deviations(z, **extra), split, group, scores, adjust
