"""The command line: exit codes and what is said with them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner, Result

from reclib import cli
from reclib.sources import catalog
from reclib.workflow import prepare


@pytest.fixture(autouse=True)
def _small_notebooks(chain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "folder", lambda: chain)


def call(*words: object) -> Result:
    return CliRunner().invoke(cli.main, [str(word) for word in words])


def test_a_run_says_each_notebook_and_where_the_page_is(tmp_path):
    done = call("run", "signals", "--reports", tmp_path, "-p", "n_events=4")
    lines = done.output.splitlines()
    assert done.exit_code == 0
    assert lines[0].endswith("2 notebooks, 2 side by side.") or "side by side" in lines[0]
    assert lines[2].endswith("4 ratings at 30.0 days.")
    assert lines[-1] == f"Published: {tmp_path / 'latest' / 'index.html'}"


def test_a_failed_notebook_ends_with_1_and_says_cell_and_error(chain, tmp_path):
    path = chain / "00_data.ipynb"
    path.write_text(path.read_text().replace("store.write(", "store.wrote("))
    done = call("run", "00", "--reports", tmp_path, "--run-id", "bad")
    assert done.exit_code == 1
    assert "00_data: failed" in done.output
    assert "Cell 3: AttributeError: module 'reclib.store' has no attribute 'wrote'" in done.output


@pytest.mark.parametrize(("words", "told"), [
    (["-p", "sede=1"], "unknown parameter 'sede' of any notebook of this run; did you mean seed?"),
    (["-p", "seed"], "-p 'seed': must be name=value."),
    (["-p", "seed=x"], "parameter seed == 'x', must be int (as 7 is)."),
    (["nothing"], "unknown notebook 'nothing'"),
    (["--run-id", "../up"], "run id '../up': must be letters"),
    (["--scenario", "none.yaml"], "scenario none.yaml: cannot be read"),
    (["--jobs", "0"], "0 is not in the range x>=1"),
])
def test_what_does_not_fit_is_refused_with_2_and_nothing_is_written(tmp_path, words, told):
    done = call("run", "--reports", tmp_path / "reports", *words)
    assert done.exit_code == 2
    assert told in done.output
    assert not (tmp_path / "reports").exists()


def test_a_broken_source_is_refused_with_2_before_any_cell_runs(chain, make_notebook, tmp_path, monkeypatch):
    make_notebook(chain / "00_data.ipynb", "Reads nothing · Writes `events`", 'source: str = "shop"  # source', "1 / 0")
    fault = {"table": "items", "column": "price", "problem": "is below 0", "n_rows": 2, "first_rows": "row 3: -1.0"}
    monkeypatch.setattr(catalog, "describe", lambda name: {"name": name, "tables": ["items"]})
    monkeypatch.setattr(catalog, "check", lambda name, **options: pd.DataFrame([fault]))
    done = call("run", "--reports", tmp_path / "reports")
    assert done.exit_code == 2
    assert "items.price is below 0 (2 rows). First: row 3: -1.0." in done.output
    assert not (tmp_path / "reports").exists()


def test_an_unknown_source_is_refused_with_2(chain, make_notebook, tmp_path):
    make_notebook(chain / "00_data.ipynb", "Reads nothing · Writes `events`", 'source: str = "shop"  # source', "1 / 0")
    done = call("run", "--source", "storefrnt", "--reports", tmp_path / "reports")
    assert done.exit_code == 2
    assert "unknown source 'storefrnt'" in done.output


def test_failed_checks_end_with_3(chain, make_notebook, tmp_path):
    make_notebook(chain / "00_data.ipynb", "Reads nothing · Writes nothing", "k: int = 8  # slots",
                  "from reclib import store", "store.write_facts('verdict', {'verdict': 'INVALID', 'reasons': ['No.']})")
    done = call("run", "00", "--reports", tmp_path, "--run-id", "one")
    assert done.exit_code == 3
    assert "the checks refuse it" in done.output
    assert not (tmp_path / "latest").exists()


def test_every_built_in_source_is_listed_with_what_it_lacks():
    done = call("sources")
    assert done.exit_code == 0
    assert all(name in done.output for name in catalog.BUILT_IN)
    assert "holdout" in done.output


def test_a_sound_source_passes_the_check():
    done = call("check", "storefront")
    assert (done.exit_code, done.output) == (0, "storefront: every contract holds.\n")


def test_a_broken_source_file_is_told_fault_by_fault_with_2(tmp_path):
    (tmp_path / "events.csv").write_text("customer_id,item_id,value\n1,a,-1\n")
    (tmp_path / "shop.yaml").write_text("name: shop\ncurrency: EUR\ntables: {events: {path: events.csv}}\n")
    done = call("check", tmp_path / "shop.yaml")
    assert done.exit_code == 2
    assert "events" in done.output


def test_an_unknown_source_cannot_be_checked():
    assert call("check", "nowhere").exit_code == 2


def test_a_pair_is_traced_in_sentences_or_as_a_record(monkeypatch):
    from reclib.rules import trace

    tried = [{"kind": "boost", "sentence": "it were boosted 2 times", "is_verified": True}]
    answer = trace.Answer(1, "a", "value", "filtered", "Item a is filtered.", "Item a is filtered.", layers={"rules": [{"rule_id": "R"}]}, tried=tried)
    monkeypatch.setattr(trace, "why", lambda customer, item, **options: answer)
    assert call("why", 1, "a").output.splitlines() == [
        "Item a is filtered.", "  rules: rule_id R", "  tried, would show it: it were boosted 2 times",
    ]
    assert json.loads(call("why", 1, "a", "--json").output)["state"] == "filtered"


def test_a_run_without_decisions_cannot_be_traced(tmp_path):
    done = call("why", 1, "a", "--reports", tmp_path)
    assert done.exit_code == 2
    assert "Refused: " in done.output


def test_a_slot_of_the_default_run_is_traced_as_shown(default_run):
    slot = pd.read_parquet(default_run / "tables" / "decisions.parquet").query("policy == 'value' and position == 1").iloc[0]
    done = call("why", slot["customer_id"], slot["item_id"], "--reports", default_run.parent, "--run", default_run.name,
                "--policy", "value")
    assert done.exit_code == 0
    assert "candidates: " in done.output


def test_help_is_quick_because_nothing_heavy_is_imported():
    code = "import sys; from reclib import cli; print(sorted({'pandas', 'papermill', 'matplotlib'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, check=True)
    assert done.stdout.strip() == "[]"
