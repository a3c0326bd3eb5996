"""The shape of the package: who may import whom, what may be loaded, how long and how documented things are."""

import ast
import importlib
import re
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "pyro_mmnorm"
SOURCES = sorted(PACKAGE.rglob("*.py"))
MAX_LINES, MAX_FUNCTION = 350, 60

# A file, or a folder of files, imports only from rows above its own.
LAYERS = (
    "errors",
    "atlas, cells, distributions, files, latents, members, metrics, progress, regression, strict_yaml, student_t, "
    "threads",
    "admission, faults, regions, splits, terms",
    "calibration, cohort, config, draws, fusion, nets, statistics, tails, weights",
    "adaptation, assessment, baselines, findings, io, likelihoods, mahalanobis, mixture, pattern_width, preprocess, "
    "priors, simulation",
    "calibrated, parts",
    "vae",
    "elbo, refine, start",
    "checkpoint, evidence, predictive",
    "diagnostics, linear_gaussian, training",
    "deviations",
    "fine_tuning, loading",
    "calibration_report, charts, datatree, plots, pyro_svi, recalibration",
    "export, report, run_folder, terminal",
    "comparison, pipeline",
    "studies",
    "cli",
    "__init__",
)
LAYER = {unit: i for i, row in enumerate(LAYERS) for unit in row.split(", ")}
PLOTS_KNOW = {"errors", "assessment", "atlas", "calibration", "metrics", "statistics", "findings", "plots"}
NO_TORCH = {"config", "files", "regression", "student_t", "assessment", "simulation"} | PLOTS_KNOW
FORBIDDEN = {"torch", "pyro"}


