"""Layer 5: publish slates, with the probability that each item was shown, a control group and exploration.

Exploration never breaks a rule: the exploring branch shows the *same* items in another order (pinned items keep their
slot), so what rules hold for a slate or across customers still holds, and `p_shown` is exact.
"""

from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd

SLOT = ["customer_id", "position"]


def sent_at(as_of: pd.Timestamp, clock: str) -> pd.Timestamp:
    """The moment when slates reach customers: the first after `as_of` at which UTC clocks show a time such as `19:30`.

    Args:
        as_of: moment of the decision.
        clock: time of day; empty: at once.
    """
    if not clock:
        return as_of
    try:
        at = pd.Timestamp(f"{as_of:%Y-%m-%d} {clock}", tz="UTC").as_unit("us")
    except ValueError as error:
        raise ValueError(f"send_at == {clock!r}, must be a time of day such as 19:30.") from error
    return at if at > as_of else at + pd.Timedelta(days=1)


def assign_arms(customers: pd.Series, shares: dict[str, float], *, experiment_id: str,
                assigned_at: pd.Timestamp) -> pd.DataFrame:
    """Assign customers to arms by a salted hash of their id, the same on every machine and in every order.

    Args:
        customers: customer ids, each once.
        shares: planned share of each arm; they add up to one.
        experiment_id: also the salt, so two experiments split independently.
        assigned_at: moment of the assignment.

    Returns:
        An `assignments` table.

    Raises:
        ValueError: shares are negative or do not add up to one.
    """
    planned = np.array(list(shares.values()), dtype=float)
    if len(planned) == 0 or (planned < 0).any() or abs(planned.sum() - 1) > 1e-9:
        raise ValueError(f"shares == {shares}, must be at least 0 each and add up to 1.")
    ids = customers.drop_duplicates().reset_index(drop=True)
    arm = np.searchsorted(np.cumsum(planned)[:-1], _uniform(ids, experiment_id), side="right")
    return pd.DataFrame({
        "experiment_id": experiment_id, "customer_id": ids,
        "arm": pd.Series(np.array(list(shares))[arm], dtype="str"), "assigned_at": assigned_at,
    })


def slates(decisions: pd.DataFrame, assignments: pd.DataFrame, policies: dict[str, str]) -> pd.DataFrame:
    """Pick for each customer the slate of the policy that their arm follows.

    Args:
        decisions: the `decisions` table; shown pairs have a `position`.
        assignments: the `assignments` table.
        policies: policy of each arm.

    Returns:
        One row a slot: policy, customer_id, item_id, position, arm, experiment_id, n_eligible.
    """
    unknown = set(assignments["arm"]) - set(policies)
    if unknown:
        raise ValueError(f"arms {sorted(unknown)} have no policy; known arms: {sorted(policies)}.")
    eligible = decisions[decisions["is_allowed"]].groupby(["policy", "customer_id"]).size().rename("n_eligible")
    shown = decisions.loc[decisions["position"].notna(), ["policy", "customer_id", "item_id", "position"]]
    arms = assignments.assign(policy=assignments["arm"].map(policies))
    picked = shown.merge(arms, on=["policy", "customer_id"], validate="many_to_one")
    picked = picked.merge(eligible.reset_index(), on=["policy", "customer_id"], validate="many_to_one")
    return picked.assign(position=picked["position"].astype("int64")).sort_values(SLOT, ignore_index=True)


def explore(slots: pd.DataFrame, *, epsilon: float, rng: np.random.Generator,
            pinned: pd.DataFrame | None = None) -> pd.DataFrame:
    """Show a share of the customers their slate in random order, and say how likely each slot was.

    With probability epsilon a customer's free slots (those without a pinned item) are permuted uniformly, so an item
    stands in its own slot with probability 1 - epsilon + epsilon / m and in each other free slot with epsilon / m,
    where m counts the free slots of the slate.

    Args:
        slots: result of `slates`.
        epsilon: share of customers that explore, in [0, 1].
        rng: source of the randomness.
        pinned: pairs (policy, customer_id, item_id) that keep their slot.

    Returns:
        The slots with `position` as shown, `greedy_position`, `is_exploring` and `p_shown`.
    """
    if not 0 <= epsilon <= 1:
        raise ValueError(f"epsilon == {epsilon}, must be in [0, 1].")
    is_free = ~_is_among(slots, pinned)
    customers, code = np.unique(slots["customer_id"].to_numpy(), return_inverse=True)
    is_exploring = rng.random(len(customers))[code] < epsilon
    greedy = slots["position"].to_numpy()
    shown = _shuffled(greedy, code, is_free & is_exploring, rng.random(len(slots)))
    n_free = np.bincount(code, weights=is_free, minlength=len(customers))[code]
    own = np.where(is_free, 1 - epsilon + epsilon / np.maximum(n_free, 1), 1.0)
    p_shown = np.where(shown == greedy, own, epsilon / np.maximum(n_free, 1))
    moved = slots.assign(position=shown, greedy_position=greedy, is_exploring=is_exploring, p_shown=p_shown)
    return moved.sort_values(SLOT, ignore_index=True)


