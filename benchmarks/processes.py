"""Wall time and peak memory of whole commands, measured from outside."""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

__all__ = ["command", "help_seconds", "import_seconds", "newcomer_seconds", "notebook_seconds"]

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"


def command(*arguments: str) -> tuple[float, float]:
    """Wall seconds and peak MiB of one `mmnorm` command; `{out}` in an argument is a new folder."""
    with tempfile.TemporaryDirectory() as folder:
        words = [word.format(out=Path(folder) / "out") for word in arguments]
        began = time.perf_counter()
        process = subprocess.Popen([sys.executable, "-m", "pyro_mmnorm.app.cli", *words, "--quiet"])
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
    if status:
        raise RuntimeError(f"mmnorm {' '.join(words)} ended with status {status}")
    return seconds, usage.ru_maxrss / 1024


def _seconds(*words: str, repeats: int = 5) -> float:
    """Median wall seconds of a Python process."""
    times = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        subprocess.run([sys.executable, *words], check=True, capture_output=True)
        times.append(time.perf_counter() - began)
    return statistics.median(times[1:])


def import_seconds(then: str = "mm") -> float:
    """Seconds of `import pyro_mmnorm` and `then` after torch and pyro are imported: median of 3 new processes."""
    begin, end = "import time, torch, pyro; t = time.perf_counter()", "print(time.perf_counter() - t)"
    code = f"{begin}; import pyro_mmnorm as mm; {then}; {end}"
    words = [sys.executable, "-c", code]
    return statistics.median(
        float(subprocess.run(words, check=True, capture_output=True, text=True).stdout) for _ in range(3)
    )


def newcomer_seconds() -> float:
    """The commands of the README on simulated tables of 1000 people: from a folder of tables to the page."""
    with tempfile.TemporaryDirectory() as folder:
        tables, config, out = (str(Path(folder) / name) for name in ("tables", "my.yaml", "run"))
        command("simulate", "--out", tables, "--healthy", "900", "--patients", "100")
        steps = (("init", tables, "--out", config), ("inspect", config), ("run", config, "--out", out))
        return sum(command(*words)[0] for words in steps)


def notebook_seconds() -> dict[str, float]:
    """Wall seconds of every notebook at its normal size, by name; the stored notebooks do not change."""
    times = {}
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        began = time.perf_counter()
        notebook = nbformat.read(path, as_version=4)
        NotebookClient(notebook, timeout=1200, resources={"metadata": {"path": str(NOTEBOOKS)}}).execute()
        times[path.stem] = time.perf_counter() - began
    return times


def help_seconds() -> float:
    """Median wall seconds of `mmnorm --help`."""
    return _seconds("-m", "pyro_mmnorm.app.cli", "--help")
