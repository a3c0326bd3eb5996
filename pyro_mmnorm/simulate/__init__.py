"""Cohorts with known truth."""

import sys
from types import ModuleType

from pyro_mmnorm.simulate.poster import poster
from pyro_mmnorm.simulate.scenario import Effect, Scenario
from pyro_mmnorm.simulate.simulation import Simulation, simulate
from pyro_mmnorm.simulate.truth import ReferenceKind, Truth

__all__ = ["Effect", "ReferenceKind", "Scenario", "Simulation", "Truth", "poster", "simulate"]


class _Callable(ModuleType):
    """Once loaded, this folder is `pyro_mmnorm.simulate` too; calling it calls the function of that name."""

    __call__ = staticmethod(simulate)


sys.modules[__name__].__class__ = _Callable
