"""Cohorts for the tests of findings."""

import numpy as np
import pandas as pd
import xarray as xr
from scipy.special import ndtr

from pyro_mmnorm.findings.endpoints import findings
from pyro_mmnorm.findings.summaries import subject_table
from pyro_mmnorm.stats.multiplicity import benjamini_hochberg

NAN = np.nan
ORDER = ["CN", "SMC", "MCI", "AD"]
DIRECTIONS = {"ADAS13": "higher_is_worse", "MMSE": "higher_is_better"}


def deviations(z, ids=None, **extra):
    """A dataset of one kind with regions of two modalities."""
    z = np.asarray(z, float)
    n, d = z.shape
    ids = [f"s{i:03d}" for i in range(n)] if ids is None else ids
    modality = ["t1" if j < (d + 1) // 2 else "t2" for j in range(d)]
    dims = ("subject", "region")
    q = benjamini_hochberg(2 * ndtr(-np.abs(z)), axis=1)
    return xr.Dataset(
        {"z": (dims, z), "q": (dims, q), **{name: ("subject", np.asarray(x)) for name, x in extra.items()}},
        {
            "subject": list(ids),
            "region": [f"{m}.r{j}" for j, m in enumerate(modality)],
            "modality": ("region", modality),
            "region_name": ("region", [f"r{j}" for j in range(d)]),
        },
    )


def who(*parts):
    """Split and group by id of (split, group, n)."""
    rows = [(split, group) for split, group, n in parts for _ in range(n)]
    frame = pd.DataFrame(rows, columns=["split", "group"], index=[f"s{i:03d}" for i in range(len(rows))])
    return frame["split"], frame["group"]


def findings_of(staged, *, adjust=True, scores=True):
    dev, split, group, measured, columns = staged
    subjects = subject_table(dev, split, group)
    columns = columns if adjust else columns[[]]
    return findings(dev, subjects, measured, DIRECTIONS if scores else {}, columns, ORDER, seed=1)


def records(node):
    """Every record of a mapping with a value."""
    for child in node.values():
        if isinstance(child, dict):
            yield from [child] if "value" in child else []
            yield from records(child)
