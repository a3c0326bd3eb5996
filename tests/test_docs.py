"""The documentation is correct: its code runs, and its commands, links and files exist."""

import doctest
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from functools import cache
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

import pyro_mmnorm
from pyro_mmnorm.app.cli import app
from pyro_mmnorm.config import parse_config, read_config

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "pyro_mmnorm"
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/**/*.md"))]
CONFIGS = sorted(ROOT.glob("configs/**/*.yaml"))
README = (ROOT / "README.md").read_text(encoding="utf-8")
GUIDES = "\n".join([README, *(path.read_text(encoding="utf-8") for path in sorted(ROOT.glob("docs/howto/*.md")))])
COMMON_ERRORS = (ROOT / "docs" / "howto" / "my-table.md").read_text(encoding="utf-8").partition("## Common errors")[2]
GLOSSARY = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
GLOSSARY_ENTRY = re.compile(r"^- \*\*(.+?)\*\*", flags=re.MULTILINE)
SOURCE_FILE = re.compile(r"`([\w/]+/\w+\.py)`")
LINK = re.compile(r"\]\((?!https?:|#)(?P<target>[^)#\s]+)")
COMMAND = re.compile(r"\bmmnorm (?P<name>[a-z]+)(?P<rest>[^\n`|#]*)")
MACHINE = r"/(tmp|work|root|home)/|pypi\.org|pythonhosted\.org"
"""A path of one machine, or an address of a package index; the public page of a project is allowed."""


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def tracked() -> list[str]:
    """The files of a commit of the whole working tree."""
    command = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]


@cache
def mmnorm(*arguments: str) -> str:
    """The output of a command."""
    code = "import sys; from pyro_mmnorm.app.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, *arguments]
    plain = os.environ | {"COLUMNS": "300", "NO_COLOR": "1", "TERM": "dumb"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=plain)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_python_blocks_compile(document):
    for block in blocks(document.read_text(encoding="utf-8"), "python"):
        compile(block, document.name, "exec")


def test_readme_example_runs(tmp_path, monkeypatch):
    """The commands and the Python code of the README run one after the other."""
    monkeypatch.chdir(tmp_path)
    simulate, init = (command for command in commands(README) if command[0] in ("simulate", "init"))
    mmnorm(*simulate, "--healthy", "200", "--patients", "20")
    mmnorm(*init)
    for block in blocks(README, "python"):
        exec(compile(block, "README.md", "exec"), {})


SMALL = {
    "simulate": ("--healthy", "400", "--patients", "20"),
    "run": ("--set", "train.epochs=2", "--set", "deviations.draws=16", "--overwrite"),
    "score": ("--overwrite",),
}


@pytest.mark.slow
def test_howtos_run(tmp_path, monkeypatch):
    """Every command and every Python block of docs/howto runs, in the order of use, on small tables."""
    monkeypatch.chdir(tmp_path)
    invoke("simulate", "--out", "tables", *SMALL["simulate"])
    people = pd.read_csv("tables/participants.csv", index_col=0).drop(columns="split")
    elsewhere = people["site"] == people["site"].iloc[0]
    shutil.copytree("tables", "local")
    people[elsewhere].to_csv("local/participants.csv")
    people[~elsewhere].to_csv("tables/participants.csv")
    scope: dict[str, object] = {}
    for page in ("my-table", "read-the-report", "my-likelihood", "my-new-site", "cite"):
        text = (ROOT / "docs" / "howto" / f"{page}.md").read_text(encoding="utf-8")
        for command in commands(text):
            invoke(*command, *SMALL.get(command[0], ()))
        if page == "my-table":
            shutil.copy("my.yaml", "later.yaml")
        for block in blocks(text, "python"):
            exec(compile(block, page, "exec"), scope)
    assert Path("demo.png").is_file()
    assert len(scope["strongest"]) == 10


def commands(text: str) -> list[list[str]]:
    """The arguments of every `mmnorm` command in the sh blocks, without comments."""
    lines = [line for block in blocks(text, "sh") for line in block.splitlines() if line.startswith("mmnorm ")]
    return [shlex.split(line, comments=True)[1:] for line in lines]


def invoke(*arguments: str) -> None:
    """Run a command within this process, because a new process would load torch again."""
    done = CliRunner().invoke(app, [*arguments, "--quiet"])
    assert done.exit_code == 0, (arguments, done.output)


def test_faults_of_arviz_are_as_documented():
    """Every example of a fault in docs/arviz.md, where the version that it names is installed."""
    text = (ROOT / "docs" / "arviz.md").read_text(encoding="utf-8")
    if f"arviz {version('arviz')} " not in text:
        pytest.skip("another version of ArviZ: check the examples again, and update the version")
    if tuple(map(int, version("numpy").split(".")[:2])) < (2, 3):
        pytest.skip("the messages of older versions of numpy and scipy differ")
    lines = "\n".join(blocks(text, "pycon"))
    shown = doctest.DocTestParser().get_doctest(lines, {}, "arviz.md", "arviz.md", 0)
    failures: list[str] = []
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(shown, out=failures.append)
    assert not failures, "".join(failures)


def test_example_for_arviz_runs():
    for block in blocks((ROOT / "docs" / "arviz.md").read_text(encoding="utf-8"), "python"):
        scope: dict[str, object] = {}
        exec(compile(block, "arviz.md", "exec"), scope)
        assert scope["dt"]["predictions"]["x"].dims == ("chain", "draw", "new_person")


