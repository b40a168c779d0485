"""What the shop's truth teaches: relevance is not value, attribution is not effect, contact has a best frequency.

Like `truth`, this is for pages that show the truth; no layer may import it.
"""

from __future__ import annotations

import pandas as pd

from reclib.sources.storefront import truth

NOTHING = "none"
PUSHES = (0, 14, 7, 4, 3, 2, 1)


def worlds(policies: list[str], *, params: dict, n_days: int = 28) -> dict[str, pd.DataFrame]:
    """Live the same days once under each policy, and once without recommendations."""
    names = dict.fromkeys([NOTHING, *policies])
    return {name: truth.true_outcomes(name, params=params, n_days=n_days) for name in names}


def relevance_sentence(lived: dict[str, pd.DataFrame], relevance: str, value: str, *, currency: str) -> str:
    """Say what ranking by clicks gains and loses against ranking by value."""
    clicks, money = (
        {name: truth.value_of(lived[name], metric) for name in (relevance, value)} for metric in ("clicks", "contribution"))
    more = "more" if clicks[relevance] > clicks[value] else "no more"
    lost = money[value] - money[relevance]
    outcome = f"earns {lost:.2f} {currency} less a customer" if lost > 0 else f"earns {-lost:.2f} {currency} more a customer"
    return (
        f"{relevance} wins {more} clicks than {value} ({clicks[relevance]:.2f} against {clicks[value]:.2f} a customer) "
        f"and {outcome}.")


def attribution(lived: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Revenue that a dashboard attributes to recommendations beside the revenue they truly add.

    Returns:
        policy, attributed (recommended items bought after a click), incremental (revenue less that of the world without
        recommendations) and share (incremental over attributed), a customer.
    """
    nothing = truth.value_of(lived[NOTHING], "revenue")
    rows = [
        {"policy": name, "attributed": truth.value_of(outcomes, "attributed"),
         "incremental": truth.value_of(outcomes, "revenue") - nothing}
        for name, outcomes in lived.items() if name != NOTHING
    ]
    return pd.DataFrame(rows).assign(share=lambda found: found["incremental"] / found["attributed"])


def attribution_sentence(found: pd.DataFrame, *, currency: str) -> str:
    """Say by how much attribution overstates, policy by policy."""
    told = [f"{row.share:.0%} of the {row.attributed:.2f} {currency} of {row.policy}" for row in found.itertuples()]
    over = int((found["share"] < 1).sum())
    return f"Attribution overstates {over} of {len(found)} policies: what is truly added is {', '.join(told)}."


def by_push(policy: str, *, params: dict, n_days: list[int]) -> pd.DataFrame:
    """Live the same days with pushes at several intervals, for a short and a long while.

    Returns:
        n_days, push_every (days between pushes, 0 for none), pushes (a week), revenue, contribution, opted_out, complaints
        and is_retained, a customer; is_best marks the highest contribution of each n_days.
    """
    metrics = ("revenue", "contribution", "opted_out", "complaints", "is_retained")
    rows = []
    for span in n_days:
        for every in PUSHES:
            lived = truth.true_outcomes(policy, params=params, n_days=span, changes={"push_every": every})
            rows.append({"n_days": span, "push_every": every, "pushes": 7 / every if every else 0.0}
                        | {metric: truth.value_of(lived, metric) for metric in metrics})
    found = pd.DataFrame(rows)
    return found.assign(is_best=found["contribution"] == found.groupby("n_days")["contribution"].transform("max"))


def push_sentence(found: pd.DataFrame) -> str:
    """Say which frequency is best over each span, and what the extremes cost."""
    told = []
    for span, rows in found.groupby("n_days"):
        best, most = rows[rows["is_best"]].iloc[0], rows.sort_values("pushes").iloc[-1]
        when = f"every {best.push_every:.0f} days" if best.push_every else "never"
        told.append(f"over {span} days a push {when} earns most ({best.contribution:.2f} a customer; "
                    f"{most.contribution:.2f} with one every day, where {most.opted_out:.0%} opt out)")
    is_inside = (found.loc[found["is_best"], "push_every"] > 1).all()
    return f"The best frequency lies {'between never and daily' if is_inside else 'at an end'}: {'; '.join(told)}."
