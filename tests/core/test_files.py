"""Files are written whole or not at all."""

import json
import sys

import pytest

from pyro_mmnorm.core import files
from pyro_mmnorm.core.errors import InputError


def test_an_interrupted_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = files.atomic_write(tmp_path / "x.json", json.dumps({"old": True}))

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(files.Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        files.atomic_write(path, "new")
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]
    assert json.loads(path.read_text()) == {"old": True}


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    path = files.atomic_write(tmp_path / "report.html", b"old")
    monkeypatch.setattr(files.Path, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        files.atomic_write(path, b"new")
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("report.html", b"old")]


def test_parquet_without_pyarrow_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputError, match=r"a.parquet: parquet, but pyarrow .*Install pyro-mmnorm\[parquet\]"):
        files.require_pyarrow("a.parquet")
