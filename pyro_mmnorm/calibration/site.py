"""Adaptation of a calibrator to a new site, from a few of its own controls (numpy and scipy only)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pyro_mmnorm.calibration.conformal import Conformal, two_sided, two_sided_arrays, two_sided_from_arrays
from pyro_mmnorm.calibration.protocol import Calibrator
from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.core.typing import Floats
from pyro_mmnorm.stats.student_t import LARGE_DF, normal_to_student_t, student_t_to_normal

__all__ = ["FEWEST_CONTROLS", "SiteCalibrator", "adapt"]


FEWEST_CONTROLS = 10
"""Fewest local controls for `adapt`."""
SMALLEST_DF = 3.0


@dataclass(frozen=True, kw_only=True)
class SiteCalibrator:
    r"""The z of another calibrator, with a shift of each region and a common scale for one site.

    .. math:: z_{ij} = \Phi^{-1}\!\left(F_{t_\nu}\!\left(\frac{z^{base}_{ij} - b_j}{g \sqrt{1 + u_j}}\right)\right)

    Args:
        base: Calibrator fitted on other sites; the columns of the site in the design are 0 for people of a new one.
        shift: b, [d].
        uncertainty: u, the posterior variance of b in units of g^2, [d].
        scale: g.
        df: nu.
        conformal, omnibus: Conformal p of |z| per region and of the mean z^2 of a person, see `adapt`.
    """

    name: ClassVar[str] = "site"
    base: Calibrator
    shift: Floats
    uncertainty: Floats
    scale: float
    df: float
    conformal: Conformal
    omnibus: Conformal

    def __call__(self, raw: ArrayLike, design: ArrayLike) -> Floats:
        """Calibrated z of new people of the site, [n, d]; NaN where raw is NaN."""
        return student_t_to_normal((self.base(raw, design) - self.shift) / self._predictive_scale(), self.df)

    def inverse_transform(self, z: ArrayLike, design: ArrayLike) -> Floats:
        """Raw z whose calibrated z is `z` (broadcast to [n, d])."""
        base_z = self.shift + normal_to_student_t(z, self.df) * self._predictive_scale()
        return self.base.inverse_transform(base_z, design)

    def refit(self, raw: Floats, design: Floats) -> Self:
        """Adapt to other controls of the site with the same conformal scores, for the bootstrap."""
        fields, _ = _fit_shift_and_scale(self.base(raw, design))
        return replace(self, **fields)

    def _predictive_scale(self) -> Floats:
        """Scale of the t distribution of a new person, the uncertainty of the shift included, [d]."""
        return self.scale * np.sqrt(1 + self.uncertainty)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """All arrays to save, by name; those of the base under its name."""
        base = {f"base.{self.base.name}.{name}": array for name, array in self.base.to_arrays().items()}
        own = {"shift": self.shift, "uncertainty": self.uncertainty, "constants": np.array([self.scale, self.df])}
        return base | own | two_sided_arrays(self.conformal, self.omnibus)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], base: Calibrator) -> Self:
        """The inverse of `to_arrays`, given the base."""
        scale, df = arrays["constants"].tolist()
        shift, uncertainty = arrays["shift"], arrays["uncertainty"]
        return cls(base=base, shift=shift, uncertainty=uncertainty, scale=scale, df=df, **two_sided_from_arrays(arrays))


def adapt(calibrator: Calibrator, raw: ArrayLike, design: ArrayLike) -> SiteCalibrator:
    r"""The calibrator of a new site, from at least 10 controls of that site.

    With z of the trained calibrator, the mean m_j of each region over its n_j local controls is shrunk towards the mean
    shift mu of all regions. The log of the common scale is shrunk towards 0. Both are shrunk as far as chance alone
    explains them:

    .. math:: b_j = \mu + \frac{\tau^2}{\tau^2 + s^2 / n_j} (m_j - \mu), \qquad
        \log g = \ell \max\!\left(0, 1 - \frac{\mathrm{se}^2(\ell)}{\ell^2}\right)

    tau^2 is the variance of the m_j beyond chance, and u_j the posterior variance of b_j. l is half the log mean square
    of the leave-one-out residuals of the local controls, and nu follows from how much their mean square varies between
    people.

    Conformal p-values use the scores of the first calibration controls and the leave-one-out scores of the local
    controls together: with 10 local controls alone, no p could be below .09.

    Args:
        calibrator: Trained on other sites.
        raw: Raw z of the local controls, [n, d], NaN where not observed.
        design: Their encoded covariates, [n, c], with 0 in the columns of the site.

    Raises:
        InputError: With fewer than 10 controls in whom any region was observed.

    References:
        Efron & Morris (1973), Stein's estimation rule and its competitors, https://doi.org/10.1080/01621459.1973.10481350

    Examples:
        >>> from pyro_mmnorm.calibration.calibrators import CALIBRATORS
        >>> rng = np.random.default_rng(0)
        >>> trained = CALIBRATORS["gaussian"](rng.normal(size=(300, 20)), np.zeros((300, 0)), {})
        >>> local, others = (1.25 * rng.normal(size=(n, 20)) + 0.5 for n in (30, 200))
        >>> z = adapt(trained, local, np.zeros((30, 0)))(others, np.zeros((200, 0)))
        >>> bool(abs(z.mean()) < 0.15 and 0.9 < z.std() < 1.1)
        True
    """
    z = calibrator(raw, design)
    usable = int(np.isfinite(z).any(1).sum())
    if usable < FEWEST_CONTROLS:
        want = f"at least {FEWEST_CONTROLS} of the site"
        raise InputError("adapt", f"{usable} controls", want, "add controls, or score without adaptation")
    fields, left_out = _fit_shift_and_scale(z)
    scores = two_sided_arrays(**two_sided(left_out))
    pooled = {name: np.concatenate([getattr(calibrator, name).scores, local]) for name, local in scores.items()}
    return SiteCalibrator(base=calibrator, **fields, **two_sided_from_arrays(pooled))


def _fit_shift_and_scale(z: Floats) -> tuple[dict[str, Any], Floats]:
    """Fields of the calibrator from base z of local controls [n, d]; leave-one-out z of those with any region."""
    z = z[np.isfinite(z).any(1)]
    observed = np.isfinite(z)
    z = np.where(observed, z, 0.0)
    per_region, per_person = observed.sum(0), observed.sum(1)
    n, d = len(z), np.count_nonzero(per_region)
    # means of regions and residuals; the mean residual of a person is common to the regions
    mean = np.divide(z.sum(0), per_region, out=np.zeros(len(per_region)), where=per_region > 0)
    average = float(z.sum() / observed.sum())
    residual = np.where(observed, z - mean, 0.0)
    personal = residual.sum(1) / per_person
    # sampling variance of the region means, from residuals of the two-way layout of people and regions
    square = float(((residual - personal[:, None])[observed] ** 2).sum() / max(1, observed.sum() - n - d + 1))
    chance = np.divide(square, per_region, out=np.full(len(per_region), np.inf), where=per_region > 0)
    # between-region variance of the shift by the method of moments
    between = float(((mean - average)[per_region > 0] ** 2).sum() / max(1, d - 1) - chance[per_region > 0].mean())
    between = max(between, 0.0)
    # shrunken shift, and its posterior variance with that of the common mean
    kept = between / (between + chance)
    shift = average + kept * (mean - average)
    variance = between * (1 - kept) + personal.var(ddof=1) / n

    # leave-one-out shift, and residuals from it
    count_out, average_out = per_region - observed, (z.sum() - z.sum(1)) / (observed.sum() - per_person)
    unseen = np.repeat(average_out[:, None], len(per_region), 1)
    mean_out = np.divide(z.sum(0) - z, count_out, out=unseen, where=count_out > 0)
    error = z - average_out[:, None] - kept * (mean_out - average_out[:, None])
    # uncertainty of the shift relative to the variance within regions
    within = float((residual[observed] ** 2).sum() / max(1, observed.sum() - d))
    uncertainty = variance / within
    factor = 1 + uncertainty * n / (n - 1)
    # mean square of each person; its mean over people and the squared standard error of that
    person = np.where(observed, error**2 / factor, 0.0).sum(1) / per_person
    level, level_variance = float(person.mean()), float(person.var(ddof=1)) / n
    # log scale with positive-part James-Stein shrinkage; se(log level / 2)^2 by the delta method
    log = np.log(level) / 2
    scale = float(np.exp(log * max(0.0, 1 - level_variance / (4 * level**2) / log**2)))
    # degrees of freedom of the squared scale by the method of moments
    df = float(np.clip(2 * level**2 / level_variance, SMALLEST_DF, LARGE_DF))
    left_out = student_t_to_normal(np.where(observed, error, np.nan) / (scale * np.sqrt(factor)), df)
    return {"shift": shift, "uncertainty": uncertainty, "scale": scale, "df": df}, left_out
