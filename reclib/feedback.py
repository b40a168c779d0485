"""Layer 6: join what customers did back to what was shown, and add it up by customer.

An answer belongs to a delivery when it names its `decision_id`. Answers without one are attributed to the latest
delivery of the same customer and item within the window, and the share of such answers is reported: attribution is a
count of what followed, not of what was caused.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

ANSWERS = ("impression", "view", "click", "add_to_cart", "purchase", "return", "dismiss", "unsubscribe", "complaint")
MONEY = ("purchase", "return")
PAIR = ["customer_id", "item_id"]


def gather(deliveries: pd.DataFrame | None, answers: pd.DataFrame | None, logged_deliveries: pd.DataFrame | None,
           logged_outcomes: pd.DataFrame | None, *, window_days: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Pick what was shown and how it was answered: tonight's slates where they were answered, else the log.

    Returns:
        The deliveries that count and their `outcomes`.

    Raises:
        ValueError: neither was answered.
    """
    if answers is not None and deliveries is not None:
        return deliveries, join_outcomes(deliveries, answers, window_days=window_days)
    if logged_deliveries is None or logged_outcomes is None:
        raise ValueError("feedback: neither tonight's slates nor a log of past ones was answered; "
                         "a source needs `answers`, or `logged_deliveries` with `logged_outcomes`.")
    return logged_deliveries, logged_outcomes.assign(n_events=1, is_attributed=False)


def join_outcomes(deliveries: pd.DataFrame, events: pd.DataFrame, *, window_days: int) -> pd.DataFrame:
    """Join answers to deliveries.

    Args:
        deliveries: `deliveries` or `logged_deliveries`.
        events: `events`; those before their delivery or after the window are left out.
        window_days: days after the delivery in which an answer counts.

    Returns:
        An `outcomes` table with `n_events` and `is_attributed` (joined by customer and item, not by decision):
        `value` is money for purchases and returns, else the number of events.
    """
    if window_days < 1:
        raise ValueError(f"window_days == {window_days}, must be at least 1.")
    answers = events[events["event_type"].isin(ANSWERS)]
    named = answers.get("decision_id", pd.Series(pd.NA, index=answers.index)).notna()
    joined = pd.concat([_by_decision(deliveries, answers[named]), _by_pair(deliveries, answers[~named])])
    age = joined["occurred_at"] - joined["delivered_at"]
    joined = joined[(age >= pd.Timedelta(0)) & (age < pd.Timedelta(days=window_days))]
    amount = joined["value"].fillna(0.0).where(joined["event_type"].isin(MONEY), 1.0)
    grouped = joined.assign(amount=amount, outcome_type=joined["event_type"]).groupby(
        ["decision_id", "outcome_type"], observed=True)
    return grouped.agg(
        occurred_at=("occurred_at", "min"), value=("amount", "sum"), n_events=("amount", "size"),
        is_attributed=("is_attributed", "all"),
    ).reset_index().assign(value=lambda table: table["value"].round(2))


def join_sentence(deliveries: pd.DataFrame, outcomes: pd.DataFrame) -> str:
    """Say how many deliveries were answered, and how many answers had to be attributed."""
    seen = outcomes.loc[outcomes["outcome_type"] == "impression", "decision_id"].nunique()
    answered = outcomes.loc[outcomes["outcome_type"] != "impression", "decision_id"].nunique()
    share = answered / max(len(deliveries), 1)
    attributed = float(outcomes["is_attributed"].mean()) if len(outcomes) else 0.0
    looked = f"{seen:,} of {len(deliveries):,} slots were seen; " if seen else ""
    return (f"{looked}{answered:,} slots ({100 * share:.1f} %) were answered, "
            f"{100 * attributed:.1f} % of the answers by attribution rather than by decision.")


def rates(deliveries: pd.DataFrame, outcomes: pd.DataFrame, *, by: str) -> pd.DataFrame:
    """Rates of answers by a column of the deliveries.

    Returns:
        One row a value of `by`: n_slots, n_seen (slots with an impression, else all slots), then for each answer
        type present the share of seen slots with it, clicks with a Wilson interval (`click_low`, `click_high`).
    """
    wide = _wide(outcomes)
    table = deliveries[["decision_id", by]].merge(wide.reset_index(), on="decision_id", how="left")
    types = [name for name in ANSWERS[1:] if name in wide.columns]
    is_there = table[types].notna()
    is_seen = table["impression"].notna() if "impression" in table else pd.Series(True, index=table.index)
    is_seen |= is_there.any(axis=1)
    counts = is_there.assign(n_slots=1, n_seen=is_seen.astype(int)).groupby(table[by]).sum()
    shares = counts[types].div(counts["n_seen"].replace(0, np.nan), axis=0)
    result = counts[["n_slots", "n_seen"]].join(shares.add_suffix("_rate"))
    if "click" in types:
        low, high = _wilson(counts["click"].to_numpy(float), counts["n_seen"].to_numpy(float))
        result = result.assign(click_low=low, click_high=high)
    return result.reset_index()


