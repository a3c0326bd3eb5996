"""Calibrators on simulated raw residuals: how calibrated z of test controls are, and how valid conformal p are."""

import sys
from itertools import product

import numpy as np
import pandas as pd

from pyro_mmnorm.calibration import CALIBRATORS, Calibrator, adapt, mean_square
from pyro_mmnorm.metrics import COVERAGE_LEVELS, coverage, region_spread, tail_share
from pyro_mmnorm.threads import one_thread

__all__ = ["Residuals", "main"]

REGIONS, SITES = 115, 4
SITE_SCALE = np.geomspace(0.8, 1.25, SITES)
GROUPS = {"age": slice(0, 3), "sex": slice(3, 4), "site": slice(4, 4 + SITES)}
SEEDS = range(6)
SPLITS = 200
Drawn = tuple[np.ndarray, np.ndarray, pd.DataFrame]
LEVELS = (0.01, 0.05, 0.1)


class Residuals:
    """Raw residuals of controls: correlated regions, means by age, sex and site, SD by region (and age and site).

    Args:
        seed: Of this truth.
        common: Share of one factor that all regions have in common.
        uneven: The SD grows by 1.6 over age and differs by site, 0.8 to 1.25.
        df: Degrees of freedom of t residuals (SD 1); infinite is Gaussian.
        regions: How many.
    """

    def __init__(
        self, seed: int, *, common: float = 0.0, uneven: bool = False, df: float = np.inf, regions: int = REGIONS
    ) -> None:
        self.rng = rng = np.random.default_rng(seed)
        self.common, self.uneven, self.df = common, uneven, df
        self.loadings = 0.25 * rng.normal(size=(5, regions))
        self.scale = np.exp(-0.4 + 0.2 * rng.normal(size=regions))
        self.offset = 0.1 * rng.normal(size=regions)
        self.effects = np.array([0.2] * 4 + [0.3] * SITES)[:, None] * rng.normal(size=(4 + SITES, regions))

    def draw(self, n: int, shift: np.ndarray | None = None, stretch: float = 1.0) -> Drawn:
        """Raw z [n, d], design [n, c], covariates; with a shift [d] (in SDs), people of a site not seen before."""
        rng, d = self.rng, len(self.scale)
        age, sex, site = rng.uniform(-1, 1, n), rng.integers(0, 2, n), rng.integers(0, SITES, n)
        at = np.eye(SITES)[site] if shift is None else np.zeros((n, SITES))
        design = np.column_stack([age, age**2 - 1 / 3, age**3 - 0.6 * age, sex - 0.5, at])
        own = 1 - (self.loadings**2).sum(0).clip(max=0.6) - self.common
        parts = rng.normal(size=(n, 5)) @ self.loadings + np.sqrt(np.maximum(own, 0.1)) * rng.normal(size=(n, d))
        noise = parts + np.sqrt(self.common) * rng.normal(size=(n, 1))
        if np.isfinite(self.df):
            noise = noise * np.sqrt((self.df - 2) / rng.chisquare(self.df, (n, d)))
        if self.uneven:
            noise *= ((SITE_SCALE[site] if shift is None else 1.0) * 1.6 ** (age / 2))[:, None]
        raw = self.scale * (self.offset + design @ self.effects + (0.0 if shift is None else shift) + stretch * noise)
        tertile = np.searchsorted([-1 / 3, 1 / 3], age)
        return raw, design, pd.DataFrame({"tertile": tertile, "sex": sex, "site": site})


def figures(z: np.ndarray, people: pd.DataFrame) -> dict[str, float]:
    """What is asked of test controls."""
    parts = {(by, level): z[people[by] == level] for by in people for level in people[by].unique()}
    spread = {key: region_spread(part) for key, part in parts.items()}
    bias = {by: max(s["rms_mean"] for key, s in spread.items() if key[0] == by) for by in people}
    sds = {by: max(abs(part.std() - 1) for key, part in parts.items() if key[0] == by) for by in people}
    return {
        "mean": abs(z.mean()),
        "sd_error": abs(z.std() - 1),
        **{f"sd_error_{by}": value for by, value in sds.items()},
        "coverage_error": max(abs(coverage(z, level).mean() - level) for level in COVERAGE_LEVELS),
        "rms_sd": region_spread(z)["rms_sd"],
        **{f"rms_bias_{by}": value for by, value in bias.items()},
        **{f"beyond_{t}": tail_share(z, t).mean() for t in (2.58, 3.29, 4.06)},
    }