def deliver(slots: pd.DataFrame, ranked: pd.DataFrame, candidates: pd.DataFrame, *, epsilon: float, channel: str,
            delivered_at: pd.Timestamp, run_id: str) -> pd.DataFrame:
    """Turn shown slots into the `deliveries` table.

    `p_before_rules` is the probability that the item would have stood in this slot had no rule been applied: the same
    exploration over the first slots of the ranking. `source` is the candidate source that ranked the item best.

    Returns:
        A `deliveries` table.
    """
    sizes = slots.groupby("customer_id")["position"].transform("size")
    ranks = ranked[["policy", "customer_id", "item_id", "rank"]]
    known = slots.merge(ranks, on=["policy", "customer_id", "item_id"], how="left", validate="one_to_one")
    known = known.merge(best_source(candidates), on=["customer_id", "item_id"], how="left", validate="many_to_one")
    is_inside = known["rank"] <= sizes
    before = np.where(is_inside, epsilon / sizes + (1 - epsilon) * (known["rank"] == known["position"]), 0.0)
    when = delivered_at.strftime("%Y%m%d")
    return known.assign(
        decision_id=when + "-" + known["customer_id"].astype("str") + "-" + known["position"].astype("str"),
        delivered_at=delivered_at, channel=channel, run_id=run_id, p_before_rules=before,
        source=known["source"].fillna("pinned"),
        is_fallback=~known["is_known_customer"].fillna(True).astype(bool),
    ).drop(columns=["rank", "assigned_at", "is_known_customer", "greedy_position"])


def best_source(candidates: pd.DataFrame) -> pd.DataFrame:
    """Name for each pair the source that ranked it best, ties by name.

    Returns:
        One row a pair: customer_id, item_id, source, is_known_customer (some source has learnt from the customer).
    """
    pair = ["customer_id", "item_id"]
    known = candidates.groupby(pair, sort=False)["is_known_customer"].any()
    first = candidates.sort_values([*pair, "source_rank", "source"]).drop_duplicates(pair)
    return first[[*pair, "source"]].merge(known.reset_index(), on=pair, validate="one_to_one")


def summarise(deliveries: pd.DataFrame, *, n_customers: int, k: int) -> pd.DataFrame:
    """Count by policy what was published.

    Returns:
        One row a policy: n_customers, n_slots, fill_rate (slots filled of k a customer served), n_items,
        mean_p_shown, fallback_share, moved_share (slots that rules changed against the bare ranking).
    """
    grouped = deliveries.groupby("policy")
    table = grouped.agg(
        n_customers=("customer_id", "nunique"), n_slots=("decision_id", "size"), n_items=("item_id", "nunique"),
        mean_p_shown=("p_shown", "mean"), fallback_share=("is_fallback", "mean"),
    )
    table["fill_rate"] = table["n_slots"] / (table["n_customers"] * k)
    table["share_of_customers"] = table["n_customers"] / n_customers
    table["moved_share"] = grouped["p_before_rules"].agg(lambda p: float((p == 0).mean()))
    return table.reset_index()


def summary_sentence(table: pd.DataFrame, *, control: str) -> str:
    """Say what was published, to how many, and how full the slates are."""
    slots, customers = int(table["n_slots"].sum()), int(table["n_customers"].sum())
    held = table.loc[table["policy"] == control, "n_customers"].sum() / max(customers, 1)
    fill = slots / max((table["n_slots"] / table["fill_rate"]).sum(), 1)
    return (f"{slots:,} slots were published to {customers:,} customers, {100 * fill:.1f} % of the slots that they have; "
            f"{100 * held:.1f} % of these customers are the control group and see the policy {control!r}.")


def launch_plan(source: dict, *, policies: list[str], control_share: float) -> dict:
    """Say which arms tonight's customers are split into.

    The source's own plan counts if its arms are policies of this run; else a control group of `control_share` keeps
    the policy `popular` and the rest see `value`.

    Returns:
        experiment_id, control and expected_shares.
    """
    plan = source.get("experiment") or {}
    shares = plan.get("expected_shares") or {}
    if shares and set(shares) <= set(policies):
        return {name: plan[name] for name in ("experiment_id", "control", "expected_shares")}
    if not 0 <= control_share <= 1:
        raise ValueError(f"control_share == {control_share}, must be in [0, 1].")
    split = {"popular": control_share, "value": round(1 - control_share, 9)}
    return {"experiment_id": "control_group", "control": "popular", "expected_shares": split}


