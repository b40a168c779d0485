"""True prices of rules: slates with a rule lifted are lived under the same luck as the slates with it."""

import pandas as pd
import pytest

from reclib.sources.storefront import config, ruled, tables, truth

PARAMS = config.as_params(config.build(n_customers=800, n_items=120, n_days=28, stock_on=False))
SOURCE = {"answers": True, "params": PARAMS}


def slates_of(customers: range, item: str = "i0003") -> pd.DataFrame:
    return pd.DataFrame({"customer_id": customers, "item_id": item, "position": 1})


def test_a_true_price_is_what_lifting_the_rule_brings_under_the_same_luck():
    """A rule that hides the item everybody is shown costs the clicks on it."""
    with_rule, without = slates_of(range(401, 801)), slates_of(range(1, 801))
    found = ruled.true_prices(with_rule, {"HIDES": without}, SOURCE, metric="clicks", n_days=14, n_lucks=1).iloc[0]
    numbered = [slates.assign(decision_id=range(len(slates))) for slates in (without, with_rule)]
    lived = [truth.true_outcomes(slates, params=PARAMS, n_days=14)["clicks"].sum() for slates in numbered]
    assert found["true_value"] == lived[0] - lived[1] > 0
    assert found["true_low"] < found["true_value"] < found["true_high"]


def test_a_rule_that_changes_no_slate_truly_costs_nothing_and_more_luck_narrows_the_interval():
    with_rule, without = slates_of(range(401, 801)), slates_of(range(1, 801))
    lifted = {"IDLE": with_rule.copy(), "HIDES": without}
    one, four = (ruled.true_prices(with_rule, lifted, SOURCE, metric="clicks", n_days=14, n_lucks=n).set_index("rule_id")
                 for n in (1, 4))
    assert four.loc["IDLE"].tolist() == [0, 0, 0]
    width = [float(found.at["HIDES", "true_high"] - found.at["HIDES", "true_low"]) for found in (one, four)]
    assert width[1] < width[0]


def test_the_gate_of_the_shop_does_not_hide_what_lifting_the_law_would_show():
    world = tables.history(config.build(**PARAMS))[0]
    restricted = f"i{int(world.items.is_restricted.argmax()) + 1:04d}"
    minors = [number + 1 for number, is_adult in enumerate(world.customers.is_adult) if not is_adult]
    shown = pd.DataFrame({"customer_id": minors, "item_id": restricted, "position": 1})
    found = ruled.true_prices(shown.head(0), {"LAW": shown}, SOURCE, metric="impressions", n_days=14)
    assert found["true_value"].iloc[0] > 0


@pytest.mark.parametrize("source", [{"answers": False}, {}])
def test_without_a_truth_there_is_no_true_price(source):
    assert ruled.true_prices(slates_of(range(1, 3)), {"A": slates_of(range(1, 2))}, source).empty


def test_more_pushes_truly_cost_opt_outs_and_each_step_is_told_by_push():
    found = ruled.contacts(slates_of(range(1, 801)), SOURCE, n_days=14)
    assert found["pushes"].is_monotonic_increasing and found["opted_out"].iloc[-1] > found["opted_out"].iloc[0]
    gained = found["more_contribution"].iloc[1:] * found["pushes"].diff().iloc[1:]
    assert gained.sum() == pytest.approx(found["contribution"].iloc[-1] - found["contribution"].iloc[0], abs=1e-2)
    assert ruled.contacts(slates_of(range(1, 3)), {}).empty
