"""Statistics of people and regions: arrays in, figures with intervals out; NaN is not observed."""

from pyro_mmnorm.statistics.associations import adjusted, correlation, indicators, residuals, slope, steiger_test, trend
from pyro_mmnorm.statistics.contrasts import GroupContrast, Share, column_moments, group_contrast, share_significant
from pyro_mmnorm.statistics.dependence import between_modalities
from pyro_mmnorm.statistics.distances import hamming, pair_totals
from pyro_mmnorm.statistics.intervals import (
    FEWEST,
    MEAN_ABS_Z,
    Estimate,
    bootstrap_interval,
    difference,
    mean_interval,
)
from pyro_mmnorm.statistics.multiplicity import benjamini_hochberg, holm
from pyro_mmnorm.statistics.ranks import auc, cliffs_delta, concordance, delong_test, jonckheere_terpstra
from pyro_mmnorm.statistics.rates import likelihood_ratio, share

__all__ = [
    "FEWEST", "MEAN_ABS_Z", "Estimate", "GroupContrast", "Share", "adjusted", "auc", "benjamini_hochberg",
    "between_modalities", "bootstrap_interval", "cliffs_delta", "column_moments", "concordance", "correlation",
    "delong_test", "difference", "group_contrast", "hamming", "holm", "indicators", "jonckheere_terpstra",
    "likelihood_ratio", "mean_interval", "pair_totals", "residuals", "share", "share_significant", "slope",
    "steiger_test", "trend",
]  # fmt: skip
