"""Tables of deviations: measures of every person, and of every region and group."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from scipy.special import ndtr

from pyro_mmnorm.core.arrays import ratio
from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.core.typing import Floats
from pyro_mmnorm.results.person_measures import LEVEL, person_measures
from pyro_mmnorm.results.schema import ALL_TARGETS, MEMBER_SD, TEST_CONTROLS, group_of, order_of
from pyro_mmnorm.stats.contrasts import column_moments, group_contrast, share_significant
from pyro_mmnorm.stats.distances import pair_totals
from pyro_mmnorm.stats.multiplicity import benjamini_hochberg

__all__ = ["poster_rule", "region_table", "subject_table"]

HEDGES_G = ("hedges_g", "hedges_g_low", "hedges_g_high")
AGAINST_CONTROLS = (*HEDGES_G, "welch_t", "welch_p", "welch_q", "mannwhitney_p", "mannwhitney_q")


def subject_table(dev: xr.Dataset, split: pd.Series, group: pd.Series) -> pd.DataFrame:
    r"""Summary measures of every person, over the regions observed in that person.

    Args:
        dev: Deviations of one kind, dims (subject, region): z, q and optionally omnibus_p, mse and the variables of an
            ensemble.
        split: `test` or `target` of every person, by id.
        group: Group of every person, by id.

    Returns:
        A row per person, indexed by id:

        * split, group; n_observed: observed regions;
        * mean_abs_z (0.798 in calibrated controls), mean_sq_z (1), mean_z (0; negative: smaller than expected);
        * n_outliers: regions with |z| > 1.96; n_significant: flagged regions, with q < 0.05;
        * dsi: disease severity index, the sum of |z| over flagged regions divided by n_observed;
        * hamming: share of regions in which the flags differ from those of another person of the group, over all pairs
          of observed regions; NaN for a person alone in a group;
        * mean_abs_z.<modality>: over the regions of one modality, for several modalities;
        * omnibus_p, mse, and <measure>_member_sd (see `member_spread`): as in dev; also hamming_member_sd;
        * lowest_region, highest_region, most_deviant: region of the smallest z, the largest z, the largest |z|.

        NaN, and no region, for a person without observed regions.

    Raises:
        InputError: When a person has no split or group, or a split other than test and target.

    Examples:
        >>> z = xr.DataArray([[1.0, -3.0]], dims=("subject", "region"))
        >>> dev = xr.Dataset({"z": z, "q": 0 * z + [0.3, 0.01]}, {"subject": ["s1"], "region": ["t1.a", "t1.b"]})
        >>> table = subject_table(dev, pd.Series({"s1": "target"}), pd.Series({"s1": "AD"}))
        >>> table[["mean_abs_z", "n_significant", "dsi"]].to_numpy().tolist(), table["most_deviant"].to_dict()
        ([[2.0, 1.0, 1.5]], {'s1': 't1.b'})
    """
    people = _people(dev, split, group)
    z, q, names = (dev[name].to_numpy() for name in ("z", "q", "region"))
    seen = np.isfinite(z)
    table = people.drop(columns="label").assign(
        **person_measures(dev), hamming=_hamming(q < LEVEL, seen, people["label"])
    )
    for name in ("omnibus_p", "mse", *(str(name) for name in dev.data_vars if str(name).endswith(MEMBER_SD))):
        if name in dev and dev[name].ndim == 1:
            table[name] = dev[name].to_numpy()
    if "flagged_by_member" in dev:
        each = [_hamming(flagged, seen, people["label"]) for flagged in dev["flagged_by_member"].to_numpy()]
        table[f"hamming{MEMBER_SD}"] = np.std(each, axis=0, ddof=1)
    n = table["n_observed"]
    for name, order in (("lowest_region", -z), ("highest_region", z), ("most_deviant", np.abs(z))):
        table[name] = pd.Series(names[np.where(seen, order, -np.inf).argmax(1)], table.index).where(n > 0)
    return table


def poster_rule(z: Floats) -> NDArray[np.bool_]:
    r"""Significance rule of Kumar, Payne & Sotiras: p = 1 - Phi(|z|), BH over the people within a region, q < 0.05.

    For comparison only: this p-value of |z| is half of the two-sided p-value, so 10 % of calibrated z have p < 0.05.

    Args:
        z: [n, d], NaN where not observed.

    Returns:
        Flags [n, d]; False where not observed.

    Examples:
        >>> import numpy as np
        >>> poster_rule(np.array([[-4.0], [1.0], [np.nan]])).ravel().tolist()
        [True, False, False]
    """
    return benjamini_hochberg(ndtr(-np.abs(z)), axis=0) < LEVEL


def region_table(dev: xr.Dataset, split: pd.Series, group: pd.Series, groups: Sequence[str]) -> pd.DataFrame:
    """Measures of every region and group: test controls first, then the target groups, then all of these together.

    Args:
        dev: Deviations of one kind, dims (subject, region), with modality and region_name (region).
        split, group: As in `subject_table`.
        groups: The groups in their order.

    Returns:
        A row per group and region: modality, region, group, n, mean_z, sd_z; against the test controls hedges_g (with
        _low and _high), welch_t, welch_p, welch_q, mannwhitney_p, mannwhitney_q (q over all regions of the group);
        count_significant and share_significant (with _low and _high, Clopper-Pearson): people with
        2 Phi(-|z|) < 0.05, uncorrected; share_significant_controls (with _low and _high): the same for the test
        controls; share_poster_rule. NaN where either group has fewer than 3 people, where nobody was observed, and in
        contrasts of the test controls with themselves.

    Raises:
        InputError: As `subject_table`, and when target subjects are in a group that is not in `groups`.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> ids, where = [f"s{i}" for i in range(40)], ["t1.a", "t1.b"]
        >>> coords = {"subject": ids, "region": where, "modality": ("region", ["t1", "t1"]),
        ...           "region_name": ("region", ["a", "b"])}
        >>> dev = xr.Dataset({"z": (("subject", "region"), rng.normal(size=(40, 2)))}, coords)
        >>> split, group = pd.Series(["test", "target"] * 20, ids), pd.Series(["CN", "AD"] * 20, ids)
        >>> region_table(dev, split, group, ["CN", "AD"])["group"].unique().tolist()
        ['test controls', 'AD']
    """
    people = _people(dev, split, group)
    z, label = dev["z"].to_numpy(), people["label"]
    members = {name: (label == name).to_numpy() for name in order_of(people, groups)}
    controls = z[label == TEST_CONTROLS]
    if len(members.keys() - {TEST_CONTROLS}) > 1:
        members[ALL_TARGETS] = (people["split"] == "target").to_numpy()
    names = {"modality": dev["modality"].to_numpy(), "region": dev["region_name"].to_numpy()}
    blocks = [
        pd.DataFrame({**names, "group": name, **_regions(z[rows], controls, name)}) for name, rows in members.items()
    ]
    return pd.concat(blocks, ignore_index=True)


def _regions(z: Floats, controls: Floats, name: str) -> dict[str, NDArray[Any]]:
    """The columns of one group, [d] each."""
    n, mean, sd = column_moments(z)
    share, healthy = (share_significant(2 * ndtr(-np.abs(x)), LEVEL) for x in (z, controls))
    contrast = group_contrast(z, controls if name != TEST_CONTROLS else controls[:0])
    return {
        "n": n,
        "mean_z": mean,
        "sd_z": sd,
        **{column: getattr(contrast, column) for column in AGAINST_CONTROLS},
        "count_significant": share.count,
        "share_significant": share.value,
        "share_significant_low": share.low,
        "share_significant_high": share.high,
        "share_significant_controls": healthy.value,
        "share_significant_controls_low": healthy.low,
        "share_significant_controls_high": healthy.high,
        "share_poster_rule": ratio(poster_rule(z).sum(0), n),
    }


def _people(dev: xr.Dataset, split: pd.Series, group: pd.Series) -> pd.DataFrame:
    """Split, group and label of the people of dev, by id."""
    ids = pd.Index(dev["subject"].to_numpy(), name="id")
    people = pd.DataFrame({"split": split.reindex(ids), "group": group.reindex(ids)})
    lost = people.index[people.isna().any(axis=1)]
    if len(lost):
        got = f"no split or group for {lost[0]!r}"
        raise InputError("deviations", got, "both for every person", "use split and group of the same cohort")
    if wrong := sorted(set(people["split"]) - {"test", "target"}):
        todo = "leave out people on whom the norm was fitted"
        raise InputError("split", f"{', '.join(wrong)}", "test and target", todo)
    return people.assign(label=group_of(people))


def _hamming(flagged: NDArray[np.bool_], seen: NDArray[np.bool_], label: pd.Series) -> Floats:
    """Share of regions observed in both in which the flags differ from those of others of the group, [n]."""
    out = np.full(len(label), np.nan)
    for rows in label.groupby(label).indices.values():
        out[rows] = ratio(*pair_totals(flagged[rows], seen[rows]))
    return out
