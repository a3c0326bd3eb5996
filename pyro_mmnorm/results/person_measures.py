"""Summary measures of a person, and their spread over the members of an ensemble."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pyro_mmnorm.core.arrays import ratio
from pyro_mmnorm.results.schema import MEMBER_SD

__all__ = ["LEVEL", "member_spread", "modality_regions", "person_measures", "sd_over_members"]

LEVEL = 0.05
"""Significance level of p and q."""


OUTLIER = 1.96


def person_measures(dev: xr.Dataset) -> dict[str, NDArray[Any]]:
    """The columns of `subject_table` that follow from z and q of the person alone, [n] each."""
    z, flagged = dev["z"].to_numpy(), dev["q"].to_numpy() < LEVEL
    seen = np.isfinite(z)
    n, size = seen.sum(1), np.where(seen, np.abs(z), 0.0)
    return {
        "n_observed": n,
        "mean_abs_z": ratio(size.sum(1), n),
        "mean_sq_z": ratio((size**2).sum(1), n),
        "mean_z": ratio(np.where(seen, z, 0.0).sum(1), n),
        "n_outliers": (size > OUTLIER).sum(1),
        "n_significant": flagged.sum(1),
        "dsi": ratio((size * flagged).sum(1), n),
        **{
            f"mean_abs_z.{m}": ratio(size[:, own].sum(1), seen[:, own].sum(1))
            for m, own in modality_regions(dev).items()
        },
    }


def modality_regions(dev: xr.Dataset) -> dict[str, NDArray[np.bool_]]:
    """modality -> mask of its regions, [d]; empty for one modality, and without the coordinate `modality`."""
    of = dev["modality"].to_numpy() if "modality" in dev.coords else np.array([])
    names = dict.fromkeys(of.tolist())
    return {str(m): of == m for m in names} if len(names) > 1 else {}


def sd_over_members(parts: Iterable[xr.Dataset]) -> xr.Dataset:
    r"""SD over members of every variable; named <variable>_member_sd.

    .. math:: s = \sqrt{\tfrac{1}{K - 1} \sum_e (f_e - \bar f)^2}

    By Welford's algorithm: one member is in memory at a time, and equal members give exactly 0.

    Args:
        parts: The same variables from each member; at least two, read one after the other.

    References:
        Welford (1962), Note on a method for calculating corrected sums of squares and products,
        https://doi.org/10.1080/00401706.1962.10490022

    Examples:
        >>> one = xr.Dataset({"z": ("region", [1.0, -3.0])})
        >>> sd_over_members([one, one + 2])["z_member_sd"].to_numpy()
        array([1.41421356, 1.41421356])
    """
    count, mean, squares = 0, xr.Dataset(), xr.Dataset()
    for count, part in enumerate(parts, 1):
        if count == 1:
            mean, squares = xr.zeros_like(part), xr.zeros_like(part)
        step = part - mean
        mean = mean + step / count
        squares = squares + step * (part - mean)
    spread = (squares / (count - 1)) ** 0.5
    return spread.rename({name: f"{name}{MEMBER_SD}" for name in spread.data_vars})


def member_spread(parts: Iterable[xr.Dataset]) -> xr.Dataset:
    """Training spread: SD over ensemble members of z and of every measure of a person, and the flags of each member.

    The SD (see `sd_over_members`) over the results of single members measures how much a result depends on the
    initialisation of training and, for a bootstrap ensemble, on the training sample. It is not a confidence interval of
    a person's z: it contains neither the sampling error of the calibration nor the noise of one person's scan.

    Args:
        parts: Deviations of the same people from each member: z, q, omnibus_p and mse. At least two; they are read one
            after the other, so that a generator holds one at a time.

    Returns:
        z_member_sd (subject, region) and, by subject, <measure>_member_sd for mean_abs_z (of each modality too),
        mean_sq_z, mean_z, n_outliers, n_significant, dsi, omnibus_p and mse; NaN where there is no z. Also
        flagged_by_member (member, subject, region): q < 0.05, which the Hamming distances of `subject_table` need.

    Examples:
        >>> z = xr.DataArray([[1.0, -3.0]], dims=("subject", "region"))
        >>> one = xr.Dataset({"z": z, "q": 0 * z + 0.2, "omnibus_p": z[:, 0], "mse": z[:, 0]})
        >>> float(member_spread([one, one.assign(z=z + 2)])["mean_z_member_sd"][0])
        1.4142135623730951
    """
    flagged: list[NDArray[np.bool_]] = []

    def measures() -> Iterator[xr.Dataset]:
        for dev in parts:
            flagged.append(dev["q"].to_numpy() < LEVEL)
            yield _measures(dev)

    spread = sd_over_members(measures())
    return spread.assign(flagged_by_member=(("member", "subject", "region"), np.stack(flagged)))


def _measures(dev: xr.Dataset) -> xr.Dataset:
    measures = person_measures(dev)
    own: dict[str, Any] = {name: ("subject", x.astype(float)) for name, x in measures.items() if name != "n_observed"}
    return xr.Dataset({"z": dev["z"], **own, "omnibus_p": dev["omnibus_p"], "mse": dev["mse"]})
