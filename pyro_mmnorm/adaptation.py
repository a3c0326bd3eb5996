"""Adaptation: who of a new site the norm is adapted on, and who is left to test it."""

import math

import numpy as np
import pandas as pd

from pyro_mmnorm.calibration.site import FEWEST_CONTROLS
from pyro_mmnorm.errors import InputError

__all__ = ["SHARE", "local_split"]

SHARE = 2 / 3
"""Of the controls of a new site, those that it is adapted on, but at least 10; the others test."""


def local_split(sites: pd.Series, healthy: pd.Series, given: pd.Series | None = None, *, seed: int = 0) -> pd.Series:
    r"""Who a new site is adapted on (`calibrate`), which other controls are left (`test`), and the rest (`target`).

    Of n controls of a site :math:`\max(10, \lceil 2n/3 \rceil)` are drawn; by ids and seed, whatever the order of rows.

    Args:
        sites: New site of each person; '' for a site that needs no adaptation. Indexed by id, [n].
        healthy: True for controls, [n].
        given: `calibrate`, `test`, `target` (or `train`, which tests) of each person, instead of the draw.
        seed: Of the draw.

    Raises:
        InputError: When a site has fewer than 10 controls to be adapted on; it names the site.

    Examples:
        >>> ids = [f"s{i:02d}" for i in range(40)]
        >>> split = local_split(pd.Series("Basel", ids), pd.Series([True] * 30 + [False] * 10, ids))
        >>> split.value_counts().sort_index().to_dict()
        {'calibrate': 20, 'target': 10, 'test': 10}
    """
    label = pd.Series(np.where(healthy, "test", "target"), index=sites.index, name="split", dtype=str)
    for site in sorted(set(sites) - {""}):
        controls = sites.index[(sites == site) & healthy].sort_values()
        if given is None:
            size = max(FEWEST_CONTROLS, math.ceil(SHARE * len(controls)))
            chosen = np.random.default_rng(seed).permutation(controls.to_numpy(object))[:size]
        else:
            chosen = controls[(given[controls] == "calibrate").to_numpy()].to_numpy(object)
        if len(chosen) < FEWEST_CONTROLS:
            todo = "find more, or take the answer for the population (mmnorm score, deviations.unseen_site: population)"
            raise InputError(f"site {site!r}", f"{len(chosen)} controls", f"at least {FEWEST_CONTROLS}", todo)
        label[chosen] = "calibrate"
    return label
