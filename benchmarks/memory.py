"""Peak memory of a fit to many people; each number of people in a process of its own."""

import json
import subprocess
import sys

CODE = """
import json, resource, sys
import numpy as np, pandas as pd
import pyro_mmnorm as mm

n = int(sys.argv[1])
rng = np.random.default_rng(0)
ids = pd.Index([f"s{i:06d}" for i in range(n)])
z = rng.normal(size=(n, 10))
values = {
    m: pd.DataFrame(100 + 10 * (z @ rng.normal(size=(10, d)) + rng.normal(size=(n, d))), index=ids).add_prefix("r")
    for m, d in {"a": 64, "b": 35, "c": 16}.items()
}
people = pd.DataFrame({"age": rng.uniform(40, 80, n)}, index=ids)
cohort = mm.Cohort.from_frames(values, people, covariates={"age": "spline"}, split=(0.01, 0.01))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
model = mm.MMVAE.for_cohort(cohort)
mm.fit(model, cohort.train, mm.TrainConfig(epochs=1), progress=False)
print(json.dumps([before / 1024, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))
"""


def fit_memory(people: int) -> tuple[float, float]:
    """MiB before the fit (imports and tables) and at its peak, at this many people with 115 regions."""
    done = subprocess.run([sys.executable, "-c", CODE, str(people)], capture_output=True, text=True, check=True)
    before, peak = json.loads(done.stdout.splitlines()[-1])
    return before, peak
