"""The closed loop: nights go on, answers are learnt from, and a night that does not publish leaves the last good slates."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner, Result
from conftest import write_notebook

from reclib import cli, store
from reclib.sources.storefront import lived
from reclib.workflow import loop, runner
from reclib.workflow.plan import PlanError

SMALL = ("n_customers=300", "n_items=60", "n_days=28")
NIGHTS = ["2026-02-01", "2026-02-02", "2026-02-03"]
PARAMETERS = """run: str = "latest"  # run
k: int = 4  # slots
history_days: int = 21  # days of events
fails_at: str = ""  # night that fails
refused_at: str = ""  # night that is refused"""
NIGHT = """
import pandas as pd
from reclib import report, schema, store
from reclib.experiments import ledger, nightly
from reclib.sources.storefront import lived

as_of = schema.end_of_day(store.read_facts("source", run=run)["as_of"])
date = f"{as_of:%Y-%m-%d}"
events, customers = store.read("events", run=run), store.read("customers", run=run)
store.write_facts("night", {"as_of": date, "n_events": len(events), **lived.own_answers(events)})
assert date != fails_at, "this night breaks"
best = events[events["event_type"] == "purchase"]["item_id"].value_counts().rename_axis("item_id").reset_index()
best = best.sort_values(["count", "item_id"], ascending=[False, True]).head(k)[["item_id"]].assign(position=range(1, k + 1))
slots = customers[["customer_id"]].merge(best, how="cross").assign(
    delivered_at=as_of, policy="value", channel="home", p_shown=1.0, p_before_rules=1.0, n_eligible=k, source="popular",
    is_fallback=False, run_id=store.run_id())
slots["decision_id"] = date + "-" + slots["customer_id"].astype("str") + "-" + slots["position"].astype("str")
status = "fail" if date == refused_at else "pass"
checks = {"check_id": "mood", "layer": "rules", "status": status, "observed": "bad", "allowed": "good", "detail": "Bad mood."}
store.write("checks", pd.DataFrame([checks]))
store.write("deliveries", slots)
before = nightly.score(store.read_if_there("forecasts", run=run), lived.own(events))
store.write("forecasts", ledger.together(before, nightly.foretell(slots, events, as_of=as_of)))
report.takeaway(f"{len(slots)} slots.")
"""


