import pandas as pd

from reclib import schema
from reclib.ranking.rehearse import rehearse, withdrawn

AT = pd.Timestamp("2026-01-12T23:59:59", tz="UTC").as_unit("us")


def shown(days):
    """Ten impressions of each item on each of its days of January 2026."""
    rows = [(pd.Timestamp(2026, 1, day, 12, tz="UTC"), item) for item, own in days.items() for day in own for _ in range(10)]
    return pd.DataFrame(rows, columns=["occurred_at", "item_id"]).assign(event_type="impression")


def test_what_nobody_was_shown_on_the_last_day_was_not_on_offer():
    events = shown({"a": [10, 11, 12], "b": [10, 11], "c": [12]})
    assert withdrawn(events, at=AT).tolist() == ["b"]
    rare = events.drop(events.index[events["item_id"] == "b"][2:])
    assert withdrawn(rare, at=AT).empty


def test_what_comes_later_is_not_read():
    events = shown({"a": [10, 11, 12], "b": [10, 11, 13]})
    assert withdrawn(events, at=AT).tolist() == ["b"]


def test_a_rehearsal_has_the_first_candidates_that_were_on_offer():
    ranked = pd.DataFrame({"policy": "value", "customer_id": [1] * 5, "item_id": list("abcde"), "rank": [3, 1, 2, 4, 5]})
    candidates = pd.DataFrame({"customer_id": [1] * 5, "item_id": list("aabcd"), "source": list("xyxxx")})
    table = rehearse(ranked, candidates, shown({"a": [11, 12], "b": [11], "c": [12]}), k=2, decided_at=AT)
    schema.require(table, schema.TABLES["rehearsals"])
    assert table[["item_id", "position"]].to_dict("records") == [{"item_id": "c", "position": 1}, {"item_id": "a", "position": 2}]