def position_sentence(by_position: pd.DataFrame) -> str:
    """Say how the click rate falls with the slot, or that there are too few clicks to tell."""
    if "click_rate" not in by_position or len(by_position) < 2:
        return "The answers do not show how attention falls with the slot."
    first, last = by_position.iloc[0], by_position.iloc[-1]
    if first["click_low"] <= last["click_high"]:
        return (f"Between slot {first['position']} and slot {last['position']} the click rate cannot be told apart: "
                f"there are too few clicks.")
    ratio = first["click_rate"] / max(last["click_rate"], 1e-12)
    return (f"Slot {first['position']:.0f} is clicked {ratio:.1f} times as often as slot {last['position']:.0f}: "
            f"{100 * first['click_rate']:.2f} % against {100 * last['click_rate']:.2f} %.")


def policy_sentence(by_policy: pd.DataFrame, *, control: str | None = None) -> str:
    """Say which policy was clicked more, with intervals, and that this is not yet proof."""
    if "click_rate" not in by_policy or by_policy["click_rate"].notna().sum() < 2:
        return "One policy answered alone: there is nothing to hold its click rate against."
    ordered = by_policy.dropna(subset=["click_rate"]).sort_values(["click_rate", "policy"], ascending=[False, True])
    best, last = ordered.iloc[0], ordered.iloc[-1]
    said = (f"{best['policy']} was clicked on {100 * best['click_rate']:.2f} % "
            f"[{100 * best['click_low']:.2f}, {100 * best['click_high']:.2f}] of the slots seen, "
            f"{last['policy']} on {100 * last['click_rate']:.2f} % "
            f"[{100 * last['click_low']:.2f}, {100 * last['click_high']:.2f}]")
    apart = best["click_low"] > last["click_high"]
    return f"{said}; {'the intervals are apart' if apart else 'the intervals overlap'}, and slots are not customers."


def downstream(outcomes: pd.DataFrame) -> pd.DataFrame:
    """Add up each answer type.

    Returns:
        One row a type: outcome_type, n_slots, n_events, value (money for purchases and returns, else counts).
    """
    table = outcomes.groupby("outcome_type", observed=True).agg(
        n_slots=("decision_id", "nunique"), n_events=("n_events", "sum"), value=("value", "sum")).reset_index()
    order = {name: place for place, name in enumerate(ANSWERS)}
    return table.sort_values("outcome_type", key=lambda names: names.map(order), ignore_index=True)


def value_sentence(totals: pd.DataFrame, *, currency: str | None) -> str:
    """Say what was bought and what came back of it."""
    value = totals.set_index("outcome_type")["value"]
    bought, returned = float(value.get("purchase", 0.0)), float(value.get("return", 0.0))
    if not bought:
        return "No purchase followed a delivered slot."
    back = f", of which {returned:,.2f} ({100 * returned / bought:.1f} %) came back" if returned else ""
    return (f"Purchases of {bought:,.2f} {currency or 'value'} followed delivered slots{back}. "
            "That is attributed value: some of it would have come anyway.")


def delay_sentence(deliveries: pd.DataFrame, outcomes: pd.DataFrame) -> str:
    """Say how long purchases take to follow their delivery."""
    bought = outcomes[outcomes["outcome_type"] == "purchase"].merge(
        deliveries[["decision_id", "delivered_at"]], on="decision_id")
    days = (bought["occurred_at"] - bought["delivered_at"]) / pd.Timedelta(days=1)
    if days.notna().sum() < 20:
        return "Too few purchases followed to say how late they come."
    return (f"Half of the first purchases came within {days.median():.1f} days and nine in ten within "
            f"{days.quantile(0.9):.1f}: an earlier look misses the rest.")


def override_sentence(report: pd.DataFrame) -> str:
    """Say whether pinned slots beat the ranked ones, or that there were none."""
    if report.empty or set(report["slots"]) != {"pinned", "ranked"}:
        return "Nothing was pinned by hand among what was shown."
    value = report.set_index("slots")["value_per_slot"]
    word = "more" if value["pinned"] > value["ranked"] else "less"
    return (f"Pinned slots were followed by {value['pinned']:.3f} a slot, {word} than the {value['ranked']:.3f} "
            "of ranked slots in the same positions.")


