"""What lists are like beside being right."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from reclib.ranking import character

HISTORY = pd.DataFrame({"customer_id": [1, 1, 2, 2], "item_id": ["a", "b", "a", "c"],
                        "event_type": ["purchase", "purchase", "purchase", "impression"]})
ITEMS = pd.DataFrame({"item_id": ["a", "b", "c"], "category": ["x", "x", "y"]})
LISTS = {"ranked": pd.DataFrame({"customer_id": [1, 1, 2, 2], "item_id": ["a", "b", "a", "c"], "rank": [1, 2, 1, 2]})}


def test_an_item_that_was_only_seen_is_not_repetition():
    found = character.of_stages(LISTS, HISTORY, ITEMS, k=2).set_index("metric")["value"]
    assert found["repetition"] == pytest.approx((1 + 0.5) / 2)
    assert found["diversity"] == pytest.approx((0 + 1) / 2)


def test_novelty_counts_the_customers_who_had_the_item():
    found = character.of_stages(LISTS, HISTORY, ITEMS, k=2).set_index("metric")["value"]
    had = {"a": 2, "b": 1, "c": 0}  # of two customers; what was only seen was not had
    bits = {item: -np.log2((count + 1) / 3) for item, count in had.items()}
    assert found["novelty"] == pytest.approx(((bits["a"] + bits["b"]) / 2 + (bits["a"] + bits["c"]) / 2) / 2)


def test_without_categories_variety_is_not_measured():
    found = character.of_stages(LISTS, HISTORY, ITEMS[["item_id"]], k=2)
    assert character.wide(found).columns.tolist() == ["stage", "novelty", "repetition"]
    assert character.sentence(found, k=2).endswith("variety is not measured, for want of categories or of lists of two.")


def test_places_that_no_source_filled_that_knows_the_customer_are_the_fallbacks():
    own = pd.DataFrame({"customer_id": [1, 1, 2], "item_id": ["a", "b", "a"]})
    found = character.of_stages(LISTS, HISTORY, ITEMS, k=2, own=own)
    assert found.set_index("metric")["value"]["fallback"] == pytest.approx((0 + 0.5) / 2)
    assert "and 25.0 % [0.0, 50.0] come from the fallback alone" in character.sentence(found, k=2)
    assert character.wide(found)["fallback"].tolist() == pytest.approx([25.0])


def test_lists_of_nobody_are_not_described():
    assert character.sentence(character.of_stages({}, HISTORY, ITEMS, k=2), k=2) == (
        "The ranker listed nothing that could be described.")


def test_one_customer_has_no_interval():
    one = {"ranked": LISTS["ranked"].head(2)}
    assert character.sentence(character.of_stages(one, HISTORY, ITEMS, k=2), k=2) == (
        "Of the first 2 that the ranker lists, 100.0 % (one customer, no interval) are items the customer had before; "
        "0.0 % (one customer, no interval) of their pairs differ in category.")


def test_lists_of_one_item_have_no_variety():
    said = character.sentence(character.of_stages(LISTS, HISTORY, ITEMS, k=1), k=1)
    assert "nan" not in said and said.endswith("for want of categories or of lists of two.")
