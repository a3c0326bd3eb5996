"""Training figures: did the fit converge, and are the latents used?"""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from pyro_mmnorm.plots.style import BLUE, GREY, INK, VERMILLION, axes_of, legend_below, needed, styled

__all__ = ["active_units", "best_epoch", "history_curves"]


def best_epoch(history: pd.DataFrame) -> int:
    """Row of the lowest validation loss; the last one where none was watched.

    Examples:
        >>> best_epoch(pd.DataFrame({"epoch": [1, 2, 3], "validation_loss": [3.0, 1.0, 2.0]}))
        1
    """
    watched = history.get("validation_loss", pd.Series(dtype=float)).dropna()
    return int(history["validation_loss"].argmin()) if len(watched) else len(history) - 1


@styled
def history_curves(history: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Loss of every epoch on training and validation controls, with the best epoch and the time taken.

    Args:
        history: `epoch`, `loss`, and if there `validation_loss` and `seconds`; a row per epoch.
        ax: Where to draw; a figure of its own if None.

    Raises:
        InputError: When the table is empty or lacks a column.

    Examples:
        >>> history_curves(pd.DataFrame({"epoch": [1, 2], "loss": [150.0, 140.0]})).get_xlabel()
        'epoch'
    """
    needed(history, ["epoch", "loss"], "history")
    ax, best = axes_of(ax, 6.2, 4.2), best_epoch(history)
    shown = [name for name in ("loss", "validation_loss") if name in history and history[name].notna().any()]
    for name, colour in zip(shown, (BLUE, VERMILLION), strict=False):
        label = "validation" if name == "validation_loss" else "training"
        ax.plot(history["epoch"], history[name], color=colour, linewidth=1.6, label=label)
    settled = history[shown].iloc[len(history) // 10 :]  # the first epochs would flatten the rest
    low, high = settled.min().min(), settled.max().max()
    room = 0.08 * (high - low or 1.0)
    at = history["epoch"].iloc[best]
    ax.axvline(at, color=INK, linestyle=":", linewidth=1.2, label=f"best epoch, {at}")
    ax.set(ylim=(low - room, high + room), xlabel="epoch", ylabel="negative ELBO (nats per subject)")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    seconds = f", {history['seconds'].sum():,.0f} s" if "seconds" in history else ""
    ax.set_title(f"Loss: {len(history)} epochs{seconds}")
    legend_below(ax, ncols=3)
    return ax


@styled
def active_units(history: pd.DataFrame, latent_dim: int, *, ax: Axes | None = None) -> Axes:
    """Number of latents in use at every epoch, against those there are.

    Args:
        history: `epoch` and `active_units`, a row per epoch.
        latent_dim: Number of latents.
        ax: Where to draw; a figure of its own if None.

    Raises:
        InputError: When the table is empty or lacks a column.

    References:
        Burda, Grosse & Salakhutdinov (2016), Importance weighted autoencoders, https://arxiv.org/abs/1509.00519

    Examples:
        >>> active_units(pd.DataFrame({"epoch": [1, 2], "active_units": [0, 3]}), 4).get_ylabel()
        'latents in use'
    """
    needed(history, ["epoch", "active_units"], "history")
    ax, best = axes_of(ax, 6.2, 4.2), best_epoch(history)
    ax.step(history["epoch"], history["active_units"], where="mid", color=BLUE, linewidth=1.6)
    ax.axhline(latent_dim, color=GREY, linestyle="--", linewidth=1)
    ax.annotate(f"{latent_dim} latents", (1, latent_dim), (-2, -3), xycoords=("axes fraction", "data"),
                textcoords="offset points", ha="right", va="top", color=GREY)  # fmt: skip
    ax.axvline(history["epoch"].iloc[best], color=INK, linestyle=":", linewidth=1.2)
    ax.set(ylim=(-0.03 * latent_dim, 1.08 * latent_dim), xlabel="epoch", ylabel="latents in use")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True))
    ax.set_title(f"Active units: {history['active_units'].iloc[best]:g} of {latent_dim} at the best epoch")
    return ax
