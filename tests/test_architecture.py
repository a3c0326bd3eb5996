"""The shape of the package: who may import whom, what may be loaded, how long and how documented things are."""

import ast
import importlib
import io
import re
import subprocess
import sys
import tokenize
from collections import Counter
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "pyro_mmnorm"
SOURCES = sorted(PACKAGE.rglob("*.py"))
MAX_LINES, MAX_FUNCTION = 600, 60
MOST_ROOT_MODULES, MOST_FLOORS, LONGEST_CHAIN = 3, 7, 17
CODE_LINES_OF_0_1 = 12_122
"""Lines of version 0.1 without comments, docstrings, imports and blank lines, counted by `code_lines`."""
ADDED_SINCE = {"manifest and lock of a run folder": 139}
"""Lines of features that version 0.1 did not have; the restructured code itself has become shorter."""

# A package imports only from rows above its own.
FLOORS = (
    "core",
    "config, results, stats",
    "data, distributions, findings",
    "calibration, models, plots, simulation",
    "evaluation, inference",
    "norm, report",
    "app",
)
FLOOR = {package: i for i, row in enumerate(FLOORS) for package in row.split(", ")}
PLOTS_KNOW = {"core", "data", "results", "stats", "findings", "plots"}
NO_TORCH = {
    "core",
    "config",
    "stats",
    "results",
    "data",
    "findings",
    "calibration",
    "evaluation",
    "plots",
    "simulation",
}
LOAD_TORCH = {"pyro_mmnorm.core.threads", "pyro_mmnorm.data.batch", "pyro_mmnorm.data.preprocess"}
"""Batch holds tensors, and Preprocess makes one."""
NO_MATPLOTLIB = {"core", "config", "stats", "results", "data", "findings", "calibration", "evaluation"}
FORBIDDEN = {"torch", "pyro"}


