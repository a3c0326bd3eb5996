"""A run folder removes only what a run wrote, belongs to one run, and to one process at a time."""

import json
import subprocess
import sys

import pytest

from pyro_mmnorm.app.run_folder import RunFolder
from pyro_mmnorm.config import parse_config
from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.core.files import atomic_write

TEXT = "data: {participants: p.csv, id: id, modalities: {t: {tables: [t.csv]}}, reference: everyone}"
CONFIG = parse_config(TEXT)


@pytest.fixture
def table(tmp_path):
    return atomic_write(tmp_path / "tables" / "t.csv", "id,a\n1,2\n")


def finished(path, table, **options):
    """A small run: three files, one of them in a folder."""
    folder = RunFolder(path, inputs=[table], **options)
    with folder.open(CONFIG):
        folder.write("z.csv", "z")
        atomic_write(path / "figures" / "a.png", "a picture")
    return folder


def names(path):
    return sorted(file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file())


def test_a_run_lists_what_it_wrote(tmp_path, table):
    finished(tmp_path / "run", table)
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert sorted(manifest["files"]) == ["config.yaml", "figures/a.png", "z.csv"]
    assert names(tmp_path / "run") == ["config.yaml", "figures/a.png", "manifest.json", "z.csv"]


def test_overwrite_removes_the_files_of_the_run_and_no_others(tmp_path, table):
    path = tmp_path / "run"
    finished(path, table)
    (path / "figures" / "thesis.png").write_text("years of work")
    (path / "notes.txt").write_text("mine")
    folder = RunFolder(path, overwrite=True, inputs=[table])
    with folder.open(CONFIG):
        assert names(path) == [".lock", "config.yaml", "figures/thesis.png", "manifest.json", "notes.txt"]
    assert (path / "notes.txt").read_text() == "mine"


def test_a_configuration_of_the_user_is_no_run(tmp_path, table):
    """0.1 took any folder with a config.yaml for a run, and deleted it."""
    mine = tmp_path / "project"
    atomic_write(mine / "config.yaml", TEXT)
    atomic_write(mine / "thesis.txt", "years of work")
    for options in ({"overwrite": True}, {"resume": True}, {}):
        with pytest.raises(InputError, match="a folder that"):
            RunFolder(mine, inputs=[table], **options)
    assert names(mine) == ["config.yaml", "thesis.txt"]


def test_a_folder_of_0_1_loses_its_own_files_only(tmp_path, table):
    path = tmp_path / "old"
    for name in ("config.yaml", "provenance.json", "model/sha256.json", "figures/map_01_volume.png", "z.csv"):
        atomic_write(path / name, TEXT)
    atomic_write(path / "figures" / "for_the_paper.png", "mine")
    with RunFolder(path, overwrite=True, inputs=[table]).open(CONFIG):
        pass
    assert names(path) == ["config.yaml", "figures/for_the_paper.png", "manifest.json"]


@pytest.mark.parametrize("inside", ["", "tables", "."])
def test_results_never_go_where_an_input_lies(tmp_path, table, inside, monkeypatch):
    """The folder of a table, any folder above it, and the folder of a run that is read; also as a relative path."""
    monkeypatch.chdir(tmp_path)
    out = tmp_path / inside if inside != "." else inside
    with pytest.raises(InputError, match=r"a folder that holds .*t\.csv, an input"):
        RunFolder(out, overwrite=True, inputs=[table])
    RunFolder(tmp_path / "tables" / "results", inputs=[table])
    finished(tmp_path / "run", table)
    with pytest.raises(InputError, match=r"a folder that holds .*run, an input"):
        RunFolder(tmp_path / "run", overwrite=True, inputs=[tmp_path / "run"])


def test_resume_and_overwrite_exclude_each_other(tmp_path, table):
    with pytest.raises(InputError, match="both --resume and --overwrite"):
        RunFolder(tmp_path / "run", resume=True, overwrite=True, inputs=[table])


def test_resume_refuses_other_tables_and_another_configuration(tmp_path, table):
    path = tmp_path / "run"
    finished(path, table)
    with RunFolder(path, resume=True, inputs=[table]).open(CONFIG) as trained:
        assert not trained
    other = CONFIG.model_copy(update={"seed": 2})
    with pytest.raises(InputError, match="another configuration"), RunFolder(path, resume=True).open(other):
        pass
    table.write_text("id,a\n1,3\n")
    with (
        pytest.raises(InputError, match=r"t\.csv has changed since the run began"),
        RunFolder(path, resume=True, inputs=[table]).open(CONFIG),
    ):
        pass
    assert (path / "z.csv").read_text() == "z"


HOLD = """
import sys
from pathlib import Path
from pyro_mmnorm.app.run_folder import RunFolder
from pyro_mmnorm.config import parse_config
with RunFolder(sys.argv[1]).open(parse_config(sys.argv[2])):
    print("holds", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_refused_and_a_killed_one_leaves_no_lock(tmp_path):
    path = tmp_path / "run"
    first = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path), TEXT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert first.stdout.readline() == "holds\n"
    second = RunFolder(path, overwrite=True)
    with pytest.raises(InputError, match=rf"another process is writing \(process {first.pid} on "), second.open(CONFIG):
        pass
    assert (path / "config.yaml").is_file()
    first.kill()
    first.wait()
    first.stdin.close()
    first.stdout.close()
    with RunFolder(path, overwrite=True).open(CONFIG):
        assert (path / "config.yaml").is_file()


@pytest.mark.parametrize(
    "content",
    ["{", "[]", '{"schema": 99, "inputs": [], "files": []}', '{"schema": 1, "inputs": [], "files": ["../thesis.txt"]}'],
)
def test_a_broken_manifest_removes_nothing(tmp_path, table, content):
    path = tmp_path / "run"
    finished(path, table)
    (tmp_path / "thesis.txt").write_text("years of work")
    (path / "manifest.json").write_text(content)
    before = names(path)
    with pytest.raises(InputError, match="manifest"), RunFolder(path, overwrite=True, inputs=[table]).open(CONFIG):
        pass
    assert names(path) == before
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