def override_report(deliveries: pd.DataFrame, outcomes: pd.DataFrame, overrides: pd.DataFrame | None) -> pd.DataFrame:
    """Hold pinned slots against the rest of the same positions.

    Returns:
        One row for pinned and one for ranked slots: n_slots, click_rate, value_per_slot; empty without pins.
    """
    pins = overrides[overrides["action"] == "pin"] if overrides is not None else pd.DataFrame()
    if pins.empty:
        return pd.DataFrame(columns=["slots", "n_slots", "click_rate", "value_per_slot"])
    is_pinned = deliveries["item_id"].isin(pins["item_id"])
    same = deliveries["position"].isin(deliveries.loc[is_pinned, "position"])
    wide = _wide(outcomes).reindex(columns=["click", "purchase"])
    shown = deliveries.assign(slots=np.where(is_pinned, "pinned", "ranked"))[same]
    shown = shown.merge(wide.reset_index(), on="decision_id", how="left")
    return shown.groupby("slots").agg(
        n_slots=("decision_id", "size"), click_rate=("click", lambda clicks: clicks.notna().mean()),
        value_per_slot=("purchase", lambda paid: paid.fillna(0).mean()),
    ).reset_index()


def build_units(assignments: pd.DataFrame, events: pd.DataFrame, items: pd.DataFrame, *, start: pd.Timestamp,
                end: pd.Timestamp, pre_days: int, customers: pd.DataFrame | None = None) -> pd.DataFrame:
    """Add up what every assigned customer did, exposed or not, and what they had done before.

    Args:
        assignments: the `assignments` table.
        events: `events` of the time before and after `start`.
        items: `items`; `unit_cost` gives the contribution where it is there.
        start: moment of the assignment; events at or before it are the pre-period.
        end: last moment that counts.
        pre_days: length of the pre-period.
        customers: `customers`; their `segment` and `region`, known before, come along where they are there.

    Returns:
        A `units` table: orders, revenue (money paid), returned (money paid back), net_revenue, contribution where
        costs are known, clicks, impressions, dismissals, complaints, is_converted, opted_out, complained, is_retained (an event of
        one's own in the second half of the period), n_items_seen (different items), n_categories_seen (different
        categories), n_new_seen (different items not shown to them in the pre-period), n_items_clicked and
        n_items_carried_on (those of them put into the basket or bought afterwards), latency_ms (mean wait for a page, where
        `events` have `served_ms`; missing for who saw none), and `pre_*` covariates.
    """
    pre_start = start - pd.Timedelta(days=pre_days)
    during = events[(events["occurred_at"] > start) & (events["occurred_at"] <= end)]
    before = events[(events["occurred_at"] > pre_start) & (events["occurred_at"] <= start)]
    units = assignments[["experiment_id", "customer_id", "arm"]]
    units = _attach(units, _totals(during, items))
    units = _attach(units, _totals(before, items)[["orders", "revenue", "clicks"]].add_prefix("pre_"))
    units = _attach(units, _new_seen(during, before))
    units = _attach(units, _carried_on(during))
    if "served_ms" in during:
        waits = during[during["event_type"] == "impression"].groupby("customer_id")["served_ms"].mean().round(3)
        units = units.merge(waits.rename("latency_ms"), left_on="customer_id", right_index=True, how="left", validate="many_to_one")
    if customers is not None:
        known = [name for name in ("segment", "region") if name in customers]
        units = units.merge(customers[["customer_id", *known]], on="customer_id", how="left", validate="many_to_one")
    late = during[during["occurred_at"] > start + (end - start) / 2]
    own = late[~late["event_type"].isin(["impression", "unsubscribe", "complaint", "return"])]
    return units.assign(
        is_converted=(units["orders"] > 0).astype("int64"),
        opted_out=(units["opt_outs"] > 0).astype("int64"),
        complained=(units["complaints"] > 0).astype("int64"),
        is_retained=units["customer_id"].isin(own["customer_id"]).astype("int64"),
        net_revenue=(units["revenue"] - units["returned"]).round(2),
    ).drop(columns="opt_outs")


def _totals(events: pd.DataFrame, items: pd.DataFrame) -> pd.DataFrame:
    """Count and add up events by customer."""
    kinds = events["event_type"]
    paid = events["value"].fillna(0.0)
    visit = events["session_id"] if "session_id" in events else events["occurred_at"].dt.floor("D").astype("str")
    buys = events[kinds == "purchase"].assign(visit=visit[kinds == "purchase"])
    columns = {
        "revenue": paid.where(kinds == "purchase", 0.0), "returned": paid.where(kinds == "return", 0.0),
        "clicks": kinds == "click", "impressions": kinds == "impression", "dismissals": kinds == "dismiss",
        "complaints": kinds == "complaint", "opt_outs": kinds == "unsubscribe",
    }
    if "unit_cost" in items:
        columns["contribution"] = _contribution(events, items)
    totals = pd.DataFrame(columns).groupby(events["customer_id"]).sum()
    totals["orders"] = buys.groupby("customer_id")["visit"].nunique().reindex(totals.index).fillna(0)
    seen = events[kinds == "impression"]
    totals["n_items_seen"] = seen.groupby("customer_id")["item_id"].nunique().reindex(totals.index).fillna(0)
    if "category" in items:
        kind = seen["item_id"].map(items.set_index("item_id")["category"])
        totals["n_categories_seen"] = kind.groupby(seen["customer_id"]).nunique().reindex(totals.index).fillna(0)
    money = [name for name in ("revenue", "returned", "contribution") if name in totals]
    return totals.astype({name: "int64" for name in totals if name not in money}).round(dict.fromkeys(money, 2))