def name_of(path: Path) -> str:
    """`pyro_mmnorm.io.tables` of pyro_mmnorm/io/tables.py."""
    return ".".join((PACKAGE.name, *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")


def unit_of(module: str) -> str:
    """The file or folder of LAYERS that a module belongs to."""
    _, _, inner = module.partition(".")
    return inner.partition(".")[0] or "__init__"


def imports_of(tree: ast.AST, modules: set[str]) -> set[str]:
    """Every module of ours that is imported anywhere in `tree`, in functions and under `if TYPE_CHECKING` too."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: write imports in full, from the name of the package down"
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in modules else str(node.module) for name in inner}
    return {name for name in found if name.partition(".")[0] == PACKAGE.name}


def misplaced(imports: dict[str, set[str]]) -> list[str]:
    """Imports that do not point to a lower layer."""
    return [
        f"{source} imports {target}, which is not below it"
        for source, targets in imports.items()
        for target in sorted(targets)
        if unit_of(source) != unit_of(target) and LAYER[unit_of(target)] >= LAYER[unit_of(source)]
    ]


def public_names(tree: ast.Module) -> list[str] | None:
    """The names in `__all__`; None where there is none, [] where it is computed."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value)) if isinstance(node.value, ast.List) else []
    return None


def undocumented(tree: ast.Module) -> list[str]:
    """Public functions, classes and constants defined here without a docstring (below the line, for a constant)."""
    documented: dict[str, bool] = {}
    for node, following in zip(tree.body, [*tree.body[1:], None], strict=True):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            documented[node.name] = ast.get_docstring(node) is not None
        elif isinstance(node, ast.Assign | ast.AnnAssign | ast.TypeAlias):
            text = isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
            first = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None) or node.name
            documented[ast.unparse(first)] = text
    return [name for name in public_names(tree) or [] if not documented.get(name, True)]


def untidy(tree: ast.Module) -> list[str]:
    """Prints, star imports, bare excepts, and functions that are long beyond their docstring."""
    faults = []
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = ast.get_docstring(node, clean=False) or ""
            length = (node.end_lineno or 0) - node.lineno + 1 - len(docstring.splitlines())
            if length > MAX_FUNCTION:
                faults.append(f"{node.name} has {length} lines of code; at most {MAX_FUNCTION}")
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
            faults.append(f"line {node.lineno}: print")
        elif isinstance(node, ast.ImportFrom) and node.names[0].name == "*":
            faults.append(f"line {node.lineno}: star import")
        elif isinstance(node, ast.ExceptHandler) and node.type is None:
            faults.append(f"line {node.lineno}: bare except")
    return faults


def loaded_by(*modules: str) -> set[str]:
    """Top-level packages that a fresh interpreter holds after importing `modules`."""
    code = f"import sys, {', '.join(modules)}; sys.stdout.write(' '.join({{m.partition('.')[0] for m in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.fixture(scope="module")
def imports() -> dict[str, set[str]]:
    """module -> modules of ours that it imports."""
    modules = {name_of(path) for path in SOURCES}
    trees = {name_of(path): ast.parse(path.read_text(encoding="utf-8")) for path in SOURCES}
    return {name: imports_of(tree, modules) for name, tree in trees.items()}


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_every_file_has_a_layer(path):
    assert unit_of(name_of(path)) in LAYER, f"give {path.name} its place in LAYERS, and in the table of CONTRIBUTING.md"


def test_layers_are_told_as_they_are():
    """The table of CONTRIBUTING.md is this one, top first, without the public face of the package."""
    text = (PACKAGE.parent / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## Layers")[2]
    told = re.findall(r"^\| ([\w, ]+) \|", text, flags=re.MULTILINE)[1:]
    assert told == list(LAYERS[-2::-1])


def test_imports_point_down(imports):
    assert misplaced(imports) == []


def test_imports_have_no_cycle(imports):
    graph = {source: targets - {source} for source, targets in imports.items()}
    TopologicalSorter(graph).prepare()  # raises CycleError


def test_plots_know_results_only(imports):
    known = {unit_of(target) for source, targets in imports.items() if unit_of(source) == "plots" for target in targets}
    assert known <= PLOTS_KNOW


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_files_are_short_documented_and_tidy(path):
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert len(text.splitlines()) <= MAX_LINES
    assert public_names(tree) is not None, "no __all__"
    assert undocumented(tree) == []
    assert untidy(tree) == []


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_all_names_exist(path):
    module = importlib.import_module(name_of(path))
    assert [name for name in module.__all__ if not hasattr(module, name)] == []


def test_public_names_survive_the_import_of_a_file_of_that_name():
    """Importing a file puts the module in the place of the public name, silently."""
    package = importlib.import_module(PACKAGE.name)
    for name in set(package.__all__) & {unit_of(name_of(path)) for path in SOURCES}:
        importlib.import_module(f"{PACKAGE.name}.{name}")
        assert callable(getattr(package, name))


def test_numpy_files_load_no_torch():
    modules = [name_of(path) for path in SOURCES if unit_of(name_of(path)) in NO_TORCH]
    assert {unit_of(module) for module in modules} == NO_TORCH, "one of NO_TORCH is no file of the package"
    together = loaded_by(*modules)
    guilty = [module for module in modules if loaded_by(module) & FORBIDDEN] if together & FORBIDDEN else []
    assert guilty == []


@pytest.mark.parametrize("module", ["pyro_mmnorm", "pyro_mmnorm.cli"])
def test_import_is_cheap(module):
    """Heavy libraries are loaded at the first use of a name, not at import; `mmnorm --help` stays quick."""
    assert loaded_by(module).isdisjoint(FORBIDDEN | {"pandas", "matplotlib", "xarray"})


# The rules themselves can fail:


@pytest.mark.parametrize(
    "line",
    ["import pyro_mmnorm.vae", "from pyro_mmnorm import vae", "def f():\n    from pyro_mmnorm.vae import MMVAE"],
)
def test_an_import_from_above_is_found(line):
    found = imports_of(ast.parse(line), {"pyro_mmnorm", "pyro_mmnorm.vae"})
    assert len(misplaced({"pyro_mmnorm.fusion": found})) == 1


def test_a_sibling_is_not_below():
    assert misplaced({"pyro_mmnorm.fusion": {"pyro_mmnorm.nets"}})
    assert not misplaced({"pyro_mmnorm.io.tables": {"pyro_mmnorm.io.freesurfer"}})


def test_a_cycle_is_found():
    with pytest.raises(CycleError):
        test_imports_have_no_cycle({"pyro_mmnorm.io.a": {"pyro_mmnorm.io.b"}, "pyro_mmnorm.io.b": {"pyro_mmnorm.io.a"}})


def test_untidy_and_undocumented_code_is_found():
    body = "    pass\n" * MAX_FUNCTION
    faults = f"from os import *\ndef f():\n{body}try:\n    print()\nexcept:\n    pass\n"
    tree = ast.parse(f"__all__ = ['f', 'A']\nA = 1\n{faults}")
    assert undocumented(tree) == ["f", "A"]
    assert [fault.split()[-1] for fault in untidy(tree)] == ["import", "60", "except", "print"]
