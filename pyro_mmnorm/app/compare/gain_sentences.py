"""The sentence that describes a row of a comparison."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from pyro_mmnorm.results.formatting import number
from pyro_mmnorm.results.person_measures import LEVEL

__all__ = ["sentence", "sentences"]


def sentence(row: Mapping[str, Any], first: str) -> str | None:
    """A sentence with the better run and the size of the gain, or that it is not significant; None for the first run.

    Args:
        row: A row of `compare`, with p_holm.
        first: Name of the first run.

    Examples:
        >>> row = {"run": "vae", "measure": "AUC", "about": "AD", "ideal": np.nan, "value": 0.9, "reference": 0.8,
        ...        "gain": 0.1, "gain_low": 0.05, "gain_high": 0.15, "p": 0.0001, "p_holm": 0.002}
        >>> sentence(row, "regression")
        'AUC, AD: vae is better than regression by 0.10 [0.05, 0.15] (0.90 against 0.80; p <0.001, Holm 0.002).'
    """
    if not np.isfinite(row["gain"]):
        return None
    size = max(abs(row[name]) for name in ("gain", "gain_low", "gain_high"))
    gain = row["gain"]
    ends = sorted((row["gain_low"], row["gain_high"]) if gain >= 0 else (-row["gain_high"], -row["gain_low"]))
    low, high, by = (number("", x, size=size) for x in (*ends, abs(gain)))
    one, two = row["run"], first
    compared = f"{number('', row['value'])} against {number('', row['reference'])}"
    chance = f"p {number('p', row['p'])}, Holm {number('p', row['p_holm'])}"
    where = f"{row['measure']}, {row['about']}"
    if row["p"] >= LEVEL:
        span = f"{number('', row['gain_low'], size=size)} to {number('', row['gain_high'], size=size)}"
        return f"{where}: {one} and {two} do not differ significantly ({compared}; gain {span}, {chance})."
    how = "better" if gain > 0 else "worse"
    if np.isfinite(row["ideal"]):
        how = f"{'closer to' if gain > 0 else 'farther from'} {number('', row['ideal'])}"
    caution = ", not significant after Holm's correction" if row["p_holm"] >= LEVEL else ""
    return f"{where}: {one} is {how} than {two} by {by} [{low}, {high}] ({compared}; {chance}){caution}."


def sentences(table: pd.DataFrame, first: str) -> list[str | None]:
    """The `sentence` of every row of a table of `compare`."""
    return [sentence({str(key): x for key, x in row.items()}, first) for row in table.to_dict("records")]
