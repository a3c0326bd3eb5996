"""The spread of an ensemble: how far z and the figures of a person hang on the training."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pyro_mmnorm.findings.tables import LEVEL, person_figures
from pyro_mmnorm.members import sd_over_members

__all__ = ["member_spread"]


def member_spread(parts: Iterable[xr.Dataset]) -> xr.Dataset:
    """The training spread: SD over ensemble members of z and of every figure of a person, and what each member flags.

    The SD (see `sd_over_members`) of what each member gives alone tells how far an answer hangs on where training began
    and, for a bootstrap ensemble, on who happened to be in the training sample. It is not a confidence interval of a
    person's z: people of the calibration, and the noise of one person's scan, play no part in it.

    Args:
        parts: Deviations of the same people by each member: z, q, omnibus_p and mse. At least two; they are taken one
            after the other, so that a generator holds one at a time.

    Returns:
        z_member_sd (subject, region) and, by subject, <figure>_member_sd for mean_abs_z (of each modality too),
        mean_sq_z, mean_z, n_outliers, n_significant, dsi, omnibus_p and mse; NaN where there is no z. Besides
        flagged_by_member (member, subject, region): q < 0.05, which the Hamming distances of `subject_table` need.

    Examples:
        >>> z = xr.DataArray([[1.0, -3.0]], dims=("subject", "region"))
        >>> one = xr.Dataset({"z": z, "q": 0 * z + 0.2, "omnibus_p": z[:, 0], "mse": z[:, 0]})
        >>> float(member_spread([one, one.assign(z=z + 2)])["mean_z_member_sd"][0])
        1.4142135623730951
    """
    flagged: list[NDArray[np.bool_]] = []

    def figures() -> Iterator[xr.Dataset]:
        for dev in parts:
            flagged.append(dev["q"].to_numpy() < LEVEL)
            yield _figures(dev)

    spread = sd_over_members(figures())
    return spread.assign(flagged_by_member=(("member", "subject", "region"), np.stack(flagged)))


def _figures(dev: xr.Dataset) -> xr.Dataset:
    figures = person_figures(dev)
    own: dict[str, Any] = {name: ("subject", x.astype(float)) for name, x in figures.items() if name != "n_observed"}
    return xr.Dataset({"z": dev["z"], **own, "omnibus_p": dev["omnibus_p"], "mse": dev["mse"]})