def pinned_pairs(rule_outcomes: pd.DataFrame | None) -> pd.DataFrame | None:
    """Pairs that a rule or an override pinned to their slot."""
    return None if rule_outcomes is None else rule_outcomes[rule_outcomes["outcome"] == "pinned"]


def by_source(deliveries: pd.DataFrame) -> pd.DataFrame:
    """Count slots by candidate source, largest first.

    Returns:
        One row a source: source, n_slots, share, fallback_share.
    """
    table = deliveries.groupby("source").agg(n_slots=("decision_id", "size"), fallback_share=("is_fallback", "mean"))
    table = table.assign(share=table["n_slots"] / max(len(deliveries), 1)).reset_index()
    return table.sort_values(["n_slots", "source"], ascending=[False, True], ignore_index=True)


def arms_sentence(assignments: pd.DataFrame, plan: dict) -> str:
    """Say how many customers are in the control group."""
    held = int((assignments["arm"] == plan["control"]).sum())
    planned = 100 * plan["expected_shares"][plan["control"]]
    return (f"{held:,} of {len(assignments):,} customers ({100 * held / max(len(assignments), 1):.1f} %, planned "
            f"{planned:.1f} %) are the control group of {plan['experiment_id']!r}.")


def propensity_sentence(deliveries: pd.DataFrame) -> str:
    """Say how certain the shown slots were."""
    p = deliveries["p_shown"]
    sure = 100 * float((p == 1).mean()) if len(p) else 0.0
    if sure == 100:
        return "Every slot was certain (p_shown = 1): this log can value no other policy."
    return (f"The probability of what was shown is {p.mean():.3f} on average and {p.min():.3f} at least; "
            f"{sure:.1f} % of the slots were certain.")


def source_sentence(origin: pd.DataFrame) -> str:
    """Say which sources fill the slates, and how much is fallback."""
    if origin.empty:
        return "Nothing was published."
    first = ", ".join(f"{row.source} {100 * row.share:.0f} %" for row in origin.head(3).itertuples())
    fallback = float((origin["fallback_share"] * origin["n_slots"]).sum() / origin["n_slots"].sum())
    return f"Most slots come from {first}; {100 * fallback:.1f} % of the slots are fallback."


def moved_sentence(by_policy: pd.DataFrame) -> str:
    """Say what share of each policy's slots the rules put there."""
    parts = ", ".join(f"{100 * row.moved_share:.1f} % under {row.policy}" for row in by_policy.itertuples())
    return f"Slots that hold an item which the bare ranking would not have shown: {parts}."


def policy_of_arms(arms: list[str], policies: list[str], *, control: str) -> dict[str, str]:
    """Say which policy each arm follows: the one of its name, else the control's arm `popular` and others `value`."""
    fallback = {True: "popular", False: "value"}
    chosen = {arm: arm if arm in policies else fallback[arm == control] for arm in arms}
    lost = {arm: policy for arm, policy in chosen.items() if policy not in policies}
    if lost:
        raise ValueError(f"arms {lost} follow policies that were not ranked; ranked: {sorted(policies)}.")
    return chosen


def _uniform(ids: pd.Series, salt: str) -> np.ndarray:
    key = hashlib.sha256(salt.encode()).hexdigest()[:16]
    hashed = pd.util.hash_array(ids.astype("str").to_numpy(dtype=object), hash_key=key, categorize=False)
    return (hashed >> np.uint64(11)).astype(float) / 2.0**53


def _is_among(slots: pd.DataFrame, pairs: pd.DataFrame | None) -> np.ndarray:
    if pairs is None or pairs.empty:
        return np.zeros(len(slots), dtype=bool)
    key = ["policy", "customer_id", "item_id"]
    marked = slots[key].merge(pairs[key].drop_duplicates().assign(is_pinned=True), on=key, how="left")
    return marked["is_pinned"].fillna(False).to_numpy(dtype=bool)


def _shuffled(position: np.ndarray, code: np.ndarray, moves: np.ndarray, luck: np.ndarray) -> np.ndarray:
    """Permute the positions of the moving rows within each code."""
    shown = position.copy()
    rows = np.flatnonzero(moves)
    by_place = rows[np.lexsort((position[rows], code[rows]))]
    by_luck = rows[np.lexsort((luck[rows], code[rows]))]
    shown[by_luck] = position[by_place]
    return shown