def name_of(path: Path) -> str:
    """`pyro_mmnorm.io.tables` of pyro_mmnorm/io/tables.py."""
    return ".".join((PACKAGE.name, *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")


def package_of(module: str) -> str:
    """The package of FLOORS that a module belongs to."""
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
        if "__init__" not in (package_of(source), package_of(target))
        and package_of(source) != package_of(target)
        and FLOOR[package_of(target)] >= FLOOR[package_of(source)]
    ]


def public_names(tree: ast.Module) -> list[str] | None:
    """The names in `__all__`; None where there is none, [] where it is computed."""
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", node)]
        if isinstance(node, ast.Assign | ast.AnnAssign) and "__all__" in ast.unparse(targets[0]):
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


def longest_chain(imports: dict[str, set[str]]) -> list[str]:
    """The files of the longest chain of imports, top first."""
    found: dict[str, list[str]] = {}
    for name in TopologicalSorter(imports).static_order():
        below = [found[target] for target in imports.get(name, ()) if target != PACKAGE.name]
        found[name] = [name, *max(below, key=len, default=[])]
    return max((chain for name, chain in found.items() if name != PACKAGE.name), key=len)


def code_lines(path: Path) -> int:
    """Lines without comments, docstrings, imports and blank lines."""
    text = path.read_text(encoding="utf-8")
    silent = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    tokens = [t for t in tokenize.generate_tokens(io.StringIO(text).readline) if t.type not in silent]
    lines = {line for t in tokens for line in range(t.start[0], t.end[0] + 1)}
    for node in ast.walk(ast.parse(text)):
        text_alone = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if isinstance(node, ast.Import | ast.ImportFrom) or (text_alone and isinstance(node.value.value, str)):
            lines -= set(range(node.lineno, node.end_lineno + 1))
    return len(lines)


def loaded_by(*modules: str) -> set[str]:
    """Top-level packages that a fresh interpreter holds after importing `modules`."""
    code = f"import sys, {', '.join(modules)}; sys.stdout.write(' '.join({{m.partition('.')[0] for m in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def guilty(modules: set[str], libraries: set[str]) -> list[str]:
    """The modules that load one of the libraries; each is asked alone only where all together load one."""
    if not loaded_by(*modules) & libraries:
        return []
    return sorted(module for module in modules if loaded_by(module) & libraries)


@pytest.fixture(scope="module")
def imports() -> dict[str, set[str]]:
    """module -> modules of ours that it imports."""
    modules = {name_of(path) for path in SOURCES}
    trees = {name_of(path): ast.parse(path.read_text(encoding="utf-8")) for path in SOURCES}
    return {name: imports_of(tree, modules) for name, tree in trees.items()}


def test_every_package_has_a_floor():
    packages = {package_of(name_of(path)) for path in SOURCES} - {"__init__"}
    assert packages == set(FLOOR), "give the package its row in FLOORS, and in the table of CONTRIBUTING.md"
    assert len(FLOORS) <= MOST_FLOORS


def house() -> list[tuple[str, str, set[str]]]:
    """Floor, package and files of every entry of the house in CONTRIBUTING.md."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("```text\n")[2].partition("```")[0]
    found, floor = [], ""
    for entry in re.findall(r"^(\d| )  ([\w/.]+) +\S.*\n((?: {18}\S.*\n)*)", text, flags=re.MULTILINE):
        floor = entry[0].strip() or floor
        found.append((floor, entry[1], set(re.findall(r"[\w.]+", entry[2]))))
    return found


def test_the_house_of_contributing_is_true():
    drawn = house()
    assert {(len(FLOORS) + 1 - i, package) for i, row in enumerate(FLOORS[::-1], 1) for package in row.split(", ")} == {
        (int(floor), package.removesuffix(".py")) for floor, package, _ in drawn if "/" not in package
    }
    for _, package, files in drawn:
        if package != "config.py":
            there = {path.name.removesuffix(".py") for path in (PACKAGE / package).iterdir() if path.is_file()}
            assert files == there - {"__init__"}, package


def test_the_house_fits_one_screen():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert len(text.partition("## The house")[2].partition("\n## ")[0].splitlines()) <= 75


def test_root_holds_few_modules():
    assert len(list(PACKAGE.glob("*.py"))) <= MOST_ROOT_MODULES


def test_no_file_name_stands_twice():
    names = Counter(path.stem for path in SOURCES if path.stem != "__init__")
    assert [name for name, count in names.items() if count > 1] == []


def test_chains_of_imports_are_short(imports):
    chain = longest_chain(imports)
    assert len(chain) <= LONGEST_CHAIN, " > ".join(chain)


def test_no_import_through_the_face_of_a_package(imports):
    """A thing is imported from the file that defines it; `mm.plots` is drawn with from outside, and only there."""
    faces = {name_of(path) for path in SOURCES if path.stem == "__init__"} - {"pyro_mmnorm.plots"}
    assert [(source, target) for source, targets in imports.items() for target in targets & faces] == []


def test_the_code_is_no_longer_than_that_of_0_1():
    assert sum(code_lines(path) for path in SOURCES) < CODE_LINES_OF_0_1 + sum(ADDED_SINCE.values())


def test_tests_mirror_the_packages():
    """tests/<package>/test_<file>.py, or test_<file>_<part>.py; a test of a whole package has its name."""
    astray = []
    for path in (ROOT / "tests").rglob("test_*.py"):
        folder = path.parent.relative_to(ROOT / "tests")
        home = ROOT / "benchmarks" if folder.parts == ("benchmarks",) else PACKAGE / folder
        known = {file.stem for file in home.glob("*.py")} | {folder.name}
        if folder.parts and not any(re.match(rf"test_{name}(_|$)", path.stem) for name in known):
            astray.append(str(path.relative_to(ROOT)))
    assert astray == []


def test_imports_point_down(imports):
    assert misplaced(imports) == []


def test_imports_have_no_cycle(imports):
    graph = {source: targets - {source} for source, targets in imports.items()}
    TopologicalSorter(graph).prepare()  # raises CycleError


def test_plots_know_results_only(imports):
    known = {
        package_of(target) for source, targets in imports.items() if package_of(source) == "plots" for target in targets
    }
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
    for name in set(package.__all__) & {path.stem for path in PACKAGE.glob("*")} - {"plots"}:
        importlib.import_module(f"{PACKAGE.name}.{name}")
        assert callable(getattr(package, name))


PUBLIC_IN_0_1 = """Batch Cohort Config InputError KINDS LinearGaussian MMVAE ModelConfig NormativeModel TrainConfig
adapt centiles compare fit from_pyro_svi load log_evidence per_region read_cohort read_config run score simulate study
to_datatree plots"""


def test_public_names_of_0_1_are_there():
    package = importlib.import_module(PACKAGE.name)
    assert set(PUBLIC_IN_0_1.split()) <= set(package.__all__)
    assert all(getattr(package, name) is not None for name in package.__all__)


def test_numpy_files_load_no_torch():
    modules = [name_of(path) for path in SOURCES if package_of(name_of(path)) in NO_TORCH]
    assert {package_of(module) for module in modules} == NO_TORCH, "one of NO_TORCH is no package"
    assert guilty(set(modules) - LOAD_TORCH, FORBIDDEN) == []


def test_numbers_load_no_matplotlib():
    modules = {name_of(path) for path in SOURCES if package_of(name_of(path)) in NO_MATPLOTLIB}
    assert guilty(modules, {"matplotlib"}) == []


def test_only_batch_imports_torch_in_data():
    """Preprocess makes a Batch of arrays and knows no tensor itself."""
    direct = {
        path.stem
        for path in (PACKAGE / "data").glob("*.py")
        if re.search(r"^import torch|^from torch", path.read_text(), re.MULTILINE)
    }
    assert direct == {"batch"}


@pytest.mark.parametrize("module", ["pyro_mmnorm", "pyro_mmnorm.app.cli"])
def test_import_is_cheap(module):
    """Heavy libraries are loaded at the first use of a name, not at import; `mmnorm --help` stays quick."""
    assert loaded_by(module).isdisjoint(FORBIDDEN | {"pandas", "matplotlib", "xarray"})


# The rules themselves can fail:


@pytest.mark.parametrize(
    "line",
    [
        "import pyro_mmnorm.norm.sites",
        "from pyro_mmnorm.norm import sites",
        "def f():\n    from pyro_mmnorm.norm.sites import site_units",
    ],
)
def test_an_import_from_above_is_found(line):
    found = imports_of(ast.parse(line), {"pyro_mmnorm", "pyro_mmnorm.norm.sites"})
    assert len(misplaced({"pyro_mmnorm.models.fusion": found})) == 1


def test_a_neighbour_is_not_below():
    assert misplaced({"pyro_mmnorm.models.fusion": {"pyro_mmnorm.plots.style"}})
    assert not misplaced({"pyro_mmnorm.data.tables": {"pyro_mmnorm.data.frames"}})


def test_the_longest_chain_is_found():
    assert longest_chain({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == ["a", "b", "c"]


def test_code_lines_are_counted(tmp_path):
    (tmp_path / "x.py").write_text('"""Doc."""\n\nimport os  # why\n\n# a comment\nx = (\n    1,\n)\n"""About x."""\n')
    assert code_lines(tmp_path / "x.py") == 3


def test_a_cycle_is_found():
    with pytest.raises(CycleError):
        test_imports_have_no_cycle(
            {"pyro_mmnorm.data.a": {"pyro_mmnorm.data.b"}, "pyro_mmnorm.data.b": {"pyro_mmnorm.data.a"}}
        )


def test_untidy_and_undocumented_code_is_found():
    body = "    pass\n" * MAX_FUNCTION
    faults = f"from os import *\ndef f():\n{body}try:\n    print()\nexcept:\n    pass\n"
    tree = ast.parse(f"__all__ = ['f', 'A']\nA = 1\n{faults}")
    assert undocumented(tree) == ["f", "A"]
    assert [fault.split()[-1] for fault in untidy(tree)] == ["import", "60", "except", "print"]
