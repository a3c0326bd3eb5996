"""Width of raw z by pattern of missing modalities, learned from calibration controls."""

from collections.abc import Callable, Iterator, Mapping
from itertools import cycle

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from pyro_mmnorm.calibration.protocol import Calibrator, Fit
from pyro_mmnorm.core.typing import Floats
from pyro_mmnorm.data.cohort import Cohort

__all__ = ["calibrated_by_pattern", "mask_modalities", "pattern_widths", "widths_of"]


def pattern_widths(z: ArrayLike, pattern: ArrayLike) -> dict[str, float]:
    r"""Width of z by pattern of observed modalities, relative to the most common pattern.

    The fewer regions of a person are observed, the more the predicted SD depends on the model, and the more an error of
    the model changes the width of z. With the mean square z of the n_p cells of pattern p, and of the most common one,

    .. math::
        \ell_p = \tfrac12 \log \frac{\overline{z^2_p}}{\overline{z^2_0}}, \qquad
        w_p = \exp\Big(\ell_p \max\big(0, 1 - \tfrac{\mathrm{se}_p^2}{\ell_p^2}\big)\Big), \qquad
        \mathrm{se}_p^2 = \frac{\varphi}{2} \Big(\frac{1}{n_p} + \frac{1}{n_0}\Big)

    phi is the mean over people of :math:`c_i (m_i / \overline{z^2_p} - 1)^2 / 2`, with m_i the mean square of the c_i
    cells of person i. It is 1 for independent Gaussian cells, and larger when cells of a person correlate. The larger
    one of two values is taken: that of the pattern and that of all people.

    Args:
        z: Calibrated z of controls, [n, d], NaN where not observed; a person may occur twice with other modalities.
        pattern: Name of the pattern of modalities of each row, [n].

    Returns:
        pattern -> w, only for patterns whose width differs from 1 by more than chance.

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
    observed = np.isfinite(z)
    rows = observed.any(1)
    square, count = np.where(observed, z, 0.0)[rows] ** 2, observed[rows].sum(1)
    names, which = np.unique(pattern[rows], return_inverse=True)
    # mean square of each pattern; the reference is the pattern with most cells
    person, cells = square.sum(1), np.bincount(which, count)
    level, common = np.bincount(which, person) / cells, cells.argmax()
    # dispersion phi: that of the pattern, or of all people where it is larger
    spread = count * (person / count / level[which] - 1) ** 2 / 2
    dispersion = np.maximum(np.bincount(which, spread) / np.bincount(which), spread.mean())
    # log width, and its squared standard error
    log = 0.5 * np.log(level / level[common])
    error = dispersion / 2 * (1 / cells + 1 / cells[common])
    # positive-part James-Stein shrinkage of the log width towards 0
    kept = np.maximum(0.0, 1 - np.divide(error, log**2, out=np.ones_like(log), where=log != 0))
    return {str(name): float(np.exp(x * k)) for name, x, k in zip(names, log, kept, strict=True) if k > 0}


def widths_of(pattern: ArrayLike, widths: Mapping[str, float]) -> Floats:
    """The width of each person, [n, 1]; 1 for patterns that are not in `widths`.

    Args:
        pattern: Pattern of modalities of each person, [n].
        widths: Of `pattern_widths`.

    Examples:
        >>> widths_of(["all", "volumes"], {"volumes": 1.17}).ravel()
        array([1.  , 1.17])
    """
    return np.array([widths.get(str(name), 1.0) for name in np.asarray(pattern)]).reshape(-1, 1)


def mask_modalities(cohort: Cohort, seed: int) -> Cohort:
    """The people with two modalities or more, with some of these masked.

    Of each person is masked one modality, or all but one, or as many as leave a smaller pattern of the cohort. People
    with the same modalities take these possibilities in turn, in a random order that depends on ids and seed, not on
    the order of rows.

    Args:
        cohort: People.
        seed: Seed of the random order.

    Examples:
        >>> import pyro_mmnorm as mm
        >>> cohort = mm.simulate(healthy=60, patients=2, seed=1).to_cohort()
        >>> less = mask_modalities(cohort, seed=0)
        >>> len(less), sorted(less.present.sum(axis=1).unique().tolist())
        (62, [1, 2])
    """
    present = cohort.present
    names = present.columns.to_numpy(object)
    patterns = {person: frozenset(names[row]) for person, row in zip(present.index, present.to_numpy(), strict=True)}
    existing, masked = set(patterns.values()), {}
    turns: dict[frozenset[str], Iterator[frozenset[str]]] = {}
    for person in np.random.default_rng(seed).permutation(present.index.sort_values().to_numpy(object)):
        own = patterns[person]
        smaller = {own - {m} for m in own} | {frozenset({m}) for m in own} | {p for p in existing if p < own}
        if smaller := smaller - {own, frozenset()}:
            kept = next(turns.setdefault(own, cycle(sorted(smaller, key=sorted))))
            masked[person] = [m in own - kept for m in present]
    table = pd.DataFrame.from_dict(masked, orient="index", columns=present.columns, dtype=bool)
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
    """A calibrator of raw z divided by the width of their pattern, and the width of each pattern of modalities.

    Args:
        fit: Function that fits a calibrator, such as `EmpiricalCalibrator.fit`.
        score: Function that returns raw z and design of people, here of the same controls with modalities masked.
        cohort: Calibration controls.
        raw: Their raw z, [n, d].
        design: Their encoded covariates, [n, c].
        groups: covariate -> its columns in the design.
        seed: Seed of `mask_modalities`.
    """
    calibrator, pattern, masked = fit(raw, design, groups), cohort.modalities_present, mask_modalities(cohort, seed)
    z, patterns = calibrator(raw, design), np.concatenate([pattern, masked.modalities_present])
    widths = pattern_widths(np.concatenate([z, calibrator(*score(masked))]) if len(masked) else z, patterns)
    own = widths_of(pattern, widths)
    return (fit(raw / own, design, groups) if (own != 1).any() else calibrator), widths
