"""Notebooks run, and their stored outputs are complete, small and free of errors."""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parent.parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
MOST_BYTES = 700_000
MACHINE = re.compile(r"/(tmp|work|root|home)/|site-packages")


def outputs(notebook):
    """(kind, text) of every stored output."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            yield output.get("name", output.output_type), str(output.get("text", data.get("text/plain", "")))


def test_there_are_notebooks():
    assert len(NOTEBOOKS) >= 6


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_stored_outputs_are_complete_and_clean(path):
    assert path.stat().st_size < MOST_BYTES
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1)), "run it from top to bottom"
    kinds = [kind for kind, _ in outputs(notebook)]
    assert "error" not in kinds
    assert "stderr" not in kinds
    assert any("image/png" in output.get("data", {}) for cell in code for output in cell.outputs)
    assert [text for _, text in outputs(notebook) if MACHINE.search(text)] == []


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(path, monkeypatch):
    """Run with small settings; a cell that raises fails the test. The warning of tqdm about widgets is ignored."""
    monkeypatch.setenv("MMNORM_SMOKE", "1")
    monkeypatch.setenv("PYTHONPATH", str(FOLDER.parent))
    monkeypatch.setenv("PYTHONWARNINGS", "ignore:IProgress not found")
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(FOLDER)}}).execute()
    assert "stderr" not in [kind for kind, _ in outputs(notebook)]
