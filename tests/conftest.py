"""Small cohorts and models that several tests share."""

import numpy as np
import pandas as pd
import pytest


@pytest.fixture(scope="session")
def frames():
    """Tables of 260 people: two modalities with three common factors, ages, sexes, two sites, a few patients."""
    rng = np.random.default_rng(4)
    n, sizes = 260, {"cortical": 12, "hippocampal": 5}
    ids = pd.Index([f"sub-{i:03d}" for i in range(n)], name="participant_id")
    age, z = rng.uniform(50, 80, n), rng.normal(size=(n, 3))
    values = {}
    for m, d in sizes.items():
        x = z @ rng.normal(size=(3, d)) * 0.7 - 0.03 * (age[:, None] - 65) + 0.6 * rng.normal(size=(n, d))
        values[m] = pd.DataFrame(1000 + 100 * x, index=ids, columns=[f"{m[:3]}_{j}" for j in range(d)])
    sick = np.arange(n) >= 220
    values["hippocampal"].loc[sick, "hip_0"] -= 300
    people = pd.DataFrame(
        {
            "age": age,
            "sex": rng.choice(["F", "M"], n),
            "site": rng.choice(["Aachen", "Bern"], n),
            "diagnosis": np.where(sick, "AD", "CN"),
            "MMSE": np.where(sick, 22, 29) + rng.normal(size=n),
        },
        index=ids,
    )
    return values, people


@pytest.fixture(scope="session")
def cohort(frames):
    """The tables of `frames` through the door."""
    from pyro_mmnorm.data.cohort import Cohort

    values, people = frames
    return Cohort.from_frames(
        values,
        people.reset_index(),
        id="participant_id",
        covariates={"age": "spline", "sex": "category", "site": "category"},
        reference=("diagnosis", ["CN"]),
        groups=("diagnosis", ["CN", "AD"]),
        scores={"MMSE": "higher_is_better"},
        seed=1,
    )


@pytest.fixture(scope="session")
def norm(cohort):
    """A model trained for a few epochs on `cohort`, calibrated."""
    import pyro_mmnorm as mm

    model = mm.MMVAE.for_cohort(cohort, latent_dim=3, hidden=(8,))
    mm.fit(model, cohort.train, mm.TrainConfig(epochs=5), progress=False)
    return mm.NormativeModel(model, draws=64).calibrate(cohort.calibrate)
