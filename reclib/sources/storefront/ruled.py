"""The true price of rules and of contacts: the same days lived with a rule lifted, or with more pushes.

Like `truth`, this is for pages that hold an estimate against the truth; no layer may import it.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from reclib.sources.storefront import lessons, truth

COLUMNS = ["rule_id", "true_value", "true_low", "true_high"]


def true_prices(with_rules: pd.DataFrame, lifted: Mapping[str, pd.DataFrame], source: dict, *, metric: str = "contribution",
                n_days: int = 28, n_lucks: int = 4) -> pd.DataFrame:
    """Let the slates with all rules, and those with each rule lifted, be lived by all customers.

        true(r) = sum over customers of Y(slates without r) - Y(slates with all rules), mean over lucks

    Every customer is compared with itself under the same luck of the days to come. The shop then shows the restricted
    slots that its own gate would hide; what was not in stock that day, and who opted out, it never shows.

    Args:
        with_rules: slates, a table with customer_id, item_id and position.
        lifted: rule_id -> slates decided without it.
        source: facts of the source.
        metric: one of `totals.METRICS`.
        n_days: days that each world is lived.
        n_lucks: how often, each time with other luck.

    Returns:
        One row a rule: rule_id, true_value (for all customers and all days; negative where the rule pays for itself), and
        true_low and true_high, its 95 % interval over customers. Empty where the source has no truth.
    """
    if not source.get("answers"):
        return pd.DataFrame(columns=COLUMNS)
    params = source["params"]
    lucks = [{"seed": params["seed"] + 1_000 * number, "age_gate": False} for number in range(n_lucks)]

    def lived(slates: pd.DataFrame) -> np.ndarray:
        worlds = [truth.true_outcomes(_numbered(slates), params=params, n_days=n_days, changes=luck)[metric] for luck in lucks]
        return np.mean([np.asarray(world, dtype="float64") for world in worlds], axis=0)

    base = lived(with_rules)
    rows = []
    for rule_id, slates in lifted.items():
        gain = np.zeros(len(base)) if slates.equals(with_rules) else np.round(lived(slates) - base, 6)
        half = 1.96 * gain.std(ddof=1) * np.sqrt(len(gain))
        rows.append((rule_id, gain.sum(), gain.sum() - half, gain.sum() + half))
    return pd.DataFrame(rows, columns=COLUMNS).round(2)


def contacts(slates: pd.DataFrame, source: dict, *, n_days: int = 28) -> pd.DataFrame:
    """What one more push a week truly brings and costs, with the same slates on every visit.

    Args:
        slates: as in `true_prices`.
        source: facts of the source.
        n_days: days that each world is lived.

    Returns:
        One row a frequency: pushes (a week, to those who agreed), contribution a customer, opted_out (a thousand
        customers), and what one more push a week than in the row above adds to each (more_contribution, more_opted_out).
        Empty where the source has no truth.
    """
    columns = ["pushes", "contribution", "opted_out", "more_contribution", "more_opted_out"]
    if not source.get("answers"):
        return pd.DataFrame(columns=columns)
    found = lessons.by_push(_numbered(slates), params=source["params"], n_days=[n_days]).sort_values("pushes", ignore_index=True)
    table = found[["pushes", "contribution", "opted_out"]].assign(opted_out=1_000 * found["opted_out"])
    steps = table[["contribution", "opted_out"]].diff().div(table["pushes"].diff(), axis=0)
    return table.join(steps.add_prefix("more_")).round(4)[columns]


def _numbered(slates: pd.DataFrame) -> pd.DataFrame:
    return slates.reset_index(drop=True).astype({"position": "int64"}).assign(decision_id=np.arange(len(slates)))
