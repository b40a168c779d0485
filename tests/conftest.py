"""What several test files need: small notebooks made on the spot, and a finished run of them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest

KERNEL = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
_NAMES = [os.environ.get(name) for name in ("RECLIB_REPORTS", "RECLIB_RUN")]
DEFAULT_RUN = Path(*_NAMES) if all(_NAMES) else None
HARD_TITLES = ['<b>bold</b> "quoted" & \'single\'', "😀 emoji", "مرحبا بالعالم", "<script>alert(1)</script>", "x" * 300]
DATA = """
import pandas as pd
from reclib import store

start = pd.Timestamp("2026-01-05", tz="UTC").as_unit("us")
events = pd.DataFrame({"event_id": range(n_events), "occurred_at": start, "customer_id": 1, "item_id": range(n_events)})
events = events.assign(event_type="purchase", value=seed / 2)
store.write("events", events)
store.write_facts("source", {"name": "toy", "assumptions": ["Titles are <i>text</i>."]})
"""
SIGNALS = """
from reclib import report, store

events = store.read("events", run=run)
ratings = events.rename(columns={"value": "rating", "occurred_at": "last_event_at"}).assign(n_events=1)
store.write("ratings", ratings[["customer_id", "item_id", "rating", "n_events", "last_event_at"]])
report.takeaway(f"{len(ratings)} ratings at {half_life_days} days.")
"""
SHOWN = f"""
from reclib import plots, report

items = pd.DataFrame({{"title": {HARD_TITLES!r}, "price": [1.5, 20.0, 3.0, 4.0, 1000.25]}})
report.show(items)
plots.show(plots.bars(items, label="title", value="price", title="Prices", x="euro"),
           alt="Bars of five prices.")
report.takeaway("Five titles, <b>not bold</b> & *plain*.")
"""


LONG = ("test_real_sources.py", "offpolicy.ipynb", "test_allocation_prices.py", "test_loop.py", "test_workflow.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes minutes comes first, so that no worker is left alone with it at the end."""
    items.sort(key=lambda item: LONG.index(item.path.name) if item.path.name in LONG else len(LONG))


@pytest.fixture
def make_notebook() -> Callable[..., Path]:
    """The function that writes a notebook."""
    return write_notebook


def write_notebook(path: Path, line: str, parameters: str, *cells: str) -> Path:
    """Write a notebook: title and handover line, parameters, then cells (prose where they begin with #)."""
    written = nbformat.v4.new_notebook(metadata=KERNEL)
    head = f"# {path.stem.title()}: what is it?\n\nTwo sentences. They are here.\n\n{line}"
    written.cells = [
        nbformat.v4.new_markdown_cell(head),
        nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}),
        *(nbformat.v4.new_markdown_cell(cell) if cell.startswith("#") else nbformat.v4.new_code_cell(cell.strip())
          for cell in cells),
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(written, path)
    return path


def write_chain(folder: Path, *, is_drawn: bool = True) -> Path:
    """A chain of four: one that brings data in (and draws it), two that read it, one that lacks what it needs; and a proof."""
    run = 'run: str = "latest"  # run whose tables are read\n'
    write_notebook(folder / "00_data.ipynb", "Reads nothing · Writes `events`",
                   f"{run}seed: int = 7  # random seed\nn_events: int = 3  # events", DATA, *("## What is shown?", SHOWN) * is_drawn)
    write_notebook(folder / "01_signals.ipynb", "Reads `events` · Writes `ratings`",
                   f"{run}half_life_days: float = 30.0  # days", SIGNALS)
    write_notebook(folder / "02_candidates.ipynb", "Reads `events`, [`items`] · Writes nothing", f"{run}k: int = 8  # slots",
                   "from reclib import report, store\nreport.takeaway(f\"{len(store.read('events', run=run))} events.\")")
    write_notebook(folder / "07_experiments.ipynb", "Reads `units` or `answers` · Writes `readout`", run, "1 / 0")
    write_notebook(folder / "proofs" / "calibration.ipynb", "Reads nothing · Writes nothing", "seed: int = 7  # seed",
                   "from reclib import report\nreport.takeaway('Proven.')")
    return folder


@pytest.fixture
def chain(tmp_path: Path) -> Path:
    """A folder of small notebooks, none of which draws: that takes half of a small run."""
    return write_chain(tmp_path / "notebooks", is_drawn=False)


@pytest.fixture
def earlier(finished: Path, tmp_path: Path) -> tuple[Path, Path]:
    """The small notebooks of a run that is there, and a folder of runs of one's own that holds it."""
    shutil.copytree(finished, tmp_path / "reports", symlinks=True)
    return write_chain(tmp_path / "notebooks"), tmp_path / "reports"


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of runs after one run of the small notebooks, published."""
    from reclib.workflow import prepare, runner

    folder = write_chain(tmp_path_factory.mktemp("chain") / "notebooks")
    reports = tmp_path_factory.mktemp("reports")
    plan = prepare.prepare(prepare.Request(notebooks=folder, reports=reports, jobs=2, run_id="first"))
    assert runner.run(plan, lambda line: None) == runner.PUBLISHED
    return reports


@pytest.fixture(autouse=True)
def _no_run_around(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests never write into the project's reports by a variable left over from a shell."""
    for name in ("RECLIB_RUN", "RECLIB_REPORTS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def default_run() -> Path:
    """The folder of the default run that `make test` makes before."""
    if not DEFAULT_RUN or not (DEFAULT_RUN / "index.html").exists():
        pytest.skip("no default run here; `make test` makes one")
    return DEFAULT_RUN
