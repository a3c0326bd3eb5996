"""load(): a saved norm, from arrays and JSON alone."""

from pathlib import Path
from typing import Any

from pyro_mmnorm import checkpoint
from pyro_mmnorm.calibrated import Calibrated
from pyro_mmnorm.deviations import SETTINGS, NormativeModel
from pyro_mmnorm.errors import InputError
from pyro_mmnorm.linear_gaussian import LinearGaussian
from pyro_mmnorm.preprocess import Preprocess
from pyro_mmnorm.vae import MMVAE

__all__ = ["load"]


def load(folder: str | Path, **parts: Any) -> NormativeModel:
    """The normative model in a folder that `NormativeModel.save` wrote; executes nothing of what it reads.

    Args:
        folder: The model folder.
        **parts: fusion, likelihood, prior or calibrator, where they are callables of your own: code is never saved.

    Raises:
        InputError: When a file is missing or was altered, or a callable was not given.
    """
    arrays, record = checkpoint.read(folder)
    preprocess = Preprocess.from_record(record["preprocess"])
    for role, part in {**record["model"], "calibrator": record["calibrator"]}.items():
        if role not in parts and _is_custom(part):
            todo = f"call load(folder, {role}=...) with the same callable"
            raise InputError(str(folder), f"a {role} of your own, {part}", "the callable itself", todo)
    calibrator = parts.pop("calibrator", record["calibrator"])
    build = LinearGaussian if "baseline" in record["model"] else MMVAE.build
    model = build(preprocess, **{**record["model"], **parts})
    model.load_state_dict(checkpoint.tensors(arrays, "model.", model.state_dict()))
    norm = NormativeModel(model.eval(), calibrator=calibrator, **{name: record[name] for name in SETTINGS})
    norm.spread, norm.widths = arrays.get("spread"), record.get("widths", {})
    base = Calibrated.from_arrays(arrays, record["calibrators"], preprocess.groups)
    norm.calibrators, norm.latent, norm.groups = dict(base.calibrators), base.latent, base.groups
    for i, kept in enumerate(record["sites"]):
        own = Calibrated.from_arrays(arrays, kept["calibrators"], preprocess.groups, prefix=f"site.{i}.")
        norm.sites[kept["site"]] = own
    return norm


def _is_custom(part: object) -> bool:
    return isinstance(part, dict) and ("custom" in part or any(_is_custom(inner) for inner in part.values()))
