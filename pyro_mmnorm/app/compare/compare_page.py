"""The page of a comparison: compare.html."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from pyro_mmnorm.app.compare.runs import Model
from pyro_mmnorm.report.html_tables import Cell, Table, pairs
from pyro_mmnorm.report.page import Note, Section, page_of
from pyro_mmnorm.results.formatting import interval, number
from pyro_mmnorm.results.person_measures import LEVEL

__all__ = ["page"]

HEAD = ["metric", "run", "value [95 %]", "n", "gain over the first [95 %]", "p", "Holm p", "in words"]


def page(table: pd.DataFrame, models: Sequence[Model]) -> str:
    """The HTML of a comparison, with a section per part of the table.

    Args:
        table: From `compare`.
        models: The compared models, the reference first.
    """
    first, others = models[0].name, [model.name for model in models[1:]]
    described = pairs("Models", ("run", "model"), {m.name: _described(m) for m in models})
    verdicts = [Note(_verdict(table[table["run"] == name], name, first)) for name in others]
    notes = [Note(text) for text in table.attrs["notes"]]
    sections = [Section("runs", "Compared runs", [*verdicts, *notes], [described])]
    for i, (part, rows) in enumerate(table.groupby("part", sort=False)):
        sections.append(Section(f"part{i}", str(part), [], [_table(str(part), rows.to_dict("records"))]))
    people = models[0].runs[0].results.subjects["split"].value_counts().to_dict()
    lead = f"{', '.join(others)} against {first}, on the same {people.get('test', 0):,} test controls and "
    return page_of(f"Comparison with {first}", f"{lead}{people.get('target', 0):,} target subjects.", sections)


def _described(model: Model) -> str:
    times = f", trained {len(model.runs)} times" if len(model.runs) > 1 else ""
    return f"{model.runs[0].described}{times}"


def _verdict(rows: pd.DataFrame, name: str, first: str) -> str:
    significant = rows[rows["p_holm"] < LEVEL]
    better, worse = (significant["gain"] > 0).sum(), (significant["gain"] < 0).sum()
    return (
        f"{name} against {first}: of {len(rows)} metrics {better} are better and {worse} are worse "
        f"(Holm p < 0.05); {len(rows) - better - worse} do not differ significantly."
    )


def _table(caption: str, rows: Sequence[Mapping[Any, Any]]) -> Table:
    return Table(caption, HEAD, [_line(row) for row in rows])


def _line(row: Mapping[Any, Any]) -> list[Cell]:
    ideal = f" (ideal {number('', row['ideal'])})" if np.isfinite(row["ideal"]) else ""
    lost = row["p_holm"] < LEVEL and row["gain"] < 0
    gain = {"value": row["gain"], "low": row["gain_low"], "high": row["gain_high"]}
    return [
        Cell(f"{row['measure']}, {row['about']}{ideal}", right=False),
        Cell(str(row["run"]), right=False),
        Cell(interval("", row) + _spread(row)),
        Cell(number("n", int(row["n"]))),
        Cell(interval("", gain) if np.isfinite(row["gain"]) else "–", tone="bad" if lost else ""),
        Cell(number("p", row["p"])),
        Cell(number("p_holm", row["p_holm"])),
        Cell(row["sentence"] if isinstance(row["sentence"], str) else "", right=False),
    ]


def _spread(row: Mapping[Any, Any]) -> str:
    """The range over trainings, if there are several."""
    if not np.isfinite(row["spread_low"]):
        return ""
    return f"; {row['trainings']} trainings {number('', row['spread_low'])} to {number('', row['spread_high'])}"
