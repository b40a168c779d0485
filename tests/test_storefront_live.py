"""The shop lived day by day is the shop lived at once."""

import numpy as np
import pandas as pd
import pytest

from reclib import schema
from reclib.sources.storefront import live, tables

FIRST = pd.Timestamp("2026-01-19", tz="UTC")
SIZES = {"n_customers": 400, "n_items": 80, "n_days": 14}


@pytest.fixture(scope="module")
def params() -> dict:
    return tables.load(**SIZES)[1]["params"]


@pytest.fixture(scope="module")
def deliveries() -> pd.DataFrame:
    number = np.arange(400 * 4)
    return pd.DataFrame({
        "decision_id": [f"d{n}" for n in number], "customer_id": number // 4 + 1, "position": number % 4 + 1,
        "item_id": [f"i{n % 4 + 1:04d}" for n in number],
    })


def test_day_by_day_equals_all_at_once(params, deliveries):
    shop = live.Shop(params)
    for _ in range(5):
        shop.next_day(deliveries)
    at_once = tables.answer(deliveries, params=params, n_days=5)
    told = shop.totals(n_days=5).drop(columns=["attributed"])
    pd.testing.assert_frame_equal(told, at_once["customers_after"][told.columns])
    events = shop.tables()["events"][lambda rows: rows["occurred_at"] >= FIRST]
    counted = events["event_type"].value_counts().sort_index()
    pd.testing.assert_series_equal(counted, at_once["events"]["event_type"].value_counts().sort_index())


def test_tables_meet_the_contracts_every_evening(params, deliveries):
    shop = live.Shop(params)
    shop.next_day("popular")
    shop.next_day(deliveries)
    for name, frame in shop.tables().items():
        schema.require(frame, schema.TABLES[name])
    assert shop.as_of == pd.Timestamp("2026-01-20", tz="UTC")
    assert shop.tables()["events"]["occurred_at"].max().normalize() == shop.as_of


def test_answers_name_tonights_slots(params, deliveries):
    shop = live.Shop(params)
    shop.next_day(deliveries)
    events = shop.tables()["events"].query("event_type == 'impression'")
    events = events[events["occurred_at"] >= FIRST]
    assert len(events) and events["decision_id"].isin(deliveries["decision_id"]).all()


def test_history_keeps_its_own_slots(params):
    found = live.Shop(params).tables()
    answered = found["events"].dropna(subset="decision_id")
    told = answered.merge(found["logged_deliveries"], on="decision_id", validate="many_to_one")
    assert len(told) == len(answered) > 0
    assert (told["item_id_x"] == told["item_id_y"]).all()
