"""The command line: exit codes, one line for an error, and no files after bad input."""

import io
import json
import os
import shlex
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from pyro_mmnorm.app import terminal
from pyro_mmnorm.app.cli import app
from pyro_mmnorm.app.terminal import Summary

COMMANDS = ("run", "init", "export", "study", "score", "adapt", "inspect", "simulate", "demo", "report", "compare")


def invoke(*arguments: object):
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    root = tmp_path_factory.mktemp("tables")
    assert invoke("simulate", "--out", root / "t", "--healthy", 300, "--patients", 20, "--quiet").exit_code == 0
    return root / "t"


def configuration(tables, path, **changes):
    from pathlib import Path

    text = (Path(__file__).parents[2] / "configs" / "demo.yaml").read_text()
    path.write_text(text)
    return ["--set", f"data.root={tables}", "--set", "train.epochs=2", "--set", "deviations.draws=16"]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command):
    result = invoke(command, "--help")
    assert result.exit_code == 0
    assert f"mmnorm {command}" in result.output
    assert "Example" in result.output
    assert "--quiet" in result.output
    assert "--json" in result.output


@pytest.mark.parametrize("command", [[], ["run"]])
def test_help_loads_no_heavy_library(command):
    """This is what makes `mmnorm --help` quick; a wall time would depend on what else the machine does."""
    code = (
        "import sys\nfrom pyro_mmnorm.app.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "sys.stderr.write(' '.join({name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code, *command, "--help"], capture_output=True, text=True, check=True)
    assert "Usage" in done.stdout
    heavy = {"torch", "pyro", "numpy", "scipy", "pandas", "xarray", "arviz", "matplotlib"}
    assert heavy & set(done.stderr.split()) == set()


def test_run_and_the_commands_that_use_its_folder(tables, tmp_path):
    config = tmp_path / "demo.yaml"
    settings = configuration(tables, config)
    out = tmp_path / "run"
    result = invoke("run", config, "--out", out, *settings)
    assert result.exit_code == 0, result.output
    assert "test controls" in result.output
    assert str(out / "report.html") in result.output
    (out / "report.html").unlink()
    assert invoke("report", out, "--quiet").output == ""
    assert (out / "report.html").is_file()
    scored = invoke("score", out, "--config", config, "--out", tmp_path / "s", *settings)
    assert scored.exit_code == 0, scored.output
    assert (tmp_path / "s" / "z.csv").is_file()
    assert "Verdict of the run: " in scored.output
    known = invoke("adapt", out, "--config", config, "--out", tmp_path / "a", *settings)
    assert known.exit_code == 2
    assert "adapt: only sites met in training" in known.output
    assert not (tmp_path / "a").exists()
    compared = invoke("compare", out, out, "--out", tmp_path / "c")
    assert compared.exit_code == 0, compared.output
    assert "do not differ significantly" in compared.output
    assert str(tmp_path / "c" / "compare.html") in compared.output
    assert invoke("compare", out, out, "--out", tmp_path / "c").exit_code == 2
    assert invoke("compare", out, out, "--out", tmp_path / "c", "--overwrite", "--quiet").output == ""
    assert invoke("compare", out, out, "--out", config).exit_code == 2


def test_inspect_and_dry_run_write_nothing(tables, tmp_path):
    config = tmp_path / "demo.yaml"
    settings = configuration(tables, config)
    for command in (["inspect", config], ["run", config, "--dry-run", "--out", tmp_path / "r"]):
        result = invoke(*command, *settings)
        assert result.exit_code == 0, result.output
        assert "cortical" in result.output
    assert [p.name for p in tmp_path.iterdir()] == ["demo.yaml"]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ("data.rot=x", "data.rot: unknown key"),
        ("model.fusion=sum", "model.fusion: 'sum'"),
        ("data.id=nobody", "nobody"),
        ("data.participants=absent.csv", "no such file"),
        ("train.epochs=0", "train.epochs"),
        ("data.reference.values=[martian]", "martian"),
    ],
)
def test_bad_input_ends_with_one_line_exit_code_2_and_nothing_written(tables, tmp_path, change, line):
    config = tmp_path / "demo.yaml"
    settings = configuration(tables, config)
    result = invoke("run", config, "--out", tmp_path / "r", *settings, "--set", change)
    assert result.exit_code == 2, result.output
    assert line in result.output
    assert "expected" in result.output
    assert not (tmp_path / "r").exists()


def test_missing_files_and_wrong_usage_end_with_2(tmp_path):
    assert invoke("run", tmp_path / "none.yaml").exit_code == 2
    assert invoke("report", tmp_path).exit_code == 2
    assert invoke("compare", tmp_path, tmp_path).exit_code == 2
    assert invoke("run").exit_code == 2
    assert invoke("score", tmp_path, "--config", tmp_path / "none.yaml").exit_code == 2
    (tmp_path / "x").write_text("")
    assert invoke("simulate", "--out", tmp_path).exit_code == 2


