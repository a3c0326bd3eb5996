"""Cohorts with known truth."""

from pyro_mmnorm.simulation.kinds import KINDS, simulate
from pyro_mmnorm.simulation.poster import poster
from pyro_mmnorm.simulation.scenario import Effect, Scenario
from pyro_mmnorm.simulation.simulated import Simulation
from pyro_mmnorm.simulation.truth import ReferenceKind, Truth
from pyro_mmnorm.simulation.ukb_adni import UkbAdni, ukb_adni

__all__ = [
    "KINDS", "Effect", "ReferenceKind", "Scenario", "Simulation", "Truth", "UkbAdni", "poster", "simulate", "ukb_adni",
]  # fmt: skip
