"""Cohorts with known truth."""

from pyro_mmnorm.simulation.poster import poster
from pyro_mmnorm.simulation.scenario import Effect, Scenario
from pyro_mmnorm.simulation.simulated import Simulation, simulate
from pyro_mmnorm.simulation.truth import ReferenceKind, Truth

__all__ = ["Effect", "ReferenceKind", "Scenario", "Simulation", "Truth", "poster", "simulate"]
