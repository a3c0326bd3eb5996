"""Simulated cohort with the size, modalities and stages of the poster."""

from dataclasses import replace

import numpy as np

from pyro_mmnorm.simulation.scenario import Scenario
from pyro_mmnorm.simulation.simulated import Planted, Simulation, draw_people, measure
from pyro_mmnorm.simulation.truth import Truth

__all__ = ["poster"]

# Volumes in mm^3, of the order of magnitude of FreeSurfer in adults; approximate, from no data set.
CORTICAL = {
    "bankssts": 2400, "caudalanteriorcingulate": 1900, "caudalmiddlefrontal": 5800, "cuneus": 3000, "entorhinal": 1900,
    "fusiform": 9000, "inferiorparietal": 12500, "inferiortemporal": 10500, "isthmuscingulate": 2400,
    "lateraloccipital": 11500, "lateralorbitofrontal": 7300, "lingual": 6500, "medialorbitofrontal": 5000,
    "middletemporal": 11000, "parahippocampal": 2000, "paracentral": 3400, "parsopercularis": 4300,
    "parsorbitalis": 2200, "parstriangularis": 3600, "pericalcarine": 2200, "postcentral": 9200,
    "posteriorcingulate": 2900, "precentral": 12500, "precuneus": 9200, "rostralanteriorcingulate": 2300,
    "rostralmiddlefrontal": 14500, "superiorfrontal": 20500, "superiorparietal": 12500, "superiortemporal": 11000,
    "supramarginal": 9800, "transversetemporal": 1100, "insula": 6700,
}  # fmt: skip
PAIRED = {
    "Lateral-Ventricle": 13000, "Inf-Lat-Vent": 450, "Cerebral-White-Matter": 225000, "Cerebellum-White-Matter": 14000,
    "Cerebellum-Cortex": 52000, "Thalamus": 6900, "Caudate": 3400, "Putamen": 4600, "Pallidum": 1950,
    "Hippocampus": 3900, "Amygdala": 1550, "Accumbens-area": 460, "VentralDC": 3900,
}  # fmt: skip
MIDLINE = {
    "3rd-Ventricle": 1300, "4th-Ventricle": 1900, "Brain-Stem": 21500, "Optic-Chiasm": 220, "CC_Posterior": 950,
    "CC_Mid_Posterior": 450, "CC_Central": 450, "CC_Mid_Anterior": 450, "CC_Anterior": 850,
}  # fmt: skip
SUBFIELDS = {
    "CA1": 650, "CA3": 210, "CA4": 250, "GC-ML-DG": 290, "subiculum": 440, "presubiculum": 310,
    "molecular_layer_HP": 560, "Hippocampal_tail": 560,
}  # fmt: skip
REGIONS = {
    "cortical": {f"{side}_{name}_volume": size for side in ("lh", "rh") for name, size in CORTICAL.items()},
    "subcortical": {f"{side}-{name}": size for side in ("Left", "Right") for name, size in PAIRED.items()} | MIDLINE,
    "hippocampal": {f"{side}_{name}": size for side in ("left", "right") for name, size in SUBFIELDS.items()},
}
CHANGES = {
    "Hippocampus": -1.8, "CA1": -1.8, "subiculum": -1.8, "presubiculum": -1.6, "CA3": -1.2, "CA4": -1.3,
    "GC-ML-DG": -1.3, "molecular_layer_HP": -1.8, "Hippocampal_tail": -1.1, "entorhinal": -1.6, "Amygdala": -1.4,
    "parahippocampal": -0.9, "inferiortemporal": -0.9, "middletemporal": -0.9, "fusiform": -0.8, "bankssts": -0.6,
    "superiortemporal": -0.6, "inferiorparietal": -0.7, "supramarginal": -0.5, "precuneus": -0.6,
    "isthmuscingulate": -0.6, "posteriorcingulate": -0.5, "Inf-Lat-Vent": 1.9, "Lateral-Ventricle": 1.3,
    "3rd-Ventricle": 0.7,
}  # fmt: skip
STAGES = {"SMC": 106.0, "EMCI": 312.0, "LMCI": 263.0, "AD": 181.0}


def poster(healthy: int = 9875, patients: int = 862, seed: int = 1) -> Simulation:
    """A cohort of the size of the poster: 64 cortical, 35 subcortical and 16 hippocampal volumes, three sites.

    Patients are of the stages SMC, EMCI, LMCI and AD (106, 312, 263 and 181 of 862) and five years older on average.
    Severity increases with the stage and varies within it. With severity, the hippocampus and its subfields, the
    entorhinal cortex and the amygdala lose most volume, the temporal and parietal cortex less, and the ventricles grow;
    ADAS13 depends on the same severity, with noise. A common factor explains a fifth of the variance of every region.
    Names are those of FreeSurfer. Means and effects are plausible but approximate and come from no data set: the cohort
    shows how a program works, and nothing about disease.

    Args:
        healthy, patients: Numbers of people.
        seed: The same seed gives the same cohort.

    Raises:
        InputError: On a number out of range.

    References:
        Kumar, Payne & Sotiras, mmNormVAE (the poster that this package follows; see CITATION.cff)

    Examples:
        >>> cohort = poster(healthy=300, patients=30)
        >>> {m: frame.shape[1] for m, frame in cohort.values.items()}
        {'cortical': 64, 'subcortical': 35, 'hippocampal': 16}
    """
    scenario = Scenario(
        healthy=healthy,
        patients=patients,
        seed=seed,
        regions={m: list(volumes) for m, volumes in REGIONS.items()},
        latents=10,
        age=(45.0, 82.0),
        patients_older=5.0,
        sites=3,
        site_shift=0.3,
        common_factor=0.2,
        stages=STAGES,
    )
    drawn = Truth.draw(scenario)
    mean = np.array([float(volume) for volumes in REGIONS.values() for volume in volumes.values()])
    fluid = np.char.find(drawn.region, "Vent") >= 0
    truth = replace(
        drawn,
        mean=mean,
        sd=np.where(fluid, 0.12, 0.1) * mean,
        age_slope=np.where(fluid, 1, -1) * np.abs(drawn.age_slope),
    )
    participants, severity = draw_people(scenario, spread=0.15)
    change = np.array([CHANGES.get(_without_side(name), 0.0) for name in drawn.region])
    planted = Planted(np.zeros((patients, truth.loadings.shape[1])), severity[healthy:, None] * change)
    return measure(scenario, truth, participants, planted)


def _without_side(region: str) -> str:
    """The name without side and measure."""
    for side in ("lh_", "rh_", "Left-", "Right-", "left_", "right_"):
        region = region.removeprefix(side)
    return region.removesuffix("_volume")
