"""Statistics of people and regions: arrays in, figures with intervals out; NaN is not observed."""

from pyro_mmnorm.statistics.associations import adjusted, correlation, steiger_test, trend
from pyro_mmnorm.statistics.contrasts import GroupContrast, Share, column_moments, group_contrast, share_significant
from pyro_mmnorm.statistics.intervals import FEWEST, MEAN_ABS_Z, Estimate, bootstrap_interval, mean_interval
from pyro_mmnorm.statistics.multiplicity import benjamini_hochberg, holm
from pyro_mmnorm.statistics.ranks import auc, cliffs_delta, delong_test, jonckheere_terpstra

__all__ = [
    "FEWEST", "MEAN_ABS_Z", "Estimate", "GroupContrast", "Share", "adjusted", "auc", "benjamini_hochberg",
    "bootstrap_interval", "cliffs_delta", "column_moments", "correlation", "delong_test", "group_contrast", "holm",
    "jonckheere_terpstra", "mean_interval", "share_significant", "steiger_test", "trend",
]  # fmt: skip
