"""Where the tables of a run live, and the two doors through which they pass.

A run is a folder `<reports>/<run_id>/`; its tables are `tables/<table>.parquet`, its facts (small JSON records
such as the source or the verdict) `<name>.json`, arrays that one layer alone reads again `<name>.npz`. `<reports>` is
the folder that `RECLIB_REPORTS` names, else `reports/` of the project. While a run is being made, `RECLIB_RUN` names it: it is then what `latest` means, and the only run
that is written to. Elsewhere, in a notebook opened by hand, writing goes to the run `lab`, so that a published run is
never changed; `run="lab"` reads those tables back, and the latest run's where the lab has none.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from reclib import schema

LAB = "lab"
ROW_GROUP = 131_072
LATEST = "latest"
_PROJECT = Path(__file__).resolve().parent.parent


def project() -> Path:
    """The folder that holds `notebooks/` and `reclib/`."""
    return _PROJECT


def reports() -> Path:
    """The folder that holds the runs."""
    return Path(os.environ.get("RECLIB_REPORTS") or _PROJECT / "reports").resolve()


def folder(run: str = LATEST) -> Path:
    """The folder of a run; `latest` is the run being made, else the last one published."""
    if run == LATEST:
        run = os.environ.get("RECLIB_RUN") or LATEST
    if not run or Path(run).name != run:
        raise ValueError(f"run == {run!r}, must be the name of a folder in {reports()}.")
    return reports() / run


def run_id() -> str:
    """Name of the run that is being made; `lab` in a notebook opened by hand."""
    return _writable_run()


def has(name: str, *, run: str = LATEST) -> bool:
    """Whether the run has the table."""
    return any(path.exists() for path in _table_paths(name, run))


def read(name: str, *, run: str = LATEST, columns: list[str] | None = None,
         where: dict[str, object] | None = None) -> pd.DataFrame:
    """Read a table of a run.

    Args:
        name: a table of `schema.TABLES`.
        run: `latest`, a run id, or `lab`.
        columns: read only these; the contract is then checked for them alone.
        where: read only rows whose columns equal these values, such as one customer's.

    Raises:
        FileNotFoundError: the run lacks the table; the sentence names the notebook that writes it.
        ContractError: the file breaks the contract.
    """
    table = _table(name)
    path = next((path for path in _table_paths(name, run) if path.exists()), None)
    if path is None:
        raise FileNotFoundError(_how_to_get(name, run))
    wanted = [(column, "==", value) for column, value in where.items()] if where else None
    frame = pd.read_parquet(path, columns=columns, filters=wanted)
    return schema.require(frame, table if columns is None else _narrowed(table, columns))


def read_if_there(name: str, *, run: str = LATEST) -> pd.DataFrame | None:
    """Read a table, or return None where the run has none."""
    return read(name, run=run) if has(name, run=run) else None


def write(name: str, frame: pd.DataFrame) -> str:
    """Write a table into the run being made (or `lab`), sorted by its key, in one atomic step.

    Where customers are in the key, rows lie in groups, so that `read(where=...)` opens only those that can hold a customer.

    Returns:
        A sentence that says what was written.

    Raises:
        ContractError: the frame breaks the contract; nothing is written.
    """
    table = _table(name)
    schema.require(frame, table)
    ordered = _sorted(frame[schema.columns_of(table, frame)], list(table.key))
    path = folder(_writable_run()) / "tables" / f"{name}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    ordered.to_parquet(partial, index=False, compression="zstd", row_group_size=ROW_GROUP if "customer_id" in table.key else None)
    os.replace(partial, path)
    return f"{name}: {len(ordered):,} rows written."


def read_facts(name: str, *, run: str = LATEST) -> dict:
    """Read a record of facts of a run, or an empty one where there is none."""
    path = next((path for path in _facts_paths(name, run) if path.exists()), None)
    return json.loads(path.read_text()) if path else {}


def facts_before(name: str, *, source: str, run: str = LATEST) -> dict:
    """Read a record of facts of the last published run of a source before this one; an empty one where there is none."""
    own, found = folder(run).resolve(), []
    for path in reports().glob("*/run.json"):
        record = json.loads(path.read_text())
        is_other = not path.parent.is_symlink() and path.parent != own
        if is_other and record.get("status") == "published" and record.get("source", {}).get("name") == source:
            found.append((record["started_at"], path.parent.name))
    return read_facts(name, run=max(found)[1]) if found else {}


def write_facts(name: str, facts: dict) -> str:
    """Write a record of facts into the run being made (or `lab`), in one atomic step."""
    path = folder(_writable_run()) / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    partial.write_text(json.dumps(facts, indent=2, sort_keys=True, default=_as_json, allow_nan=False) + "\n")
    os.replace(partial, path)
    return f"{name}: {len(facts)} facts written."


def read_arrays(name: str, *, run: str = LATEST) -> Mapping[str, np.ndarray]:
    """Open a file of arrays of a run, each of which is read when it is asked for; an empty one where there is none."""
    path = next((path for place in _places(run) if (path := place / f"{name}.npz").exists()), None)
    return np.load(path) if path else {}


def write_arrays(name: str, arrays: dict[str, np.ndarray]) -> str:
    """Write arrays of numbers and texts into the run being made (or `lab`), in one atomic step."""
    path = folder(_writable_run()) / f"{name}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    with partial.open("wb") as file:
        np.savez(file, **arrays)
    os.replace(partial, path)
    return f"{name}: {len(arrays)} arrays written."


def _writable_run() -> str:
    return os.environ.get("RECLIB_RUN") or LAB


def _table(name: str) -> schema.Table:
    if name not in schema.TABLES:
        raise ValueError(f"unknown table {name!r}; known tables: {sorted(schema.TABLES)}.")
    return schema.TABLES[name]


def _table_paths(name: str, run: str) -> list[Path]:
    _table(name)
    return [place / "tables" / f"{name}.parquet" for place in _places(run)]


def _facts_paths(name: str, run: str) -> list[Path]:
    return [place / f"{name}.json" for place in _places(run)]


def _places(run: str) -> list[Path]:
    return [folder(LAB), folder(LATEST)] if run == LAB else [folder(run)]


def _narrowed(table: schema.Table, columns: list[str]) -> schema.Table:
    kept = {name: column for name, column in table.columns.items() if name in columns}
    return schema.Table(table.name, table.about, table.key if set(table.key) <= set(columns) else (), kept)


def _how_to_get(name: str, run: str) -> str:
    if run not in (LATEST, LAB) and not folder(run).exists():
        known = sorted(path.parent.name for path in reports().glob("*/run.json") if not path.parent.is_symlink())
        return f"run == {run!r}, must be one of those in {reports()}: {', '.join(known) or 'none yet'}."
    writers = _writers().get(name, [])
    advice = f"run {' or '.join(writers)} first" if writers else "no notebook writes it"
    return f"{name}: not in run {run!r} ({folder(run)}); {advice}."


def _writers() -> dict[str, list[str]]:
    """Which notebook writes which table, read from the first cell of each."""
    found: dict[str, list[str]] = {}
    for path in sorted((_PROJECT / "notebooks").glob("[0-9]*.ipynb")):
        for name in handover(path).writes:
            found.setdefault(name, []).append(path.stem)
    return found


class Handover:
    """What a notebook reads and writes, as its first cell says.

    The line is `Reads a, [b], c or d · Writes e`: brackets mean "where it is there", `or` means one of them.
    `reads` is a list of alternatives (each a list of names), `may_read` and `writes` are names.
    """

    def __init__(self, line: str) -> None:
        before, _, after = line.partition("·")
        wanted = [part.strip() for part in _bare(before.replace("Reads", "")).split(",") if part.strip()]
        self.reads = [[name.strip() for name in part.split(" or ")] for part in wanted if not part.startswith("[")]
        self.may_read = [part.strip("[]") for part in wanted if part.startswith("[")]
        self.writes = [part.strip() for part in _bare(after.replace("Writes", "")).split(",") if part.strip()]


def handover(path: Path) -> Handover:
    """Read the handover line of a notebook (empty where it has none)."""
    cells = json.loads(path.read_text())["cells"]
    text = "".join(cells[0]["source"]) if cells else ""
    line = next((line for line in text.splitlines() if line.startswith("Reads ")), "")
    return Handover(line)


def _bare(text: str) -> str:
    return text.replace("`", "").replace("*", "").strip().rstrip(".").replace("nothing", "")


def _sorted(frame: pd.DataFrame, key: list[str]) -> pd.DataFrame:
    if len(key) == 1 and frame[key[0]].is_monotonic_increasing:
        return frame.reset_index(drop=True)
    return frame.sort_values(key, kind="stable", ignore_index=True)


def _as_json(value: object) -> object:
    if hasattr(value, "item"):
        return value.item()
    if hasattr(value, "isoformat"):
        return value.isoformat()
    raise TypeError(f"facts hold a {type(value).__name__}; allowed: text, number, list, record, time.")
