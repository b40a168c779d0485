"""What the data notebook says: counts by hand, and sentences that stay true for sources of every shape."""

from __future__ import annotations

import pandas as pd
import pytest

from reclib import plots
from reclib.sources import catalog, oddities, quality, realism

DAYS = ["2024-01-01", "2024-01-02", "2024-01-08", "2024-01-09", "2024-01-21"]
EVENTS = pd.DataFrame({
    "event_id": range(1, 6), "occurred_at": pd.to_datetime(DAYS, utc=True), "customer_id": ["a", "a", "a", "b", "b"],
    "item_id": [1, 2, 1, 1, 1], "event_type": "purchase", "value": [3.0, 4, 3, 2, 5], "discount": [0.0, 1, 0, 1, 0],
    "list_value": [3.0, 5, 3, 3, 5],
})
ITEMS = pd.DataFrame({"item_id": [1, 2], "category": ["tea", "pen"], "price": [3.0, 4.0]})
LOG = pd.DataFrame({"decision_id": [1, 2], "delivered_at": pd.to_datetime(DAYS[:2], utc=True), "item_id": [1, 1],
                    "position": 1, "policy": "random", "p_shown": 0.5})
UNITS = pd.DataFrame({"experiment_id": "e", "customer_id": [1, 2], "arm": ["x", "y"], "spend": [0.0, 1.0]})
SHAPES = {"shop": {"events": EVENTS, "items": ITEMS}, "bare": {"events": EVENTS.drop(columns=["discount", "list_value"])},
          "log": {"logged_deliveries": LOG, "items": ITEMS}, "trial": {"units": UNITS}}
FACTS = {"name": "shop", "assumptions": ["Times are UTC."], "lacks": {"stock": "No stock."}, "price_is_known": True}


def test_overview_counts_rows_customers_items_and_days():
    row = quality.overview(SHAPES["shop"]).set_index("table").loc["events"]
    assert (row["n_rows"], row["n_customers"], row["n_items"]) == (5, 2, 2)
    assert (row["first_day"], row["last_day"]) == ("2024-01-01", "2024-01-21")


def test_weeks_start_on_monday_and_part_weeks_are_marked():
    counts = quality.weekly({"events": EVENTS.iloc[:4]})
    assert counts["week"].astype("str").tolist() == ["2024-01-01", "2024-01-08"]
    assert counts["n"].tolist() == [2, 2]
    assert counts["is_whole"].tolist() == [True, False]


def test_popularity_adds_up_to_one():
    popular = quality.popularity(SHAPES["shop"])
    assert popular["item_id"].tolist() == [1, 2]
    assert popular["cumulative_share"].tolist() == pytest.approx([4 / 5, 1])


def test_a_pair_is_again_only_after_an_earlier_day():
    by_week = quality.repeats(SHAPES["shop"])
    assert by_week["n_pairs"].tolist() == [2, 2, 1]
    assert by_week["n_again"].tolist() == [0, 1, 1]
    assert by_week["new_customer_share"].tolist() == pytest.approx([1 / 2, 1 / 2, 0])


def test_discounts_are_shares_of_lines_and_of_list_value():
    found = quality.discounts(SHAPES["shop"]).set_index("category")
    assert found.loc["all", "discounted_share"] == pytest.approx(2 / 5)
    assert found.loc["all", "discount_share"] == pytest.approx(2 / 19)
    assert found.loc["pen", "discount_share"] == pytest.approx(1 / 5)


def test_discounts_are_measured_against_the_catalogue_where_lines_lack_them():
    lines = EVENTS[["event_id", "occurred_at", "customer_id", "item_id", "event_type", "value"]].assign(quantity=1)
    found = quality.discounts({"events": lines, "items": ITEMS.assign(list_price=[4.0, 4.0])})
    assert found.loc[0, "discounted_share"] == pytest.approx(3 / 5)
    assert found.loc[0, "discount_share"] == pytest.approx((1 + 0 + 1 + 2 + 0) / 20)


def test_gaps_come_with_the_meaning_of_their_column():
    gaps = quality.missing({"items": ITEMS.assign(price=[None, 4.0])})
    assert gaps[["table", "column", "n_missing", "share"]].to_numpy().tolist() == [["items", "price", 1, 0.5]]
    assert quality.missing_sentence(gaps) == "items.price is missing in 50.0 % of its rows."


def test_contracts_name_the_table_that_breaks():
    checked = quality.contracts({"items": ITEMS.assign(price=-1.0), "units": UNITS})
    assert checked["verdict"].tolist() == ["fail", "pass"]
    assert quality.contracts_sentence(checked) == "items breaks the contract, with 1 fault in all."


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_of_source_gets_sentences_and_figures(shape):
    tables = SHAPES[shape]
    counts, popular, by_week = quality.weekly(tables), quality.popularity(tables), quality.repeats(tables)
    said = [quality.overview_sentence(tables, FACTS), quality.weekly_sentence(counts), quality.verdict_sentence(tables, FACTS),
            quality.popularity_sentence(popular, tables), quality.repeats_sentence(by_week, tables),
            quality.discounts_sentence(quality.discounts(tables), tables), quality.missing_sentence(quality.missing(tables)),
            quality.contracts_sentence(quality.contracts(tables)), oddities.worth_sentence(oddities.worth(tables), FACTS),
            oddities.oddities_sentence(oddities.oddities(tables))]
    assert all(sentence.endswith(".") and "nan" not in sentence and "\n" not in sentence for sentence in said)
    for figure in (plots.weekly(counts), plots.long_tail(popular), plots.new_and_again(by_week)):
        assert len(figure.axes) >= 1
        plots.plt.close(figure)


def test_odd_patterns_are_counted():
    events = pd.concat([EVENTS, EVENTS.iloc[[0]].assign(event_id=6, value=0.0), EVENTS.iloc[[1]].assign(event_id=7, item_id=3, value=900.0)])
    found = oddities.oddities({"events": events, "items": ITEMS}).set_index("check")["n_rows"]
    assert found["same event twice"] == 1
    assert found["item is not in items"] == 1
    assert found["purchase of value 0"] == 1
    assert found["purchase over 100 times the median"] == 1
    assert found["at midnight to the second"] == 7
    assert "customer is not in customers" not in found


def test_worth_is_over_events_that_carry_a_value():
    found = oddities.worth({"events": EVENTS.assign(value=[0.0, 4, 0, 2, 6])}).iloc[0]
    assert (found["n"], found["valued_share"], found["mean"], found["median"], found["total"]) == (5, 3 / 5, 4, 4, 12)


def test_assumptions_and_what_is_lacking_are_listed():
    assert quality.assumptions(FACTS)["about"].tolist() == ["assumed", "no stock"]


def test_only_a_simulation_with_twelve_weeks_is_held_against_real_data():
    recorded = FACTS | {"kind": "retail"}
    assert realism.sentence(realism.compare(SHAPES["shop"], recorded), recorded).startswith("This data was recorded")
    loaded = catalog.load("storefront", n_customers=150, n_items=60, n_days=84)
    assert " facts of the shop are as near" in realism.sentence(realism.compare(loaded.tables, loaded.facts), loaded.facts)
    short = catalog.load("storefront", n_customers=60, n_items=40, n_days=14)
    assert "too short" in realism.sentence(realism.compare(short.tables, short.facts), short.facts)
