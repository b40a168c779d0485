"""A launch after its experiment: nobody's memory is lost, and nothing but the stock bends what the holdout sees."""

import pandas as pd
import pytest

from reclib.sources.storefront import config, holdout

PARAMS = config.as_params(config.build(n_customers=300, n_items=60, n_days=14, k=2))
AT = pd.Timestamp("2026-01-19", tz="UTC")


def assigned(control_until: int, name: str) -> pd.DataFrame:
    ids = pd.Series(range(1, 301))
    return pd.DataFrame({"experiment_id": name, "customer_id": ids, "arm": ids.le(control_until).map({True: "a", False: "b"}), "assigned_at": AT})


def decisions() -> pd.DataFrame:
    """Policy a shows everybody items 1 and 2, policy b items 3 and 4; item 5 is ranked but not shown."""
    rows = [("a", 1, 1), ("a", 2, 2), ("a", 5, pd.NA), ("b", 3, 1), ("b", 4, 2)]
    return pd.DataFrame([(policy, customer, f"i{item:04d}", position) for customer in range(1, 301) for policy, item, position in rows],
                        columns=["policy", "customer_id", "item_id", "position"]).astype({"position": "Int64"})


def lived(*, is_split: bool, **changes: object) -> holdout.Launch:
    """An experiment of halves for a week, then a launch that holds sixty customers out for another."""
    arms = assigned(150, "test")
    shown = decisions().dropna().merge(arms[["customer_id", "arm"]], left_on=["customer_id", "policy"], right_on=["customer_id", "arm"])
    deliveries = shown.assign(decision_id=[f"x{n}" for n in range(len(shown))])
    source = {"params": PARAMS | changes, "answers": True, "is_split": is_split}
    return holdout.live(decisions(), assigned(60, "launch"), deliveries, arms, source, experiment_days=7, n_days=7)


@pytest.fixture(scope="module")
def calm() -> holdout.Launch:
    return lived(is_split=True, stock_on=False)


def test_without_stock_everybody_has_the_outcome_of_their_own_policy(calm):
    launched, arm = calm.worlds[holdout.LAUNCHED], assigned(60, "launch")["arm"]
    for policy in "ab":
        pd.testing.assert_frame_equal(launched[arm == policy], calm.worlds[policy][arm == policy], check_exact=True)
    bent = holdout.bend(calm, assigned(60, "launch"), pd.Series(["contribution"]), control="a")
    assert bent[["launched", "held_out", "bend"]].to_numpy().tolist() == [[0.0, 0.0, 0.0]]
    assert not calm.worlds["a"].equals(calm.worlds["b"])


def test_arms_that_were_lived_apart_come_together_as_they_were(calm):
    together = lived(is_split=False, stock_on=False)
    for name, outcomes in calm.worlds.items():
        pd.testing.assert_frame_equal(outcomes, together.worlds[name], check_exact=True)


def test_the_launch_begins_when_the_experiment_ends_and_its_answers_name_its_slots(calm):
    assert calm.slots["policy"].value_counts().to_dict() == {"a": 2 * 60, "b": 2 * 240}
    since = calm.events[calm.events["decision_id"].isin(calm.slots["decision_id"])]
    assert since["occurred_at"].min() > calm.start > calm.events["occurred_at"].min()
    assert (since["event_type"] == "impression").sum() == calm.worlds[holdout.LAUNCHED]["impressions"].sum()


def test_the_stock_that_is_shared_bends_what_the_holdout_sees_and_is_put_into_words():
    scarce = lived(is_split=True, stock_cover=0.1)
    bent = holdout.bend(scarce, assigned(60, "launch"), pd.Series(["contribution"]), control="a")
    assert bent["bend"].iloc[0] == pytest.approx(bent["launched"].iloc[0] - bent["held_out"].iloc[0]) and bent["bend"].iloc[0] != 0
    table = pd.DataFrame({"metric": ["contribution"], "launched": [0.1], "held_out": [-0.3], "bend": [0.4]})
    assert holdout.bend_sentence(table, table.assign(bend=-0.6), "contribution", unit="EUR") == (
        "By sharing one stock those who got the new policy gain 0.10 EUR a customer and those held out lose 0.30 EUR, so that the holdout "
        "sees a difference in contribution that is 0.40 EUR too large. Held out with their own part of each item's stock they would see one "
        "that is 0.60 EUR too small: for so few customers, dividing the stock does more harm than sharing it.")
