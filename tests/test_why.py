"""The trace of a pair, on tables small enough to read."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

from reclib import cli
from reclib.workflow.plan import PlanError
from reclib.workflow.why import why

RULE = {"rule_id": "NO_CONSENT", "reason": "Without consent nothing personal", "owner": "privacy"}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Customer 1 is ranked a, b, c: a is shown, b is filtered, c falls below the cut; d was never offered."""
    pairs = pd.DataFrame({"policy": "value", "customer_id": 1, "item_id": ["a", "b", "c"], "rank": [1, 2, 3]})
    tables = {
        "items": pd.DataFrame({"item_id": ["a", "b", "c", "d"], "title": ["Tea", "Milk", "Jam", "Bread"]}),
        "candidates": pairs[["customer_id", "item_id"]].assign(source="popular", source_rank=[1, 2, 3]),
        "ranked": pairs.assign(p_response=0.1, value=2.0, priority=[0.5, 0.4, 0.25]),
        "rules": pd.DataFrame([RULE]),
        "rule_outcomes": pairs.query("item_id == 'b'").drop(columns="rank").assign(
            rule_id="NO_CONSENT", outcome="filtered", detail="has_consent = False"),
        "decisions": pairs.assign(is_allowed=[True, False, True], rule_id=[None, "NO_CONSENT", None],
                                  position=pd.array([1, None, None], dtype="Int64"),
                                  state=["shown", "filtered", "below_cut"]),
        "deliveries": pd.DataFrame([{"customer_id": 1, "item_id": "a", "policy": "value", "position": 1, "p_shown": 0.9}]),
    }
    (tmp_path / "latest" / "tables").mkdir(parents=True)
    for name, table in tables.items():
        table.to_parquet(tmp_path / "latest" / "tables" / f"{name}.parquet")
    monkeypatch.setenv("RECLIB_REPORTS", str(tmp_path))
    return tmp_path


def test_a_shown_pair_is_told_with_its_position_and_probability(run):
    found = why("1", "a")
    assert found["was_shown"]
    assert found["steps"]["delivery"] == "Published at position 1, with probability 0.9000."
    assert found["change"] == ""


@pytest.mark.parametrize(("item", "step", "told", "change"), [
    ("b", "rules", "filtered by NO_CONSENT (has_consent = False): Without consent nothing personal.",
     "NO_CONSENT would have to allow it (owner: privacy); after that it would compete by priority."),
    ("c", "decision", "Allowed, but without a slot: below cut.",
     "Its priority would have to rise from 0.25 to above 0.5, that of the last item shown."),
    ("d", "candidates", "No source offered it to this customer.",
     "A source would have to offer it; popular offered this customer 3 items."),
    ("z", "catalogue", "Item z is not in the catalogue.", "The item would have to be in the catalogue."),
])
def test_a_pair_that_was_not_shown_is_told_with_what_stood_in_the_way(run, item, step, told, change):
    found = why("1", item)
    assert not found["was_shown"]
    assert found["steps"][step] == told
    assert found["change"] == change


def test_a_stranger_was_offered_nothing(run):
    assert why("anna", "a")["steps"]["delivery"] == "Nothing was published to this customer."


def test_a_run_without_decisions_is_refused(run):
    with pytest.raises(PlanError, match="run 'other' has no decisions"):
        why("1", "a", run="other")


def test_the_command_prints_sentences_or_a_record(run):
    told = CliRunner().invoke(cli.main, ["why", "1", "c"])
    record = CliRunner().invoke(cli.main, ["why", "1", "c", "--json"])
    assert told.output.splitlines()[0] == "Customer 1, item c, run latest: not shown."
    assert '"was_shown": false' in record.output
