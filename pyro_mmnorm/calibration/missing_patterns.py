"""Width of raw z by pattern of missing modalities, learned from calibration controls."""

from collections.abc import Callable, Iterator, Mapping
from itertools import cycle

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from pyro_mmnorm.calibration.calibrators import Fit
from pyro_mmnorm.calibration.protocol import Calibrator
from pyro_mmnorm.core.typing import Floats
from pyro_mmnorm.data.cohort import Cohort

__all__ = ["calibrated_by_pattern", "mask_modalities", "pattern_widths", "widths_of"]


def pattern_widths(z: ArrayLike, pattern: ArrayLike) -> dict[str, float]:
    r"""How much wider than those of the most common pattern z of people with another pattern of modalities are.

    The fewer regions a person has, the more the width of the prediction is the model's word and not the data's; where
    the model is a little off, z of such people are off by more. With the mean square z of the n_p cells of pattern p,
    and of the most common one,

    .. math::
        \ell_p = \tfrac12 \log \frac{\overline{z^2_p}}{\overline{z^2_0}}, \qquad
        w_p = \exp\Big(\ell_p \max\big(0, 1 - \tfrac{\mathrm{se}_p^2}{\ell_p^2}\big)\Big), \qquad
        \mathrm{se}_p^2 = \frac{\varphi}{2} \Big(\frac{1}{n_p} + \frac{1}{n_0}\Big)

    phi is 1 for independent Gaussian cells; it is the mean of :math:`c_i (m_i / \overline{z^2_p} - 1)^2 / 2` over
    people, with m_i the mean square of the c_i cells of person i, so that cells that go together count for fewer. That
    of the pattern is taken, or of everybody where it is larger.

    Args:
        z: Calibrated z of controls, [n, d], NaN where not observed; a person may come twice, with other modalities.
        pattern: Which modalities each of them has, [n].

    Returns:
        pattern -> w, without those that are 1: more than chance is needed for another.

    References:
        James & Stein (1961), Estimation with quadratic loss, https://projecteuclid.org/euclid.bsmsp/1200512173

    Examples:
        >>> z = np.random.default_rng(0).normal(size=(500, 20))
        >>> pattern = np.repeat(["all", "volumes"], [450, 50])
        >>> wide = pattern_widths(z * np.where(pattern == "all", 1.0, 1.2)[:, None], pattern)
        >>> pattern_widths(z, pattern), round(wide["volumes"], 2)
        ({}, 1.17)
    """
    z, pattern = np.asarray(z, float), np.asarray(pattern)
    seen = np.isfinite(z)
    known = seen.any(1)
    square, count = np.where(seen, z, 0.0)[known] ** 2, seen[known].sum(1)
    names, which = np.unique(pattern[known], return_inverse=True)
    person, cells = square.sum(1), np.bincount(which, count)
    level, common = np.bincount(which, person) / cells, cells.argmax()
    spread = count * (person / count / level[which] - 1) ** 2 / 2
    dispersion = np.maximum(np.bincount(which, spread) / np.bincount(which), spread.mean())
    log = 0.5 * np.log(level / level[common])
    error = dispersion / 2 * (1 / cells + 1 / cells[common])
    kept = np.maximum(0.0, 1 - np.divide(error, log**2, out=np.ones_like(log), where=log != 0))
    return {str(name): float(np.exp(x * k)) for name, x, k in zip(names, log, kept, strict=True) if k > 0}


def widths_of(pattern: ArrayLike, widths: Mapping[str, float]) -> Floats:
    """w of each person, [n, 1]; 1 for patterns without one."""
    return np.array([widths.get(str(name), 1.0) for name in np.asarray(pattern)]).reshape(-1, 1)


def mask_modalities(cohort: Cohort, seed: int) -> Cohort:
    """The people of two modalities or more, with some hidden: all but one, one, or down to a pattern that is met.

    Which of these, they take in turn, in an order that hangs on ids and seed and not on the order of rows.

    Args:
        cohort: Anybody.
        seed: Of the order.

    Examples:
        >>> import pyro_mmnorm as mm
        >>> cohort = mm.simulate(healthy=60, patients=2, seed=1).to_cohort()
        >>> less = mask_modalities(cohort, seed=0)
        >>> len(less), sorted(less.present.sum(axis=1).unique().tolist())
        (62, [1, 2])
    """
    present = cohort.present
    names = present.columns.to_numpy(object)
    sets = {person: frozenset(names[row]) for person, row in zip(present.index, present.to_numpy(), strict=True)}
    met, hidden = set(sets.values()), {}
    turns: dict[frozenset[str], Iterator[frozenset[str]]] = {}
    for person in np.random.default_rng(seed).permutation(present.index.sort_values().to_numpy(object)):
        own = sets[person]
        fewer = {own - {m} for m in own} | {frozenset({m}) for m in own} | {p for p in met if p < own}
        if fewer := fewer - {own, frozenset()}:
            kept = next(turns.setdefault(own, cycle(sorted(fewer, key=sorted))))
            hidden[person] = [m in own - kept for m in present]
    table = pd.DataFrame.from_dict(hidden, orient="index", columns=present.columns, dtype=bool)
    return cohort[table.index].hiding(table)


def calibrated_by_pattern(
    fit: Fit,
    score: Callable[[Cohort], tuple[Floats, Floats]],
    cohort: Cohort,
    raw: Floats,
    design: Floats,
    groups: Mapping[str, slice],
    seed: int,
) -> tuple[Calibrator, dict[str, float]]:
    """A calibrator of raw z divided by their width, and the width of each pattern of modalities.

    Args:
        fit: Such as `EmpiricalCalibrator.fit`.
        score: Returns raw z and design of people, here of the same controls with modalities masked.
        cohort: Calibration controls.
        raw, design: Their raw z [n, d] and encoded covariates [n, c].
        groups: covariate -> its columns in the design.
        seed: Seed of `mask_modalities`.
    """
    calibrator, pattern, masked = fit(raw, design, groups), cohort.modalities_present, mask_modalities(cohort, seed)
    z, everyone = calibrator(raw, design), np.concatenate([pattern, masked.modalities_present])
    widths = pattern_widths(np.concatenate([z, calibrator(*score(masked))]) if len(masked) else z, everyone)
    own = widths_of(pattern, widths)
    return (fit(raw / own, design, groups) if (own != 1).any() else calibrator), widths
