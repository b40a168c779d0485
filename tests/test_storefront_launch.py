"""The readout of a run held against the true launch."""

import numpy as np
import pandas as pd
import pytest

from reclib.sources.storefront import config, launch

PARAMS = config.as_params(config.build(n_customers=300, n_items=60, n_days=14))


def decisions() -> pd.DataFrame:
    """Policies a and b show everybody items 1 and 2, or 3 and 4; item 5 is ranked but not shown."""
    rows = [("a", 1, 1), ("a", 2, 2), ("a", 5, pd.NA), ("b", 3, 1), ("b", 4, 2)]
    found = pd.DataFrame([(policy, customer, f"i{item:04d}", position) for customer in range(1, 301)
                          for policy, item, position in rows], columns=["policy", "customer_id", "item_id", "position"])
    return found.astype({"position": "Int64"})


def readout(lived: dict[str, pd.DataFrame], half_width: float) -> pd.DataFrame:
    """A readout of b against a that is right by construction, with an interval of that half width."""
    rows = []
    for metric in ("revenue", "joy"):
        read = float(lived["b"]["revenue"].mean() - lived["a"]["revenue"].mean()) + 1
        rows.append({
            "metric": metric, "arm": "b", "control": "a", "role": "success", "is_primary": True, "effect": read,
            "effect_low": read - half_width, "effect_high": read + half_width, "lift": 0.1, "lift_low": 0.0, "lift_high": 0.2,
        })
    return pd.DataFrame(rows)


@pytest.mark.parametrize("half_width, holds", [(2.0, True), (0.5, False)])
def test_an_interval_holds_the_truth_or_misses_it(half_width, holds):
    lived = launch.worlds(decisions(), {"answers": True, "params": PARAMS}, n_days=7)
    compared = launch.compare(readout(lived, half_width), lived)
    assert compared["metric"].tolist() == ["revenue"]
    assert compared["holds_truth"].tolist() == [holds]
    assert compared["truth"].iloc[0] == pytest.approx(lived["b"]["revenue"].mean() - lived["a"]["revenue"].mean())
    assert launch.sentence(compared).startswith("1 of 1" if holds else "0 of 1")


def test_slates_are_those_with_a_position():
    lived = launch.worlds(decisions(), {"answers": True, "params": PARAMS}, n_days=7)
    assert set(lived) == {"a", "b"}
    assert 0 < lived["a"]["impressions"].sum() <= 2 * lived["a"]["sessions"].sum()


def test_a_source_without_truth_says_so():
    lived = launch.worlds(decisions(), {"answers": False})
    compared = launch.compare(readout({name: pd.DataFrame({"revenue": np.ones(2)}) for name in "ab"}, 1.0), lived)
    assert lived == {} and compared.empty
    assert launch.sentence(compared) == "This run has no experiment whose truth is known: only the storefront has one."
    assert launch.success_sentence(compared) == "No success metric of this run has a known truth."