def _new_seen(during: pd.DataFrame, before: pd.DataFrame) -> pd.DataFrame:
    """Different items that a customer was shown and had not been shown in the pre-period."""
    now, then = (table.loc[table["event_type"] == "impression", ["customer_id", "item_id"]].drop_duplicates() for table in (during, before))
    fresh = now.merge(then, on=["customer_id", "item_id"], how="left", indicator=True, validate="one_to_one").query("_merge == 'left_only'")
    return fresh.groupby("customer_id").size().to_frame("n_new_seen")


def _carried_on(during: pd.DataFrame) -> pd.DataFrame:
    """Different items that a customer clicked, and those of them put into the basket or bought after the first click."""
    kind = during["event_type"]
    clicked = during[kind == "click"].groupby(PAIR)["occurred_at"].min()
    taken = during[kind.isin(["add_to_cart", "purchase"])].groupby(PAIR)["occurred_at"].max().reindex(clicked.index)
    counted = pd.DataFrame({"n_items_clicked": 1, "n_items_carried_on": (taken >= clicked).astype("int64")}, index=clicked.index)
    return counted.groupby("customer_id").sum()


def _contribution(events: pd.DataFrame, items: pd.DataFrame) -> pd.Series:
    """Money paid less the cost of what was bought; a return takes the money back and gives the units back."""
    cost = events["item_id"].map(items.set_index("item_id")["unit_cost"]).astype("float64").fillna(0.0)  # of no events, a map is a text
    units = events["quantity"].fillna(1.0) if "quantity" in events else 1.0
    earned = events["value"].fillna(0.0) - cost * units
    sign = events["event_type"].map({"purchase": 1.0, "return": -1.0}).astype("float64").fillna(0.0)
    return earned * sign


def _attach(units: pd.DataFrame, totals: pd.DataFrame) -> pd.DataFrame:
    joined = units.merge(totals, left_on="customer_id", right_index=True, how="left", validate="many_to_one")
    return joined.fillna(dict.fromkeys(totals.columns, 0)).astype(totals.dtypes.to_dict())


def _by_decision(deliveries: pd.DataFrame, answers: pd.DataFrame) -> pd.DataFrame:
    if answers.empty:
        return _empty_join()
    shown = deliveries[["decision_id", "delivered_at"]]
    return answers.merge(shown, on="decision_id", validate="many_to_one")[list(_JOINED)[:-1]].assign(
        is_attributed=False)


def _by_pair(deliveries: pd.DataFrame, answers: pd.DataFrame) -> pd.DataFrame:
    """Attribute each answer to the latest delivery of its customer and item before it."""
    if answers.empty or "customer_id" not in deliveries or deliveries["customer_id"].isna().all():
        return _empty_join()
    shown = deliveries[["decision_id", "delivered_at", *PAIR]].assign(shown_at=deliveries["delivered_at"])
    shown = shown.dropna(subset=PAIR).sort_values(["shown_at", "decision_id"])
    asked = answers[["occurred_at", *PAIR, "event_type", "value"]].sort_values("occurred_at")
    asked = asked[asked["item_id"].isin(shown["item_id"]) & asked["customer_id"].isin(shown["customer_id"])]
    if asked.empty:
        return _empty_join()
    joined = pd.merge_asof(asked, shown, left_on="occurred_at", right_on="shown_at", by=PAIR)
    return joined.dropna(subset=["decision_id"])[list(_JOINED)[:-1]].assign(is_attributed=True)


_JOINED = {"decision_id": "str", "delivered_at": "datetime64[us, UTC]", "occurred_at": "datetime64[us, UTC]",
           "event_type": "str", "value": "float64", "is_attributed": "bool"}


def _empty_join() -> pd.DataFrame:
    return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in _JOINED.items()})


def _wide(outcomes: pd.DataFrame) -> pd.DataFrame:
    return outcomes.pivot(index="decision_id", columns="outcome_type", values="value")


def _wilson(hits: np.ndarray, n: np.ndarray, z: float = 1.959964) -> tuple[np.ndarray, np.ndarray]:
    """Wilson's score interval of a proportion (Wilson 1927)."""
    n = np.where(n > 0, n, np.nan)
    share = hits / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    return np.clip(centre - half, 0, 1), np.clip(centre + half, 0, 1)
