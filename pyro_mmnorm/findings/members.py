"""The spread of an ensemble: how far z and the figures of a person hang on the training."""

from collections.abc import Iterable
from typing import Any

import xarray as xr

from pyro_mmnorm.findings.tables import MEMBER_SD, person_figures

__all__ = ["member_spread"]


def member_spread(parts: Iterable[xr.Dataset]) -> xr.Dataset:
    r"""The training spread: SD over ensemble members of z and of every figure of a person.

    .. math:: s = \sqrt{\tfrac{1}{K - 1} \sum_e (f_e - \bar f)^2}

    with :math:`f_e` the z, or the figure, by member e alone. It tells how far an answer hangs on where training began
    and, for a bootstrap ensemble, on who happened to be in the training sample. It is not a confidence interval of a
    person's z: people of the calibration, and the noise of one person's scan, play no part in it.

    Args:
        parts: Deviations of the same people by each member: z, q, omnibus_p and mse. At least two; they are taken one
            after the other, so that a generator holds one at a time.

    Returns:
        z_member_sd (subject, region) and, by subject, <figure>_member_sd for mean_abs_z (of each modality too),
        mean_sq_z, mean_z, n_outliers, n_significant, dsi, omnibus_p and mse; NaN where there is no z.

    Examples:
        >>> z = xr.DataArray([[1.0, -3.0]], dims=("subject", "region"))
        >>> one = xr.Dataset({"z": z, "q": 0 * z + 0.2, "omnibus_p": z[:, 0], "mse": z[:, 0]})
        >>> float(member_spread([one, one.assign(z=z + 2)])["mean_z_member_sd"][0])
        1.4142135623730951
    """
    count, mean, squares = 0, xr.Dataset(), xr.Dataset()
    for count, dev in enumerate(parts, 1):
        figures = _figures(dev)
        if count == 1:
            mean, squares = xr.zeros_like(figures), xr.zeros_like(figures)
        step = figures - mean  # Welford's way: one member is held at a time, and equal ones give exactly 0
        mean = mean + step / count
        squares = squares + step * (figures - mean)
    spread = (squares / (count - 1)) ** 0.5
    return spread.rename({name: f"{name}{MEMBER_SD}" for name in spread.data_vars})


def _figures(dev: xr.Dataset) -> xr.Dataset:
    figures = person_figures(dev)
    own: dict[str, Any] = {name: ("subject", x.astype(float)) for name, x in figures.items() if name != "n_observed"}
    return xr.Dataset({"z": dev["z"], **own, "omnibus_p": dev["omnibus_p"], "mse": dev["mse"]})
