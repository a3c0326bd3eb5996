"""Memory and time of scoring many people by every kind, each in a process of its own."""

import json
import subprocess
import sys
from typing import NamedTuple

__all__ = ["Scoring", "scoring"]

CODE = """
import json, resource, sys, time
import numpy as np, pandas as pd
import pyro_mmnorm as mm

n, draws, normative = map(int, sys.argv[1:])
rng, sizes = np.random.default_rng(0), {"a": 64, "b": 35, "c": 16}
loadings = {m: rng.normal(size=(10, d)) for m, d in sizes.items()}

def people(n, **how):
    ids = pd.Index([f"s{i:06d}" for i in range(n)])
    z = rng.normal(size=(n, 10))
    values = {
        m: pd.DataFrame(100 + 10 * (z @ w + rng.normal(size=(n, w.shape[1]))), index=ids).add_prefix("r")
        for m, w in loadings.items()
    }
    table = pd.DataFrame({"age": rng.uniform(40, 80, n)}, index=ids)
    return mm.Cohort.from_frames(values, table, covariates={"age": "spline"}, **how)

few = people(1000)
model = mm.MMVAE.for_cohort(few)
mm.fit(model, few.train, mm.TrainConfig(epochs=1), progress=False)
norm = mm.NormativeModel(model, draws=draws, normative_draws=normative).calibrate(few.calibrate, mm.KINDS)
many = people(n, everyone="target")
began, parts = time.process_time(), {}
for kind in mm.KINDS:
    start = time.process_time()
    norm.deviations(many, kind)
    parts[kind] = time.process_time() - start
print(json.dumps([sum(parts.values()), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, parts]))
"""


class Scoring(NamedTuple):
    """CPU seconds, peak MiB, and the seconds of each kind."""

    seconds: float
    peak: float
    parts: dict[str, float]


def scoring(people: int, draws: int = 256, normative: int = 4096) -> Scoring:
    """Score this many people with 115 regions by all kinds."""
    words = [sys.executable, "-c", CODE, str(people), str(draws), str(normative)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return Scoring(*json.loads(done.stdout.splitlines()[-1]))