@pytest.fixture(scope="module")
def notebooks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The notebooks of a loop, with a night that shows best sellers and breaks or is refused where it is told to."""
    folder = tmp_path_factory.mktemp("loop") / "notebooks"
    write_notebook(folder / "loop" / "night.ipynb", "Reads `events`, `customers`, [`forecasts`] · Writes `deliveries`, `checks`, `forecasts`", PARAMETERS, NIGHT)
    for name in ("00_data", "loop/loop"):
        shutil.copy(store.project() / "notebooks" / f"{name}.ipynb", folder / f"{name}.ipynb")
    return folder


def live(notebooks: Path, reports: Path, *more: str) -> tuple[int, Path, list[str]]:
    """Live three nights; returns the exit code, the folder of the loop, and what was said."""
    said: list[str] = []
    plan = loop.prepare(loop.Request(3, (*SMALL, *more), "it", reports, notebooks))
    return loop.run(plan, said.append), plan.folder, said


@pytest.fixture(scope="module")
def good(notebooks: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[int, Path, list[str]]:
    return live(notebooks, tmp_path_factory.mktemp("good"))


@pytest.fixture(scope="module")
def bad(notebooks: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[int, Path, list[str]]:
    return live(notebooks, tmp_path_factory.mktemp("bad"), f"fails_at={NIGHTS[1]}", f"refused_at={NIGHTS[2]}")


def told(folder: Path) -> dict:
    return json.loads((folder / "loop.json").read_text())


def slates(folder: Path, night: str) -> pd.DataFrame:
    return pd.read_parquet(folder / "nights" / night / "tables" / "deliveries.parquet")


def test_each_night_decides_for_the_next_date_and_publishes(good):
    code, folder, said = good
    nights = pd.DataFrame(told(folder)["nights"])
    assert code == runner.PUBLISHED
    assert nights["date"].tolist() == nights["as_of"].tolist() == nights["slates_of"].tolist() == NIGHTS
    assert (folder / "nights" / "latest").resolve().name == NIGHTS[-1]
    assert [line.split(" in ")[0] for line in said[:3]] == [f"{night}: published" for night in NIGHTS]


def test_the_answers_of_a_day_are_in_the_history_of_the_next_night(good):
    nights = told(good[1])["nights"]
    assert nights[0]["n_answers"] == 0
    assert 0 < nights[1]["n_answers"] < nights[2]["n_answers"]


def test_a_night_reads_a_window_that_moves_and_does_not_grow(notebooks, tmp_path):
    shop = lived.Worlds({"n_customers": 300, "n_items": 60, "n_days": 28}).shop
    shop.next_day("popular")
    events = shop.evening(n_days=21)["events"]
    assert (events["occurred_at"].min().day, events["occurred_at"].max().day) == (13, 2)
    assert shop.tables()["events"]["occurred_at"].min().day == 5


def test_the_page_and_the_index_are_there_and_name_the_worlds(good):
    page = (good[1] / "loop.html").read_text()
    assert all(world in page for world in lived.ABOUT)
    assert "All 3 nights published" in page
    assert (good[1] / "index.html").exists() and (good[1] / "nights" / NIGHTS[0] / "night.html").exists()


def forecasts(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder / "tables" / "forecasts.parquet").sort_values("made_at")


def test_each_night_foretells_its_day_and_scores_the_one_before(good):
    written = [pd.read_parquet(good[1] / "nights" / night / "tables" / "forecasts.parquet").sort_values("made_at") for night in NIGHTS]
    assert [table["made_at"].dt.date.astype("str").unique().tolist() for table in written] == [NIGHTS[:n] for n in (1, 2, 3)]
    assert [table["observed"].notna().sum() for table in written] == [0, 2, 4]
    ahead = written[2].iloc[:4].merge(written[0], on="forecast_id", how="inner", suffixes=("", "_first"))
    assert len(ahead) == 2 and (ahead["forecast"] == ahead["forecast_first"]).all() and ahead["observed"].notna().all()
    assert "of 6 forecasts of the next day's answers met what came" in (good[1] / "loop.html").read_text().replace("&#x27;", "'")


def test_what_came_is_what_the_shop_counted(good):
    day = pd.DataFrame(told(good[1])["days"]).query("world == 'loop' and day == 1")["clicks"].iloc[0] * 300
    row = pd.read_parquet(good[1] / "nights" / NIGHTS[2] / "tables" / "forecasts.parquet").sort_values("made_at").query("metric.str.startswith('click')").iloc[0]
    assert row["observed"] * round(day / row["observed"]) == pytest.approx(day, abs=0.01)


def test_forecasts_of_nights_that_did_not_publish_are_not_scored(bad):
    table = forecasts(bad[1])
    assert table["made_at"].dt.date.astype("str").unique().tolist() == NIGHTS[:1]
    assert "of 2 forecasts of the next day's answers met what came" in (bad[1] / "loop.html").read_text().replace("&#x27;", "'")


def test_a_night_that_breaks_or_is_refused_leaves_the_last_good_slates(bad):
    code, folder, said = bad
    nights = told(folder)["nights"]
    assert code == runner.FAILED
    assert [night["status"] for night in nights] == ["published", "failed", "refused"]
    assert [night["slates_of"] for night in nights] == [NIGHTS[0]] * 3
    assert f"{NIGHTS[1]}: failed. Cell 3: AssertionError: this night breaks" in said
    assert f"{NIGHTS[2]}: refused. Check mood failed: Bad mood." in said
    assert "2 of 3 nights did not publish" in (folder / "loop.html").read_text()


def test_kept_slates_are_shown_on_and_cost_what_frozen_ones_do(bad):
    days = pd.DataFrame(told(bad[1])["days"]).drop(columns=["day"])
    by = {world: rows.drop(columns="world").reset_index(drop=True) for world, rows in days.groupby("world")}
    pd.testing.assert_frame_equal(by[lived.LOOP], by[lived.FROZEN])


def test_the_same_loop_twice_is_the_same(good, bad):
    first = [[row for row in told(folder)["days"] if row["day"] == 1] for _, folder, _ in (good, bad)]
    assert first[0] == first[1]
    pd.testing.assert_frame_equal(slates(good[1], NIGHTS[0]), slates(bad[1], NIGHTS[0]))


def test_the_luck_of_the_other_worlds_does_not_depend_on_the_loop(good, bad):
    apart = [[row for row in told(folder)["days"] if row["world"] in lived.OF_THE_SHOP] for _, folder, _ in (good, bad)]
    assert apart[0] == apart[1] and len(apart[0]) == 6


def test_before_any_night_published_nothing_is_shown():
    worlds = lived.Worlds({"n_customers": 300, "n_items": 60, "n_days": 14})
    rows = {row["world"]: row for row in worlds.next_day(None)}
    assert rows[lived.LOOP]["n_slots"] == rows[lived.LOOP]["clicks"] == 0
    assert rows[lived.POPULAR]["clicks"] > 0


def test_slots_without_stock_or_withdrawn_are_counted():
    worlds = lived.Worlds({"n_customers": 300, "n_items": 60, "n_days": 14})
    worlds.shop._state.stock[:] = 0
    worlds.shop._world.items.retire_day[0] = 0
    slots = pd.DataFrame({"decision_id": [f"x{n}" for n in range(600)], "customer_id": [n // 2 + 1 for n in range(600)],
                          "position": [n % 2 + 1 for n in range(600)], "item_id": ["i0001", "i0002"] * 300})
    row = worlds.next_day(slots)[0]
    refilled = worlds.shop._world.items.refill_weekday[1] == 14 % 7
    assert row["n_slots"] == 2 * row["n_withdrawn"] > 0
    assert row["n_out_of_stock"] == (0 if refilled else row["n_withdrawn"])


def rows() -> pd.DataFrame:
    worth = {"loop": [3.0, 5.0], "frozen": [3.0, 3.0], "popular": [2.0, 2.0], "oracle": [6.0, 6.0]}
    return pd.DataFrame([{"day": day, "world": world, "contribution": values[day - 1], "revenue": 10.0, "clicks": 0.1,
                          "opted_out": 0.001, "n_slots": 100, "n_out_of_stock": 4 if world == "frozen" else 0, "n_withdrawn": 1}
                         for world, values in worth.items() for day in (1, 2)])


def test_worlds_are_added_up_and_put_into_words():
    table = lived.means(rows())
    assert table["world"].tolist() == ["oracle", "loop", "frozen", "popular"]
    assert table["beyond_popular"].tolist() == pytest.approx([6 / 2 - 1, 4 / 2 - 1, 3 / 2 - 1, 0])
    said = lived.value_sentence(table, currency="EUR", n_days=2)
    assert "100.0 % above popularity, 33.3 % above its own first slates kept, and 33.3 % below the oracle" in said
    assert said.endswith("which is 50 % of the way from popularity to it.")
    assert lived.gained(rows()).query("world == 'loop'")["gained"].tolist() == [1.0, 1.0 + 3.0]


def test_the_lead_over_the_frozen_slates_leaves_the_first_day_out():
    assert lived.trend_sentence(rows()) == "These are too few days to say whether deciding anew pays."
    third = rows().query("day == 2").assign(day=3, contribution=lambda table: table["contribution"] + (table["world"] == "loop"))
    assert "by +2.000 a customer and day in the first half of the days and by +3.000" in lived.trend_sentence(pd.concat([rows(), third]))


def test_stale_slots_are_put_into_words():
    table = lived.stale(rows())
    assert table["stale_share"].tolist() == pytest.approx([2 / 200, 10 / 200])
    assert lived.stale_sentence(table).startswith("In the loop 2 of 200 slots (1.00 %)")


@pytest.mark.parametrize(("more", "why"), [
    (("source=x.csv",), "a loop lives the storefront"), (("sede=1",), "unknown parameter 'sede'"),
    (("n_customers=-1",), "n_customers == -1"), (("k=many",), "parameter k == 'many', must be int"),
])
def test_what_does_not_fit_is_refused(tmp_path, more, why):
    with pytest.raises(ValueError, match=why):
        loop.prepare(loop.Request(2, more, reports=tmp_path))


def test_a_taken_name_and_no_days_are_refused(tmp_path):
    (tmp_path / "it").mkdir()
    with pytest.raises(PlanError, match="run 'it' is already in"):
        loop.prepare(loop.Request(2, run_id="it", reports=tmp_path))
    with pytest.raises(PlanError, match="days == 0, must be at least 1"):
        loop.prepare(loop.Request(0, reports=tmp_path))


def call(*words: object) -> Result:
    return CliRunner().invoke(cli.main, [str(word) for word in words])


def test_the_command_refuses_with_2_before_any_cell_ran(tmp_path):
    done = call("loop", "--days", 1, "--reports", tmp_path / "reports", "-p", "sede=1")
    assert done.exit_code == 2 and "unknown parameter 'sede'" in done.output
    assert not (tmp_path / "reports").exists()


def test_the_chain_itself_goes_round(tmp_path):
    done = call("loop", "--days", 2, "--reports", tmp_path, "--run-id", "real", *[word for name in SMALL for word in ("-p", name)])
    assert done.exit_code == 0, done.output
    assert f"Lived: {tmp_path / 'real' / 'loop.html'}" in done.output
    found = told(tmp_path / "real")["nights"]
    assert found[0]["n_answers"] == 0 < found[1]["n_answers"]
    assert slates(tmp_path / "real", NIGHTS[1])["run_id"].unique().tolist() == [NIGHTS[1]]
    record = json.loads((tmp_path / "real" / "run.json").read_text())
    assert record["status"] == "published" and len(record["notebooks"]) == 3
