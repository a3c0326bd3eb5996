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
        assert set(names(path)) - {"figures/thesis.png", "notes.txt"} == {
            ".mmnorm.lock",
            "config.yaml",
            "manifest.json",
        }
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
    for name in ("config.yaml", "figures/map_01_volume.png", "z.csv"):
        atomic_write(path / name, TEXT)
    atomic_write(path / "provenance.json", '{"versions": {"pyro-mmnorm": "0.1.0"}}')
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
    [
        "{",
        "[]",
        "[" * 100_000,
        '{"name": "my web app"}',
        '{"schema": 99, "command": "run", "inputs": [], "files": []}',
        *(
            f'{{"schema": 1, "command": "run", "inputs": [], "files": [{name}]}}'
            for name in ('"../thesis.txt"', '"/thesis.txt"', '"figures"', '"manifest.json"', '""', "5", '"a\\u0000"')
        ),
    ],
    ids=lambda content: content[-40:],
)
def test_a_broken_manifest_removes_nothing(tmp_path, table, content):
    path = tmp_path / "run"
    finished(path, table)
    (tmp_path / "thesis.txt").write_text("years of work")
    (path / "manifest.json").write_text(content)
    before = names(path)
    for options in ({"overwrite": True}, {"resume": True}):
        with pytest.raises(InputError, match="manifest"), RunFolder(path, inputs=[table], **options).open(CONFIG):
            pass
    assert names(path) == before
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_files_behind_a_link_are_left_alone(tmp_path, table):
    path, elsewhere = tmp_path / "run", tmp_path / "pictures"
    finished(path, table)
    (path / "figures").rename(elsewhere)
    (path / "figures").symlink_to(elsewhere)
    with RunFolder(path, overwrite=True, inputs=[table]).open(CONFIG):
        pass
    assert names(elsewhere) == ["a.png"]


def test_results_below_a_run_are_left_alone_and_runs_of_a_study_are_replaced(tmp_path, table):
    finished(tmp_path / "run", table)
    finished(tmp_path / "run" / "backup", table)
    with RunFolder(tmp_path / "run", overwrite=True, inputs=[table]).open(CONFIG):
        pass
    assert (tmp_path / "run" / "backup" / "z.csv").is_file()
    study = tmp_path / "study"
    finished(study, table, command="study")
    finished(study / "runs" / "vae-seed1", table)
    with RunFolder(study, command="study", overwrite=True, inputs=[table]).open(CONFIG):
        assert not (study / "runs").exists()


def test_results_of_another_command_are_not_replaced(tmp_path, table):
    """Else scores would remove a trained model to make room."""
    finished(tmp_path / "run", table)
    with pytest.raises(InputError, match="results of mmnorm run; expected results of mmnorm score"):
        RunFolder(tmp_path / "run", command="score", overwrite=True, inputs=[table])


def test_a_folder_filled_meanwhile_is_refused(tmp_path, table):
    """Two runs are started with the same new folder; the first has finished before the second writes."""
    second = RunFolder(tmp_path / "run", inputs=[table])
    finished(tmp_path / "run", table)
    with pytest.raises(InputError, match="a folder that is not empty"), second.open(CONFIG):
        pass
    assert (tmp_path / "run" / "z.csv").read_text() == "z"


def test_a_file_of_the_user_is_not_written_over(tmp_path, table):
    path = tmp_path / "run"
    finished(path, table)
    (path / "report.html").write_text("mine")
    with (
        pytest.raises(InputError, match=r"report\.html: a file that no run has written"),
        RunFolder(path, overwrite=True, inputs=[table]).open(CONFIG),
    ):
        atomic_write(path / "report.html", "a page")
    assert (path / "report.html").read_text() == "mine"


def test_resume_asks_for_the_model_and_the_configuration_of_its_run(tmp_path, table):
    path = tmp_path / "run"
    with RunFolder(path, inputs=[table]).open(CONFIG) as trained:
        assert not trained
    folder = RunFolder(path, resume=True, inputs=[table])
    with folder.open(CONFIG) as trained:
        assert not trained  # a model that was never sealed is trained again
        folder.write("model/sha256.json", "{}")
        folder.seal_model()
    with RunFolder(path, resume=True, inputs=[table]).open(CONFIG) as trained:
        assert trained
    (path / "model" / "sha256.json").write_text('{"of": "another run"}')
    with pytest.raises(InputError, match="another model"), RunFolder(path, resume=True, inputs=[table]).open(CONFIG):
        pass
    (path / "config.yaml").unlink()
    with pytest.raises(InputError, match=r"no config\.yaml"), RunFolder(path, resume=True, inputs=[table]).open(CONFIG):
        pass


def test_a_path_that_cannot_be_a_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / ("x" * 300), tmp_path / "file" / "below"):
        with pytest.raises(InputError, match="expected a folder"), RunFolder(path).open(CONFIG):
            pass


def test_a_lock_that_a_killed_run_left_in_an_empty_folder_is_no_use(tmp_path):
    (tmp_path / ".mmnorm.lock").write_text("process 1 on a machine")
    with RunFolder(tmp_path).open(CONFIG):
        pass
