"""A site that the calibrator has not seen, from a few of its own controls (numpy and scipy only)."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pyro_mmnorm.calibration.conformal import Conformal, two_sided
from pyro_mmnorm.calibration.protocol import Calibrator
from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.core.typing import Floats
from pyro_mmnorm.stats.student_t import LARGE_DF, normal_to_student_t, student_t_to_normal

__all__ = ["FEWEST_CONTROLS", "SiteCalibrator", "adapt"]


FEWEST_CONTROLS = 10
"""Local controls that `adapt` needs."""
SMALLEST_DF = 3.0


@dataclass(frozen=True, kw_only=True)
class SiteCalibrator:
    r"""The z of another calibrator, moved and stretched to a site of its own.

    .. math:: z_{ij} = \Phi^{-1}\!\left(F_{t_\nu}\!\left(\frac{z^{base}_{ij} - b_j}{g \sqrt{1 + u_j}}\right)\right)

    Args:
        base: Trained on other sites; the new one has 0 in its columns of the design.
        shift: b, [d].
        uncertainty: u, the variance of b in units of g^2, [d].
        scale: g.
        df: nu.
        conformal, omnibus: See `adapt`.
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
        return student_t_to_normal((self.base(raw, design) - self.shift) / self._sd(), self.df)

    def inverse_transform(self, z: ArrayLike, design: ArrayLike) -> Floats:
        """Raw z whose calibrated z is `z` (broadcast to [n, d])."""
        return self.base.inverse_transform(self.shift + normal_to_student_t(z, self.df) * self._sd(), design)

    def refit(self, raw: Floats, design: Floats) -> Self:
        """The same calibrator adapted to other controls of the site, for the bootstrap."""
        fields, _ = _settled(self.base(raw, design))
        return replace(self, **fields)

    def _sd(self) -> Floats:
        return self.scale * np.sqrt(1 + self.uncertainty)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Everything that has to be kept, by name."""
        base = {f"base.{self.base.name}.{name}": array for name, array in self.base.to_arrays().items()}
        own = {"shift": self.shift, "uncertainty": self.uncertainty, "constants": np.array([self.scale, self.df])}
        return base | own | {"conformal": self.conformal.scores, "omnibus": self.omnibus.scores}


def adapt(calibrator: Calibrator, raw: ArrayLike, design: ArrayLike) -> SiteCalibrator:
    r"""The calibrator of a new site, from at least 10 controls of that site.

    With the z of the trained calibrator, each region's mean m_j over n_j local controls is shrunk towards the average
    shift, and the log of one common scale towards 0, as far as chance alone would explain them:

    .. math:: b_j = \mu + \frac{\tau^2}{\tau^2 + s^2 / n_j} (m_j - \mu), \qquad
        \log g = \ell \max\!\left(0, 1 - \frac{\mathrm{se}^2(\ell)}{\ell^2}\right)

    tau^2 is the variance of the m_j beyond chance; l is half the log mean square of the local controls, each left out;
    nu follows from how much that differs between people, and u_j is the posterior variance of b_j.

    The conformal p compare with the scores of the first calibration people and the left-out scores of the local
    controls together: 10 local controls alone could give no p below .09.

    Args:
        calibrator: Trained on other sites.
        raw: Raw z of the local controls, [n, d], NaN where not observed.
        design: Their covariates, with 0 in the columns of the site, [n, c].

    Raises:
        InputError: With fewer than 10 controls that have any region observed.

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
    known = np.isfinite(z).any(1)
    if known.sum() < FEWEST_CONTROLS:
        raise InputError(
            "adapt", f"{known.sum()} controls", f"at least {FEWEST_CONTROLS} of the site", "find more, or do without"
        )
    fields, left_out = _settled(z[known])
    own = two_sided(left_out)
    scores: dict[str, Any] = {
        name: Conformal.fit(np.concatenate([getattr(calibrator, name).scores, found.scores]))
        for name, found in own.items()
    }
    return SiteCalibrator(base=calibrator, **fields, **scores)


def _settled(z: Floats) -> tuple[dict[str, Any], Floats]:
    """Shift, its uncertainty, scale and degrees of freedom; z of the local controls, each left out."""
    seen = np.isfinite(z)
    z = np.where(seen, z, 0.0)
    count, people = seen.sum(0), seen.sum(1)
    mean = np.divide(z.sum(0), count, out=np.zeros(len(count)), where=count > 0)
    average = float(z.sum() / seen.sum())
    residual = np.where(seen, z - mean, 0.0)
    own = residual.sum(1) / people
    n, d = len(z), np.count_nonzero(count)
    square = float(((residual - own[:, None])[seen] ** 2).sum() / max(1, seen.sum() - n - d + 1))
    chance = np.divide(square, count, out=np.full(len(count), np.inf), where=count > 0)
    between = float(((mean - average)[count > 0] ** 2).sum() / max(1, d - 1) - chance[count > 0].mean())
    between = max(between, 0.0)
    kept = between / (between + chance)
    variance = between * (1 - kept) + own.var(ddof=1) / n

    count_out, average_out = count - seen, (z.sum() - z.sum(1)) / (seen.sum() - people)
    mean_out = np.divide(
        z.sum(0) - z, count_out, out=np.repeat(average_out[:, None], len(count), 1), where=count_out > 0
    )
    error = z - average_out[:, None] - kept * (mean_out - average_out[:, None])
    total = float((residual[seen] ** 2).sum() / max(1, seen.sum() - d))
    uncertainty = variance / total
    factor = 1 + uncertainty * n / (n - 1)
    person = np.where(seen, error**2 / factor, 0.0).sum(1) / people
    level, spread = float(person.mean()), float(person.var(ddof=1)) / n
    log = np.log(level) / 2
    scale = float(np.exp(log * max(0.0, 1 - spread / (4 * level**2) / log**2)))
    df = float(np.clip(2 * level**2 / spread, SMALLEST_DF, LARGE_DF))
    left_out = student_t_to_normal(np.where(seen, error, np.nan) / (scale * np.sqrt(factor)), df)
    return {"shift": average + kept * (mean - average), "uncertainty": uncertainty, "scale": scale, "df": df}, left_out
