"""Spread over the members of an ensemble."""

from collections.abc import Iterable

import xarray as xr

__all__ = ["MEMBER_SD", "sd_over_members"]

MEMBER_SD = "_member_sd"
"""Ends the name of an SD over ensemble members."""


def sd_over_members(parts: Iterable[xr.Dataset]) -> xr.Dataset:
    r"""SD over members of every variable; named <variable>_member_sd.

    .. math:: s = \sqrt{\tfrac{1}{K - 1} \sum_e (f_e - \bar f)^2}

    Welford's way: one member is held at a time, and equal ones give exactly 0.

    Args:
        parts: The same variables by each member; at least two, taken one after the other.

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
