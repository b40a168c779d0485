"""Real data through the whole chain: each source runs what it can feed, and says why the rest was skipped."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from reclib.sources import catalog
from reclib.workflow import prepare, publish, runner

CHAIN = {"00_data", "01_signals", "02_candidates", "03_ranking", "04_rules", "05_delivery", "06_feedback",
         "07_experiments", "08_monitoring", "09_brief"}
SKIPPED = {
    "hillstrom": {"01_signals", "02_candidates", "03_ranking", "04_rules", "05_delivery", "06_feedback"},
    "open-bandit": {"01_signals", "02_candidates", "03_ranking", "04_rules", "05_delivery"},
    "movielens-100k": {"06_feedback", "07_experiments"},
    "complete-journey": {"06_feedback", "07_experiments"},
}


@pytest.mark.parametrize("source", SKIPPED)
def test_a_real_source_runs_what_it_can_feed(source: str, tmp_path: Path):
    told = catalog.describe(source)
    if not told["is_here"]:
        pytest.skip(f"{source} is not here: {', '.join(map(str, told['absent']))}")
    lines: list[str] = []
    plan = prepare.prepare(prepare.Request(source=source, reports=tmp_path, run_id="real", jobs=1))
    code = runner.run(plan, lines.append)
    record, verdict = (publish.read_json(tmp_path / "real" / name) for name in ("run.json", "verdict.json"))
    assert code == runner.PUBLISHED, "\n".join(lines)
    assert set(record["skipped"]) == SKIPPED[source]
    assert {each["name"] for each in record["notebooks"] if each["status"] == "done"} == CHAIN - SKIPPED[source]
    assert all(record["skipped"].values())
    assert verdict["verdict"] == ("SHIP" if source == "hillstrom" else "HOLD")


def test_a_file_of_ones_own_runs_as_a_built_in_source_does(tmp_path: Path):
    day = pd.date_range("2026-01-01", periods=40, freq="D").strftime("%Y-%m-%dT%H:%M:%S")
    rows = [(f"u{user}", f"p{(user * 7 + step * step) % 150}", day[step], 5 - step % 3) for user in range(60) for step in range(40)]
    events = pd.DataFrame(rows, columns=["userId", "movieId", "when", "stars"]).drop_duplicates(["userId", "movieId"])
    events.to_csv(tmp_path / "ratings.csv", index=False)
    (tmp_path / "shop.yaml").write_text(
        "name: my-shop\ncurrency: EUR\ntables:\n  events:\n    path: ratings.csv\n"
        "    columns: {customer_id: userId, item_id: movieId, occurred_at: when, value: stars}\n"
        "    constants: {event_type: rating}\n")
    lines: list[str] = []
    plan = prepare.prepare(prepare.Request(source=str(tmp_path / "shop.yaml"), reports=tmp_path / "r", run_id="own", jobs=1))
    code = runner.run(plan, lines.append)
    assert code == runner.PUBLISHED, "\n".join(lines)
    assert publish.read_json(tmp_path / "r" / "own" / "run.json")["skipped"].keys() >= {"06_feedback"}
