"""Kinds of simulated cohorts, by name."""

from collections.abc import Callable
from inspect import signature
from typing import Any, Literal, overload

from pyro_mmnorm.core.errors import check_known
from pyro_mmnorm.simulation.poster import poster
from pyro_mmnorm.simulation.scenario import Scenario
from pyro_mmnorm.simulation.simulated import Simulation, from_scenario
from pyro_mmnorm.simulation.ukb_adni import UkbAdni, ukb_adni

__all__ = ["KINDS", "simulate"]

KINDS: dict[str, Callable[..., Simulation]] = {"poster": poster, "ukb_adni": ukb_adni}
"""Name -> cohort, in addition to those described by a scenario."""


@overload
def simulate(scenario: Scenario | None = None, **changes: Any) -> Simulation: ...
@overload
def simulate(*, kind: Literal["ukb_adni"], **changes: Any) -> UkbAdni: ...
def simulate(scenario: Scenario | None = None, *, kind: str = "scenario", **changes: Any) -> Simulation:
    """A cohort with known truth.

    Args:
        scenario: For kind `scenario`: its description; None: the defaults of `Scenario`.
        kind: `scenario`; `poster`: one study of the size of the poster, see `poster`; `ukb_adni`: UK Biobank and ADNI
            combined, see `ukb_adni`.
        **changes: Fields of `Scenario`, or arguments of the kind.

    Raises:
        InputError: On an unknown kind or name, or a value out of range.

    Examples:
        >>> simulate(healthy=100, patients=10, sites=2, effect="one_region").effect.abs().to_numpy().max().item()
        4.0
        >>> cohort = simulate(kind="ukb_adni", healthy=50, controls=20, patients=10)
        >>> cohort.participants["study"].value_counts().to_dict()
        {'UKB': 50, 'ADNI': 30}
    """
    if kind == "scenario":
        return from_scenario(scenario, **changes)
    check_known("kind", kind, ("scenario", *KINDS))
    if scenario is not None:
        changes["scenario"] = scenario
    for name in changes:
        check_known(f"{kind}: {name}", name, list(signature(KINDS[kind]).parameters))
    return KINDS[kind](**changes)
