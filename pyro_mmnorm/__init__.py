"""Multimodal normative modelling with product-of-experts variational autoencoders in Pyro.

Names are imported on first use, so that ``import pyro_mmnorm`` is cheap.
"""

import importlib
from typing import Any

__version__ = "0.2.0.dev0"

_HOME = {
    "Batch": "data.batch",
    "Cohort": "data.cohort",
    "Config": "config",
    "InputError": "core.errors",
    "KINDS": "results.schema",
    "LinearGaussian": "models.linear",
    "MMVAE": "models.vae",
    "ModelConfig": "config",
    "NormativeModel": "norm.normative_model",
    "TrainConfig": "config",
    "Scenario": "simulation.scenario",
    "adapt": "app.pipeline",
    "centiles": "norm.centiles",
    "compare": "app.compare.compare",
    "fit": "inference.training",
    "from_pyro_svi": "norm.pyro_svi",
    "load": "norm.normative_model",
    "log_evidence": "inference.evidence",
    "per_region": "norm.datatree",
    "read_cohort": "data.tables",
    "read_config": "config",
    "run": "app.pipeline",
    "score": "app.pipeline",
    "simulate": "simulation.kinds",
    "study": "app.study.study",
    "to_datatree": "norm.datatree",
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