@pytest.fixture
def asked(monkeypatch):
    """Sets sys.argv, which `invoke` does not use."""

    def ask(*arguments: object):
        monkeypatch.setattr(sys, "argv", ["mmnorm", *map(str, arguments)])
        return invoke(*arguments)

    return ask


def interrupted(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_ctrl_c_ends_with_130_and_the_command_to_continue(tables, tmp_path, monkeypatch, asked):
    from pyro_mmnorm.app import pipeline

    monkeypatch.setattr(pipeline, "run", interrupted)
    config, out = tmp_path / "demo.yaml", tmp_path / "my runs"
    result = asked("run", config, "--out", out, *(settings := configuration(tables, config)))
    assert result.exit_code == 130
    assert result.stdout == ""
    command = result.stderr.strip().partition("To continue: ")[2]
    assert shlex.split(command) == ["mmnorm", "run", *map(str, [config, "--out", out]), *settings, "--resume"]


def test_ctrl_c_before_an_earlier_run_is_replaced_does_not_resume_that_run(tables, tmp_path, monkeypatch, asked):
    """The folder still holds the old run, whose results would be taken for those of the new tables."""
    from pyro_mmnorm.app import pipeline

    config, out = tmp_path / "demo.yaml", tmp_path / "run"
    settings = configuration(tables, config)
    out.mkdir()
    (out / "config.yaml").write_text("of an earlier run")
    os.utime(out / "config.yaml", (0, 0))
    monkeypatch.setattr(pipeline, "run", interrupted)
    message = asked("run", config, "--out", out, "--overwrite", *settings).stderr
    assert "--resume" not in message
    assert "--overwrite" in message
    monkeypatch.setattr(pipeline, "run", lambda *_, **__: (out / "config.yaml").touch() or interrupted())
    message = asked("run", config, "--out", out, "--overwrite", *settings).stderr
    assert "--resume" in message
    assert "--overwrite" not in message


def test_ctrl_c_in_a_command_without_resume_repeats_the_command(tmp_path, monkeypatch, asked):
    from pyro_mmnorm.app import cli

    monkeypatch.setattr(cli, "_simulate", interrupted)
    result = asked("simulate", "--out", tmp_path / "t")
    assert result.exit_code == 130
    assert f"To start again: mmnorm simulate --out {tmp_path / 't'}" in result.stderr


def test_json_is_one_object_and_nothing_else_on_stdout(tables, tmp_path):
    done = invoke("simulate", "--out", tmp_path / "t", "--healthy", 100, "--patients", 4, "--json")
    record = json.loads(done.stdout)
    assert record["command"] == "simulate"
    assert record["out"] == str(tmp_path / "t")
    sizes = {part["name"]: part["bytes"] for part in record["written"]}
    assert sizes == {path.name: path.stat().st_size for path in (tmp_path / "t").iterdir()}
    config = tmp_path / "demo.yaml"
    looked = json.loads(invoke("inspect", config, *configuration(tables, config), "--json").stdout)
    assert {row["modality"] for row in looked["tables"]["regions"]} == {"cortical", "subcortical", "hippocampal"}
    refused = invoke("report", tmp_path, "--json")
    assert (refused.exit_code, refused.stdout) == (2, "")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_colour_is_for_terminals_only(tmp_path, monkeypatch):
    (tmp_path / "z.csv").write_text("id,[bold]\n")
    summary = Summary(out=tmp_path, verdict="Calibrated.", then="report: x")
    for name, there, coloured in (("", io.StringIO(), False), ("", Terminal(), True), ("1", Terminal(), False)):
        monkeypatch.setenv("TERM", "xterm-256color")
        monkeypatch.setenv("NO_COLOR", name)
        monkeypatch.setattr(sys, "stdout", there)
        terminal.print_summary(summary)
        assert ("\x1b[" in there.getvalue()) == coloured
        assert "z.csv" in there.getvalue()
        assert "calibrated z" in there.getvalue()
        assert there.getvalue().index("Calibrated.") < there.getvalue().index("report: x")


def test_help_groups_the_commands():
    text = invoke("--help").output
    headings = ["First steps:", "Your own tables:", "New people and new sites:", "Comparisons:"]
    places = [text.index(heading) for heading in headings]
    assert places == sorted(places)
    assert set(COMMANDS) == {command.callback.__name__ for command in app.registered_commands}
    assert all(f"\n  {name} " in text for name in COMMANDS)
    assert "..." not in text.partition("COMMAND [ARGS]...")[2]
    assert max(map(len, text.splitlines())) <= 80
