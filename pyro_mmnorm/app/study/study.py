"""The study of the poster as one command: all models, their findings, the four figures, one page."""

import logging
import os
from pathlib import Path

import pandas as pd

from pyro_mmnorm.app.compare.planted import Truth
from pyro_mmnorm.app.compare.runs import Run, read_runs
from pyro_mmnorm.app.run_folder import RunFolder
from pyro_mmnorm.app.study.running import run_models
from pyro_mmnorm.app.study.study_figures import draw
from pyro_mmnorm.app.study.study_page import study_page
from pyro_mmnorm.app.study.study_table import study_table
from pyro_mmnorm.app.study.variants import Variant, variants
from pyro_mmnorm.config import Config
from pyro_mmnorm.core.files import atomic_write
from pyro_mmnorm.core.progress import silent
from pyro_mmnorm.data.cohort import Cohort
from pyro_mmnorm.data.tables import input_files, read_cohort

__all__ = ["Truth", "Variant", "run_models", "study", "study_table", "variants"]

logger = logging.getLogger("pyro_mmnorm")

QUICK_EPOCHS = 15


def study(
    config: Config,
    *,
    out: str | Path | None = None,
    seeds: int = 3,
    quick: bool = False,
    processes: int | None = None,
    overwrite: bool = False,
    cohort: Cohort | None = None,
    progress: bool | None = None,
) -> Path:
    """Run the study of the poster: every model on the same people, with comparison, figures and one page.

    The model of the configuration (mmNormVAE), unimodal and concatenated VAEs of the same size, factor analysis,
    regression and the hippocampal volume are trained, calibrated and tested on the same splits. Runs that an earlier
    call with the same configuration finished are kept, so that an interrupted study is resumed.

    Args:
        config: From `read_config`, such as that of configs/ukb_adni.yaml.
        out: Output folder; that of the configuration when None.
        seeds: Number of training seeds of every VAE.
        quick: Only check that the study runs: one seed and few epochs; the results are not meaningful.
        processes: Number of parallel runs, each on one thread; None: one per core, at most 4. With more than 1, a
            script must call this under `if __name__ == "__main__":`.
        overwrite: Replace an earlier study.
        cohort: From `read_cohort`; None: it is read.
        progress: Show progress bars; None: only on a terminal.

    Returns:
        The folder: a run folder per model and seed in runs/, study.csv with every estimate, its interval, n and paired
        gain, figures/*.png and *.svg, and study.html.

    Raises:
        InputError: On bad input, before anything is written.

    Examples:
        >>> study(read_config("configs/ukb_adni.yaml"), out="runs/study")  # doctest: +SKIP
    """
    if quick:
        epochs = min(config.train.epochs, QUICK_EPOCHS)
        config, seeds = config.model_copy(update={"train": config.train.model_copy(update={"epochs": epochs})}), 1
    folder = RunFolder(
        out or config.out, command="study", resume=not overwrite, overwrite=overwrite, inputs=input_files(config)
    )
    with silent(progress is False):
        with folder.step("read"):
            cohort = read_cohort(config) if cohort is None else cohort
            truth = Truth.beside(config.data.root)
        models, runs = variants(config), folder.path / "runs"
        with folder.open(config):
            with folder.step("runs"):
                processes = processes or min(4, os.cpu_count() or 1)
                folders, notes = run_models(config, cohort, models, seeds=seeds, out=runs, processes=processes)
            with folder.step("table"):
                table = study_table(folders, Path(config.data.root) if truth else None)
                folder.write_table("study.csv", table, index=False)
            with folder.step("page"):
                _page(folder.path, table, [model for model in models if model.name in folders], folders, truth, notes)
    return folder.path


def _page(
    path: Path,
    table: pd.DataFrame,
    models: list[Variant],
    folders: dict[str, list[Path]],
    truth: Truth | None,
    notes: list[str],
) -> None:
    first = [folders[model.name][0] for model in models]
    read = read_runs(first) if len(first) > 1 else [Run.read(first[0])]
    runs = dict(zip([model.label for model in models], read, strict=True))
    pictures, left_out = draw(runs, path / "figures")
    page = study_page(
        "The poster's study", table, models, runs, truth, pictures, [*notes, *table.attrs["notes"], *left_out]
    )
    atomic_write(path / "study.html", page)
