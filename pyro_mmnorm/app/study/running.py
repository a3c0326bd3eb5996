"""The runs of a study: every model and training seed, in parallel processes, on one cohort that is read once."""

import logging
import multiprocessing
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from pyro_mmnorm.app import pipeline
from pyro_mmnorm.app.study.variants import Variant
from pyro_mmnorm.config import Config, parse_config
from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.data.cohort import Cohort

__all__ = ["run_models"]

logger = logging.getLogger("pyro_mmnorm")

_shared: dict[str, Cohort] = {}
"""The cohort of this process; set once at the start of a worker."""


class _Job(NamedTuple):
    """One run."""

    variant: Variant
    config: Config
    folder: Path
    brief: bool


def run_models(
    config: Config, cohort: Cohort, models: Sequence[Variant], *, seeds: int, out: Path, processes: int
) -> tuple[dict[str, list[Path]], list[str]]:
    """Run every model, with several seeds if it is trained.

    The first run of the first model has the full page of a run, the others only their tables. A run that was finished
    with the same configuration is kept.

    Args:
        config: Configuration of the first model.
        cohort: The people of all runs.
        models: The models; the others are compared with the first.
        seeds: Number of training seeds per trained model: that of the configuration and the following ones.
        out: Output folder; runs are named by model and seed.
        processes: Number of parallel runs, each on one thread; 1 runs them in this process.

    Returns:
        Model name -> its run folders by seed, and a sentence for every model that could not be run on these data.

    Raises:
        InputError: When the first model cannot be run.
    """
    jobs = [
        _Job(model, model.applied(config, config.seed + i), out / _name(model, i), brief=bool(rank or i))
        for i in range(seeds)
        for rank, model in enumerate(models)
        if model.trained or i == 0
    ]
    folders: dict[str, list[Path]] = {model.name: [] for model in models}
    notes = []
    with _workers(cohort, processes, len(jobs)) as pool:
        submitted = [(job, pool.submit(_run, job) if pool else None) for job in jobs]
        for job, future in submitted:
            error = future.result() if future else _run(job, cohort)
            if error is None:
                folders[job.variant.name].append(job.folder)
                logger.info("%s: done", job.folder.name)
            elif job.variant is models[0]:
                raise InputError(job.folder.name, error, "a configuration that runs", "try it alone with `mmnorm run`")
            else:
                notes.append(f"Left out: {job.variant.label}. {error}")
    return {name: runs for name, runs in folders.items() if runs}, list(dict.fromkeys(notes))


def _name(model: Variant, i: int) -> str:
    return model.name if i == 0 else f"{model.name}-seed{i + 1}"


@contextmanager
def _workers(cohort: Cohort, processes: int, jobs: int) -> Iterator[Executor | None]:
    """A pool of processes that hold the cohort, or None; waiting jobs are cancelled after an error."""
    if processes == 1 or jobs == 1:
        yield None
        return
    context = multiprocessing.get_context("spawn")
    level = logging.getLogger("pyro_mmnorm").getEffectiveLevel()
    pool = ProcessPoolExecutor(min(processes, jobs), context, initializer=_start, initargs=(cohort, level))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _start(cohort: Cohort, level: int) -> None:
    _shared["cohort"] = cohort
    log = logging.getLogger("pyro_mmnorm")
    log.handlers = [logging.StreamHandler(sys.stderr)]
    log.setLevel(max(level, logging.WARNING))  # the steps of parallel runs would be mixed


def _run(job: _Job, cohort: Cohort | None = None) -> str | None:
    """None when the run is finished, or the reason why it is not possible with these data."""
    if _finished(job):
        return None
    started = (job.folder / "config.yaml").is_file()
    try:
        pipeline.run(
            job.config, out=job.folder, resume=started, progress=False, brief=job.brief,
            cohort=_shared["cohort"] if cohort is None else cohort,
        )  # fmt: skip
    except InputError as error:
        return str(error)
    return None


def _finished(job: _Job) -> bool:
    """Whether the last file of the run was written, with the same configuration."""
    last, kept = job.folder / ("provenance.json" if job.brief else "report.html"), job.folder / "config.yaml"
    if not (last.is_file() and kept.is_file()):
        return False
    before = parse_config(kept.read_text(encoding="utf-8"), where=str(kept))
    return before.model_copy(update={"out": job.config.out}) == job.config
