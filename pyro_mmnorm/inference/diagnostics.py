"""Diagnostics of a fit, on held-out people."""

from typing import Any

import pandas as pd

from pyro_mmnorm.data.batch import Batch
from pyro_mmnorm.inference.elbo import elbo_terms
from pyro_mmnorm.inference.evidence import latent_table
from pyro_mmnorm.models.vae import MMVAE

__all__ = ["diagnostics"]

DRAWS = 16


def diagnostics(model: MMVAE, history: pd.DataFrame, held_out: Batch) -> dict[str, Any]:
    r"""Figures that show whether a model has learned, JSON-able; lists have one number per member.

    * people: number of held-out people, on whom the figures are computed; members; latents: of each member;
    * active_units: latents whose posterior mean varies by more than 0.01 between people;
    * kl: :math:`\mathrm{KL}(q(z \mid X, c) \| p(z))`, nats per person, and log_likelihood: modality ->
      :math:`E_q \log p(x_m \mid z, c)` of the observed cells, nats per person in model units; unweighted, means over
      members;
    * share_of_precision: of the posterior, from the prior and each expert, mean over latents, people and members;
    * epochs: number trained; best_epoch: the epoch of the restored weights; 0 is the start, and without a validation
      part it is the last; stayed_at_start: no epoch improved on the start;
    * warning: a sentence where the posterior has collapsed, else None.

    Args:
        model: Trained.
        history: Result of `fit`.
        held_out: At least two people that the model was not trained on, in model units.

    Examples:
        >>> import pyro_mmnorm as mm
        >>> cohort = mm.simulate(healthy=200, patients=20, seed=1).to_cohort()
        >>> model = mm.MMVAE.for_cohort(cohort, latent_dim=4)
        >>> history = mm.fit(model, cohort.train, mm.TrainConfig(epochs=2), progress=False)
        >>> figures = diagnostics(model, history, model.preprocess(cohort.calibrate))
        >>> figures["latents"], len(figures["active_units"]), figures["warning"]
        (4, 1, None)
    """
    latents = latent_table(model, held_out)
    logs, kl = elbo_terms(model, held_out, DRAWS)
    active = [int(n) for n in latents.groupby("member")["active"].sum()]
    shares = latents.filter(like="share_").mean()
    best = [int(x) for x in history.filter(regex="^best_epoch").tail(1).to_numpy().ravel()]
    best = best or [len(history)] * model.members
    return {
        "people": len(held_out),
        "members": model.members,
        "latents": model.latent_dim,
        "active_units": active,
        "kl": float(kl.mean()),
        "log_likelihood": {m: float(x.mean()) for m, x in logs.items()},
        "share_of_precision": {str(name).removeprefix("share_"): float(x) for name, x in shares.items()},
        "epochs": len(history),
        "best_epoch": best,
        "stayed_at_start": [epoch == 0 for epoch in best],
        "warning": _warning(active, model.latent_dim),
    }


def _warning(active: list[int], latents: int) -> str | None:
    """A sentence where some member has no active latent."""
    if min(active) > 0:
        return None
    collapsed = sum(n == 0 for n in active)
    which = f" in {collapsed} of {len(active)} members" if len(active) > 1 else ""
    return (
        f"0 of {latents} latents active{which}: the posterior has collapsed, and z-scores are those of a regression on "
        "the covariates. Use a learned sigma (likelihood: normal), start: linear, or a smaller beta."
    )