def test_controls() -> pd.DataFrame:
    """A row per calibrator, truth and seed: 1,000 calibration and 1,200 test controls."""
    rows = []
    for common, uneven, df, seed in product((0.0, 0.2), (False, True), (np.inf, 4.0), SEEDS):
        truth = Residuals(seed, common=common, uneven=uneven, df=df)
        (raw, design, _), (new, new_design, people) = truth.draw(1000), truth.draw(1200)
        for name in ("gaussian", "empirical"):
            z = CALIBRATORS[name](raw, design, GROUPS)(new, new_design)
            about = {"calibrator": name, "common": common, "uneven": uneven, "df": df, "seed": seed}
            rows.append(about | figures(z, people))
    return pd.DataFrame(rows)


def conformal(name: str, n: int, splits: int = SPLITS, regions: int = 20) -> dict[str, float]:
    """How far the mean share of p <= a exceeds a + 3 SD / sqrt(splits), at its worst; below 0 is valid."""
    excess = {}
    shares: dict[str, list[list[float]]] = {"region": [], "omnibus": []}
    for seed in range(splits):
        truth = Residuals(1000 + seed, common=0.2, regions=regions)
        (raw, design, _), (new, new_design, _) = truth.draw(n), truth.draw(300)
        fitted: Calibrator = CALIBRATORS[name](raw, design, GROUPS)
        z = fitted(new, new_design)
        p = {"region": fitted.conformal(np.abs(z)), "omnibus": fitted.omnibus(mean_square(z)[:, None])}
        for part, values in p.items():
            shares[part].append([float((values <= a).mean()) for a in LEVELS])
    for part, found in shares.items():
        bound = np.array(LEVELS) + 3 * np.std(found, axis=0) / np.sqrt(splits)
        excess[f"{part}_excess"] = float((np.mean(found, axis=0) - bound).max())
        excess |= {f"{part}_p{a}": share for a, share in zip(LEVELS, np.mean(found, axis=0), strict=True)}
    return excess


def new_site(name: str, local: int, common: float, sites: int = 40) -> pd.DataFrame:
    """A row per site, shifted by .5 SD (a number per region) and 1.25 times as wide: its other controls."""
    rows = []
    for seed in range(sites):
        truth = Residuals(2000 + seed, common=common)
        raw, design, _ = truth.draw(500)
        shift = 0.5 * truth.rng.normal(size=REGIONS)
        (near, near_design, _), (new, new_design, _) = truth.draw(local, shift, 1.25), truth.draw(1000, shift, 1.25)
        fitted = adapt(CALIBRATORS[name](raw, design, GROUPS), near, near_design)
        z = fitted(new, new_design)
        rms = np.sqrt((z.mean(0) ** 2).mean()) * np.sqrt(local)
        p = {"region": fitted.conformal(np.abs(z)), "omnibus": fitted.omnibus(mean_square(z)[:, None])}
        shares = {f"{part}_p{a}": (values <= a).mean() for part, values in p.items() for a in LEVELS}
        rows.append({"mean": abs(z.mean()), "sd_error": abs(z.std() - 1), "rms_mean_by_sqrt_n": rms, **shares})
    return pd.DataFrame(rows)


def main() -> dict[str, float]:
    """Worst over seeds of the figures of test controls; conformal p over 200 splits."""
    with one_thread():
        table = test_controls()
        worst = table.drop(columns="seed").groupby(["calibrator", "common", "uneven", "df"]).agg("max")
        found = {
            f"{name}, common {common:g}, {'uneven' if uneven else 'even'}, df {df:g}: {figure}": float(value)
            for (name, common, uneven, df), row in worst.iterrows()
            for figure, value in row.items()
        }
        for name, n in product(("gaussian", "empirical"), (106, 1000)):
            found |= {f"{name}, n_cal {n}: {figure}": value for figure, value in conformal(name, n).items()}
        for common, local in product((0.0, 0.2), (10, 30)):
            row = new_site("empirical", local, common).mean()
            found |= {f"new site, common {common:g}, {local} local controls: {k}": float(v) for k, v in row.items()}
    return found


if __name__ == "__main__":
    sys.stdout.write(pd.Series(main()).to_string() + "\n")
