"""Training figures: convergence of the fit, and use of the latent dimensions."""

from collections.abc import Mapping
from itertools import cycle

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from pyro_mmnorm.core.errors import needed
from pyro_mmnorm.plots.style import BLUE, GREY, INK, OKABE_ITO, VERMILLION, axes_of, legend_below, short, styled

__all__ = ["active_units", "best_epoch", "held_out_fit", "history_curves", "latent_use"]


def best_epoch(history: pd.DataFrame) -> int:
    """Row of the lowest validation loss; the last row where no validation loss was recorded.

    Examples:
        >>> best_epoch(pd.DataFrame({"epoch": [1, 2, 3], "validation_loss": [3.0, 1.0, 2.0]}))
        1
    """
    validated = "validation_loss" in history and history["validation_loss"].notna().any()
    return int(history["validation_loss"].argmin()) if validated else len(history) - 1


@styled
def history_curves(history: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Loss per epoch on training and validation controls, with the selected epoch and the total time.

    Args:
        history: `epoch`, `loss`, and optionally `validation_loss`, `best_epoch` and `seconds`; a row per epoch.
        ax: Where to draw; a figure of its own if None.

    Raises:
        InputError: When the table is empty or lacks a column.

    Examples:
        >>> history_curves(pd.DataFrame({"epoch": [1, 2], "loss": [150.0, 140.0]})).get_xlabel()
        'epoch'
    """
    needed(history, ["epoch", "loss"], "history")
    ax = axes_of(ax, 6.2, 4.2)
    shown = [name for name in ("loss", "validation_loss") if name in history and history[name].notna().any()]
    for name, colour in zip(shown, (BLUE, VERMILLION), strict=False):
        label = "validation" if name == "validation_loss" else "training"
        ax.plot(history["epoch"], history[name], color=colour, linewidth=1.6, label=label)
    settled = history[shown].iloc[len(history) // 10 :]  # the steep first epochs do not set the scale
    low, high = settled.min().min(), settled.max().max()
    room = 0.08 * (high - low or 1.0)
    _epoch_axis(ax, history)
    ax.set(ylim=(low - room, high + room), ylabel="negative ELBO (nats per subject)")
    seconds = f", {history['seconds'].sum():,.0f} s" if "seconds" in history else ""
    ax.set_title(f"Loss: {len(history)} epochs{seconds}")
    legend_below(ax, ncols=3)
    return ax


@styled
def active_units(history: pd.DataFrame, latent_dim: int, *, ax: Axes | None = None) -> Axes:
    """Number of active latent dimensions per epoch.

    Args:
        history: `epoch` and `active_units`, a row per epoch.
        latent_dim: Number of latent dimensions.
        ax: Where to draw; a figure of its own if None.

    Raises:
        InputError: When the table is empty or lacks a column.

    References:
        Burda, Grosse & Salakhutdinov (2016), Importance weighted autoencoders, https://arxiv.org/abs/1509.00519

    Examples:
        >>> active_units(pd.DataFrame({"epoch": [1, 2], "active_units": [0, 3]}), 4).get_ylabel()
        'active latent dimensions'
    """
    needed(history, ["epoch", "active_units"], "history")
    ax, best = axes_of(ax, 6.2, 4.2), best_epoch(history)
    ax.step(history["epoch"], history["active_units"], where="mid", color=BLUE, linewidth=1.6)
    ax.axhline(latent_dim, color=GREY, linestyle="--", linewidth=1)
    ax.annotate(f"{latent_dim} in the model", (1, latent_dim), (-2, -3), xycoords=("axes fraction", "data"),
                textcoords="offset points", ha="right", va="top", color=GREY)  # fmt: skip
    _epoch_axis(ax, history)
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set(ylim=(-0.03 * latent_dim, 1.08 * latent_dim), ylabel="active latent dimensions")
    ax.set_title(f"Active latent dimensions: {history['active_units'].iloc[best]:g} of {latent_dim} at the best epoch")
    return ax


@styled
def held_out_fit(history: pd.DataFrame, sizes: Mapping[str, int], *, ax: Axes | None = None) -> Axes:
    """Log-likelihood per region of each modality on the validation controls, by epoch.

    Args:
        history: `epoch`, and `log_likelihood_<modality>` in nats per person; a row per epoch.
        sizes: Modality -> number of regions.
        ax: Where to draw; a figure of its own if None.

    Raises:
        InputError: When the table is empty, or lacks the column of a modality.

    Examples:
        >>> history = pd.DataFrame({"epoch": [1, 2], "log_likelihood_a": [-10.0, -8.0]})
        >>> held_out_fit(history, {"a": 4}).lines[0].get_ydata().tolist()
        [-2.5, -2.0]
    """
    needed(history, ["epoch", *(f"log_likelihood_{name}" for name in sizes)], "history")
    ax = axes_of(ax, 6.2, 4.2)
    for name, colour in zip(sizes, cycle(OKABE_ITO), strict=False):
        nats = history[f"log_likelihood_{name}"] / sizes[name]
        ax.plot(history["epoch"], nats, color=colour, linewidth=1.6, label=short(f"{name}, {sizes[name]} regions", 30))
    _epoch_axis(ax, history)
    ax.set_ylabel("log-likelihood (nats per person and region)")
    ax.set_title("Fit to validation controls, by modality")
    legend_below(ax, ncols=2)
    return ax


def _epoch_axis(ax: Axes, history: pd.DataFrame) -> None:
    """Label the axis and mark the epoch of the selected weights (0: initialisation), or else the best epoch."""
    ax.set_xlabel("epoch")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    at, what = history["epoch"].iloc[best_epoch(history)], "best epoch"
    if "best_epoch" in history:
        at, what = int(history["best_epoch"].iloc[-1]), "selected epoch"
    label = f"{what}, {at}{' (initialisation)' if at == 0 else ''}"
    ax.axvline(at, color=INK, linestyle=":", linewidth=1.2, label=label)


@styled
def latent_use(latents: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """KL of each latent dimension in descending order, split by the share of each expert in its posterior precision.

    Latent dimensions of ensemble members have no common order: those of the same rank are averaged.

    Args:
        latents: Result of `latent_table`: member, kl and share_<expert>; a row per latent dimension and member.
        ax: Where to draw; a figure of its own if None.

    Raises:
        InputError: When the table is empty or lacks a column.

    Examples:
        >>> latents = pd.DataFrame({"member": 0, "kl": [0.5, 2.0], "share_prior": [0.5, 0.2], "share_a": [0.5, 0.8]})
        >>> [float(bar.get_height()) for bar in latent_use(latents).containers[0]]
        [0.4, 0.25]
    """
    needed(latents, ["member", "kl", "share_prior"], "latents")
    ordered = latents.sort_values(["member", "kl"], ascending=[True, False])
    ranked = ordered.groupby(ordered.groupby("member").cumcount()).mean(numeric_only=True)
    ax, experts = axes_of(ax, 6.2, 4.2), [name for name in latents if str(name).startswith("share_")]
    base = np.zeros(len(ranked))
    for name, colour in zip(experts, (GREY, *OKABE_ITO), strict=False):
        height = (ranked["kl"] * ranked[name]).to_numpy()
        label = f"{str(name).removeprefix('share_')}: {latents[name].mean():.0%} of the precision"
        ax.bar(np.arange(1, len(ranked) + 1), height, 0.8, base, color=colour, label=short(label))
        base += height
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    members = latents["member"].nunique()
    averaged = f", mean of {members} members" if members > 1 else ""
    ax.set(xlabel="rank of the latent dimension by KL", ylabel="KL from the prior (nats per person)")
    ax.set_title(f"KL by latent dimension and expert{averaged}: {base.sum():.1f} nats")
    legend_below(ax, ncols=2)
    return ax
