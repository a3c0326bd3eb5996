"""Multimodal normative modelling with product-of-experts variational autoencoders in Pyro.

Names are imported on first use, so that ``import pyro_mmnorm`` is cheap.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "Batch": "cohort",
    "Cohort": "cohort",
    "Config": "config",
    "InputError": "errors",
    "KINDS": "deviations",
    "LinearGaussian": "linear_gaussian",
    "MMVAE": "vae",
    "ModelConfig": "config",
    "NormativeModel": "deviations",
    "TrainConfig": "config",
    "adapt": "pipeline",
    "centiles": "charts",
    "compare": "comparison",
    "fit": "training",
    "from_pyro_svi": "pyro_svi",
    "load": "loading",
    "log_evidence": "evidence",
    "per_region": "datatree",
    "read_cohort": "io",
    "read_config": "config",
    "run": "pipeline",
    "score": "pipeline",
    "simulate": "simulation",
    "study": "studies",
    "to_datatree": "datatree",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name == "plots":
        return importlib.import_module(f"{__name__}.plots")
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__", "plots"]
