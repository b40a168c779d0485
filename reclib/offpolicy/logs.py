"""Logs and policies as tables: what was shown and earned, and what another policy would have shown.

A policy is a table `p_target` by item_id and, where it depends on them, position, customer_id or context columns.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

DAY = "delivered_at"
ENOUGH = 5


def with_rewards(deliveries: pd.DataFrame, outcomes: pd.DataFrame, *, outcome_type: str = "click",
                 policy: str | None = None, is_value: bool = False) -> pd.DataFrame:
    """Add the reward of each slot to a log.

    Args:
        deliveries: `logged_deliveries` or `deliveries`.
        outcomes: their `logged_outcomes` or `outcomes`.
        outcome_type: the answer that counts.
        policy: keep the slots of this logging policy only.
        is_value: the reward is the answer's value; else 1 where there is an answer.

    Returns:
        The log with `reward`. Where impressions are among the answers, slots without one are left out: nobody saw them.
    """
    log = deliveries if policy is None else deliveries[deliveries["policy"] == policy]
    seen = outcomes.loc[outcomes["outcome_type"] == "impression", "decision_id"]
    answers = outcomes[outcomes["outcome_type"] == outcome_type]
    if len(seen):
        log = log[log["decision_id"].isin(seen) | log["decision_id"].isin(answers["decision_id"])]
    reward = log["decision_id"].map(answers.set_index("decision_id")["value"]).astype("float64").fillna(0.0)
    return log.assign(reward=reward if is_value else (reward > 0).astype("float64")).reset_index(drop=True)


def shares_by_position(log: pd.DataFrame) -> pd.DataFrame:
    """The policy that shows items in the shares in which a log shows them, slot by slot."""
    counts = log.groupby(["position", "item_id"]).size().rename("n").reset_index()
    return counts.assign(p_target=counts["n"] / counts.groupby("position")["n"].transform("sum")).drop(columns="n")


def uniform(items: pd.Series, positions: pd.Series) -> pd.DataFrame:
    """The policy that shows every item with the same probability in every slot."""
    names = items.drop_duplicates().sort_values(ignore_index=True)
    slots = positions.drop_duplicates().sort_values(ignore_index=True)
    return pd.DataFrame({
        "position": np.repeat(slots.to_numpy(), len(names)), "item_id": np.tile(names.to_numpy(), len(slots)),
        "p_target": 1.0 / len(names),
    })


def slates_of(decisions: pd.DataFrame, policy: str) -> pd.DataFrame:
    """The policy that shows each customer the slate decided for them."""
    shown = decisions[(decisions["policy"] == policy) & decisions["position"].notna()]
    return shown[["customer_id", "position", "item_id"]].assign(
        position=shown["position"].astype("int64"), p_target=1.0).reset_index(drop=True)


def policy_of_log(log: pd.DataFrame, *, items: pd.Series) -> pd.DataFrame:
    """The policy behind a log: uniform where every probability is one in the number of items, else the shares it showed."""
    is_uniform = np.allclose(log["p_shown"], 1 / items.nunique(), rtol=1e-9, atol=0)
    return uniform(items, log["position"]) if is_uniform else shares_by_position(log)


def read_target(path: str | None) -> pd.DataFrame | None:
    """Read the policy that a source states (Parquet or csv with item_id and p_target), or None where it states none."""
    if not path:
        return None
    table = pd.read_parquet(path) if str(path).endswith(".parquet") else pd.read_csv(path)
    absent = [name for name in ("item_id", "p_target") if name not in table]
    if absent:
        raise ValueError(f"{path}: columns {absent} are missing; found {list(table.columns)}.")
    return table


def names_customers(log: pd.DataFrame) -> bool:
    """Whether a log says whom each slot was shown to."""
    return "customer_id" in log and bool(log["customer_id"].notna().all())


def clusters_of(log: pd.DataFrame) -> np.ndarray | None:
    """Number of the customer (or session) of each row from 0, or None where the log names neither."""
    name = next((name for name in ("customer_id", "session_id") if name in log and log[name].notna().all()), None)
    return None if name is None else pd.factorize(log[name])[0]


def context_of(target: pd.DataFrame) -> list[str]:
    """The columns that a policy depends on."""
    return [name for name in target.columns if name not in ("item_id", "p_target")]


def is_withdrawn(log: pd.DataFrame, target: pd.DataFrame) -> pd.Series:
    """Whether what the policy would show in each row's place was not on offer that day, so that nobody could be shown it.

    An item counts as not on offer on a day on which nobody was shown it, where it is otherwise shown five times a day or
    more. Only policies that show one item a place can be asked; for others nothing is withdrawn.
    """
    context = context_of(target)
    nowhere = pd.Series(False, index=log.index)
    if DAY not in log or not context or not set(context) <= set(log.columns) or target.duplicated(context).any():
        return nowhere
    day = log[DAY].dt.floor("D")
    counts = log.groupby([day, "item_id"], observed=True).size().unstack(fill_value=0)
    usual = counts.where(counts > 0).mean()
    off = ((counts == 0) & (usual >= ENOUGH)).stack()
    wanted = log[context].merge(target[[*context, "item_id"]], on=context, how="left", validate="many_to_one")["item_id"]
    places = pd.MultiIndex.from_arrays([day, wanted])
    return pd.Series(off.reindex(places).fillna(False).to_numpy(dtype=bool), index=log.index)
