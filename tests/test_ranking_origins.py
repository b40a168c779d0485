import numpy as np
import pandas as pd
import pytest

from reclib.ranking import origins


def make_ratings(n_customers: int = 60, n_items: int = 25, seed: int = 3) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    n = n_customers * 18
    pairs = pd.DataFrame({"customer_id": rng.integers(1, n_customers + 1, n), "item_id": rng.integers(1, n_items + 1, n)})
    pairs = pairs.drop_duplicates(ignore_index=True)
    kind = (pairs["customer_id"] % 2 == pairs["item_id"] % 2).to_numpy()
    return pairs.assign(
        event_id=np.arange(1, len(pairs) + 1), occurred_at=pd.Timestamp("2024-01-01", tz="UTC") + pd.to_timedelta(np.arange(len(pairs)), "h"),
        event_type="rating", value=np.where(kind, 5.0, 2.0))


def test_rolling_rounds_see_nothing_of_what_is_to_be_found():
    events = make_ratings()
    rounds = origins.rolling(events, first=0.5, step=0.25)
    assert [len(one.events) for one in rounds] == [int(len(events) * 0.5), int(len(events) * 0.75)]
    for one in rounds:
        found = one.relevant.merge(events, on=["customer_id", "item_id"], validate="one_to_one")
        assert one.events["occurred_at"].max() == one.as_of < found["occurred_at"].min()
        assert (found["value"] >= 4).all()


def test_the_last_items_are_hidden_and_earlier_rounds_hide_more():
    events = make_ratings()
    earlier, last = origins.leave_last(events, n=2, n_rounds=2)
    size = events.groupby("customer_id").size()
    assert len(events) - len(last.events) == size.clip(upper=2).sum()
    assert len(events) - len(earlier.events) == size.clip(upper=4).sum()
    assert not earlier.relevant.merge(last.relevant).size


def test_pooled_intervals_draw_customers_and_lead_is_over_the_best_source():
    found = pd.DataFrame([(origin, customer, stage, value) for origin in (0, 1) for customer in (1, 2, 3)
                          for stage, value in (("ease", 0.2), ("popular_lately", 0.1), ("boosted", 0.1 * customer))],
                         columns=["origin", "customer_id", "stage", "value"])
    table = origins.pooled(found).set_index("stage")
    assert table.loc["boosted", ["value", "n_lists", "n_customers"]].tolist() == pytest.approx([0.2, 6, 3])
    assert table.loc["popular_lately", ["ahead", "ahead_low", "ahead_high"]].tolist() == pytest.approx([-0.1] * 3)
    assert "boosted and ease cannot be told apart" in origins.sentence(origins.pooled(found))


def test_the_ranker_first_at_some_cuts_is_told_of_at_others():
    columns = ["stage", "value", "low", "high", "n_lists", "n_customers", "ahead", "ahead_low", "ahead_high"]
    rows = [("additive", 0.3, 0.2, 0.4, 6, 3, 0.1, 0.05, 0.15), ("ease", 0.2, 0.1, 0.3, 6, 3, 0.0, 0.0, 0.0),
            ("boosted", 0.1, 0.0, 0.2, 6, 3, -0.1, -0.2, 0.02)]
    chosen = pd.DataFrame([rows[2], rows[1], rows[0]], columns=columns)
    said = origins.elsewhere_sentence(chosen, pd.DataFrame(rows, columns=columns))
    assert said.startswith("boosted, the ranker to choose by the cuts above, reaches NDCG@10 0.100 [0.000, 0.200]")
    assert "over 6 lists of 3 customers; " in said
    assert said.endswith("boosted and ease cannot be told apart: difference in NDCG@10 -0.1000 [-0.2000, +0.0200] spans zero.")


def test_rounds_are_described_labelled_and_judged():
    events = make_ratings()
    items = pd.DataFrame({"item_id": np.arange(1, 26)})
    rounds = origins.rolling(events, first=0.4, step=0.2)
    every = [one.customers.merge(items[["item_id"]], how="cross").merge(
        one.events[["customer_id", "item_id"]].assign(seen=True), how="left") for one in rounds]
    candidates = [pairs[pairs["seen"].isna()].drop(columns="seen").assign(
        source="all", source_rank=lambda table: table.groupby("customer_id").cumcount() + 1, source_score=1.0,
        is_known_customer=True, is_known_item=True) for pairs in every]
    frames = [origins.describe(*both) for both in zip(rounds, [items] * 3, candidates)]
    assert sum(frame["label"].sum() for frame in frames) > 100
    lists = [{"all": pairs.rename(columns={"source_rank": "rank"})} for pairs in candidates]
    found = origins.judge(rounds, lists, frames, n_windows=2)
    assert set(found["stage"]) == {"all", "additive", "boosted"} and set(found["origin"]) == {2}
    assert found["value"].between(0, 1).all() and found["customer_id"].isin(rounds[2].warm).all()


@pytest.mark.parametrize("first, step", [(0.0, 0.1), (0.95, 0.2)])
def test_origins_outside_the_history_are_refused(first, step):
    with pytest.raises(ValueError, match=r"first == .* must be in \(0, 1\)"):
        origins.rolling(make_ratings(), first=first, step=step)


def test_too_few_windows_to_learn_from_are_refused():
    with pytest.raises(ValueError, match="0 rounds, must be more than n_windows == 3"):
        origins.judge([], [], [])