def test_contributing_example_runs():
    """The likelihood of CONTRIBUTING.md passes its own test, in a new process because it registers functions."""
    code = "".join(blocks((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), "python"))
    tests = re.findall(r"^def (test_\w+)", code, flags=re.MULTILINE)
    assert tests
    calls = "".join(f"\n{name}()" for name in tests)
    command = [sys.executable, "-W", "error", "-c", code + calls]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_yaml_blocks_are_configurations(document):
    for block in blocks(document.read_text(encoding="utf-8"), "yaml"):
        parse_config(block)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_configurations_load(path):
    assert read_config(path).data.modalities


@pytest.mark.parametrize("name", sorted({match["name"] for match in COMMAND.finditer(GUIDES)}))
def test_commands_exist(name):
    rests = [match["rest"] for match in COMMAND.finditer(GUIDES) if match["name"] == name]
    options = {option for rest in rests for option in re.findall(r"--[a-z-]+", rest)}
    help_text = mmnorm(name, "--help")
    assert [option for option in sorted(options) if option not in help_text] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_have_a_target(document):
    prose = re.sub(r"^```.*?^```", "", document.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    targets = [match["target"] for match in LINK.finditer(prose)]
    assert [target for target in targets if not (document.parent / target).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_source_files_named_in_documents_exist(document):
    """Paths such as `models/fusion.py` or `pyro_mmnorm/models/fusion.py`, relative to the package or the repository."""
    prose = re.sub(r"^```.*?^```", "", document.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    named = set(SOURCE_FILE.findall(prose))
    assert sorted(path for path in named if not any((root / path).is_file() for root in (ROOT, PACKAGE))) == []


def test_glossary_holds_each_term_once_in_alphabetical_order():
    terms = [entry.casefold() for entry in GLOSSARY_ENTRY.findall(GLOSSARY)]
    assert len(terms) > 50
    assert terms == sorted(set(terms))


def test_glossary_explains_every_word_in_italics():
    entries = re.findall(r"^- (\*\*.+?\*\*(?: \([^)]*\))?(?:, or \*\*.+?\*\*)?)", GLOSSARY, flags=re.MULTILINE)
    terms = {name.casefold() for entry in entries for name in re.findall(r"\*\*(.+?)\*\*", entry)}
    terms |= {name.removesuffix("s") for name in terms}
    terms |= {plural for name in terms for plural in (f"{name}s", re.sub("y$", "ies", name))}
    body = GLOSSARY.partition("\n- ")[2]
    used = {" ".join(word.split()).casefold() for word in re.findall(r"(?<!\*)\*([^*]+)\*(?!\*)", body)}
    assert len(used) > 20
    assert sorted(used - terms) == []


FAULTS = ("other ids", "a word", "another label", "two spellings", "few people")
TABLES = """
data:
  participants: participants.csv
  id: participant_id
  modalities: {volumes: {tables: [volumes.csv]}}
  reference: {column: diagnosis, values: [CN]}
  groups: {column: diagnosis, order: [CN, AD]}
"""


@pytest.mark.parametrize(
    ("fault", "message"),
    list(zip(FAULTS, re.findall(r"^\| `(.+?)` \|", COMMON_ERRORS, flags=re.MULTILINE), strict=True)),
)
def test_common_errors_have_the_documented_messages(fault, message, tmp_path):
    """Each row of the table at the end of docs/howto/my-table.md, from tables that hold this fault."""
    n = 20 if fault == "few people" else 60
    ids = [f"sub-{i:02d}" for i in range(n)]
    diagnosis = ["CN"] * (n - 2) + ["AD", "ad" if fault == "two spellings" else "AD"]
    people = pd.DataFrame({"participant_id": ids, "diagnosis": diagnosis})
    volumes = pd.DataFrame({"participant_id": ids, "left": range(1, n + 1), "right": range(2, n + 2)}, dtype=object)
    if fault == "other ids":
        volumes["participant_id"] = [name.removeprefix("sub-") for name in ids]
    elif fault == "a word":
        volumes.loc[3, "left"] = "unclear"
    elif fault == "another label":
        people["diagnosis"] = people["diagnosis"].replace("CN", "healthy")
    people.to_csv(tmp_path / "participants.csv", index=False)
    volumes.to_csv(tmp_path / "volumes.csv", index=False)
    (tmp_path / "my.yaml").write_text(TABLES, encoding="utf-8")
    with pytest.raises(pyro_mmnorm.InputError, match=".*".join(map(re.escape, message.split("...")))):
        pyro_mmnorm.read_cohort(read_config(tmp_path / "my.yaml"))


def test_versions_agree():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert pyro_mmnorm.__version__ == version
    assert f"## [{version}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["version"] == version


def test_ci_runs_the_first_commands_of_the_readme():
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    first = [line.partition("#")[0].strip() for line in blocks(README, "sh")[0].splitlines()]
    assert first == ["uv run mmnorm demo", "uv run pytest"]
    assert "uv run pytest" in script
    assert any(line.startswith("uv run mmnorm demo ") for line in script)


def test_no_lock_file_and_no_machine_is_tracked():
    files = tracked()
    assert "uv.lock" not in [Path(name).name for name in files]
    texts = {name: (ROOT / name).read_text(encoding="utf-8", errors="ignore") for name in files}
    assert [name for name, text in texts.items() if re.search(MACHINE, text)] == []
