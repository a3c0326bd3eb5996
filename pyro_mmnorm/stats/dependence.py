"""Conditional independence of modalities: correlation of their residuals in test controls (numpy and scipy)."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

from pyro_mmnorm.core.progress import bar
from pyro_mmnorm.core.typing import Floats
from pyro_mmnorm.stats.bootstrap import percentile_interval, resampled_people

__all__ = ["between_modalities"]


FEWEST_PAIRS = 20
NOTICED = 0.1


def between_modalities(
    z: Floats,
    modality: NDArray[np.str_],
    *,
    rng: np.random.Generator,
    regions: NDArray[np.str_] | None = None,
    permutations: int = 99,
    repeats: int = 100,
) -> dict[str, dict[str, Any]]:
    r"""Residual correlations between regions of different modalities, against people permuted within each modality.

    The model assumes that modalities are independent given the latents,
    :math:`p(x_1, x_2 | z) = p(x_1 | z) p(x_2 | z)`; then z-scores of different modalities do not correlate. Only z
    given everything observed (`reconstruction`, `local`) tests this: modalities share latents, so `normative` z of
    different modalities correlate in any such model.

    Args:
        z: z-scores of test controls, [n, d], NaN where not observed.
        modality: Modality of each region, [d].
        rng: Source of the permutations and of the bootstrap.
        regions: Names of the regions, [d]; then the pair with the largest |r| is named.
        permutations: Number of permutations.
        repeats: Number of bootstrap samples of people. The draws are centred on the statistic: a resample, in which
            people occur several times, has larger correlations by chance.

    Returns:
        largest_r, share_above_0.1 and first_eigenvalue (of the correlation matrix with the blocks of each modality
        set to 0), each with its value, 95 % interval (low, high), n, mean over permutations (null) and p; with
        `regions`, largest_r has its `pair` too. Empty for one modality, and where no two modalities share 20 people.

    Examples:
        >>> z = np.random.default_rng(0).normal(size=(300, 6))
        >>> checks = between_modalities(z, np.array(list("aaabbb")), rng=np.random.default_rng(1))
        >>> bool(checks["first_eigenvalue"]["p"] > 0.05)
        True
    """
    seen = np.isfinite(z)
    people = np.maximum(seen.sum(0), 1)
    filled = np.where(seen, z - np.where(seen, z, 0.0).sum(0) / people, 0.0)
    across = modality[:, None] != modality[None, :]
    if not (across & (seen.T.astype(float) @ seen >= FEWEST_PAIRS)).any():
        return {}
    r, known = _correlations(filled, seen, across)
    value = _strength(r, known)
    null = np.array(
        [_strength(*_correlations(*mixed, across)) for mixed in _permuted(filled, seen, modality, rng, permutations)]
    )
    rows = bar(resampled_people(np.zeros(len(z)), repeats, rng), "bootstrap", unit="sample")
    drawn = np.array([_strength(*_correlations(filled[row], seen[row], across)) for row in rows])
    low, high = percentile_interval(drawn, centre=value)
    names, n = ("largest_r", f"share_above_{NOTICED}", "first_eigenvalue"), int(seen.any(1).sum())
    checks: dict[str, dict[str, Any]] = {
        name: {
            "value": value[i],
            "low": float(max(0.0, low[i])),
            "high": float(high[i]),
            "n": n,
            "null": float(null[:, i].mean()),
            "p": float((1 + (null[:, i] >= value[i]).sum()) / (permutations + 1)),
        }
        for i, name in enumerate(names)
    }
    if regions is not None:
        first, second = divmod(int(np.abs(r).argmax()), len(r))
        checks["largest_r"]["pair"] = f"{regions[first]} and {regions[second]}"
    return checks


def _permuted(
    z: Floats, seen: NDArray[np.bool_], modality: NDArray[np.str_], rng: np.random.Generator, permutations: int
) -> Iterator[tuple[Floats, NDArray[np.bool_]]]:
    """z and observed cells with the people of each modality permuted independently of the others."""
    for _ in bar(range(permutations), "permutations", unit="permutation"):
        order = np.empty(z.shape, np.int64)
        for m in dict.fromkeys(modality.tolist()):
            order[:, modality == m] = rng.permutation(len(z))[:, None]
        yield np.take_along_axis(z, order, 0), np.take_along_axis(seen, order, 0)


def _correlations(z: Floats, seen: NDArray[np.bool_], across: NDArray[np.bool_]) -> tuple[Floats, NDArray[np.bool_]]:
    """r between modalities, [d, d], 0 elsewhere; and the pairs of regions that at least 20 people share."""
    if seen.all():
        size = (z**2).sum(0)
        both, pairs = np.sqrt(np.outer(size, size)), np.full(across.shape, len(z))
    else:
        mask = seen.astype(float)
        square = (z**2).T @ mask
        both, pairs = np.sqrt(square * square.T), mask.T @ mask
    known = across & (pairs >= FEWEST_PAIRS) & (both > 0)
    return np.divide(z.T @ z, both, out=np.zeros(both.shape), where=known), known


def _strength(r: Floats, known: NDArray[np.bool_]) -> tuple[float, float, float]:
    """Largest |r|, share of |r| above 0.1 and first eigenvalue between modalities."""
    size, last = np.abs(r[known]), len(r) - 1
    first = float(eigh(r, eigvals_only=True, subset_by_index=(last, last))[0])
    return float(size.max(initial=0.0)), float((size > NOTICED).mean()) if size.size else 0.0, first
