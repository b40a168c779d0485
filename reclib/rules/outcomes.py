"""The tables that a decision leaves behind: `decisions`, and `rule_outcomes` with every reason, not only the first."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from reclib.rules import filters
from reclib.rules.fields import n_distinct
from reclib.rules.kinds import Boost, Diversity, Pin, Rule
from reclib.rules.plan import Case, Plan

STATE_WORDS = {
    "capped": "no room beside the items above it", "lost_to_allocation": "worth less than the limit that it would use",
}
_CONTROLS = {"novelty": "well known", "repetition": "seen this week"}
_COLUMNS = ["policy", "customer_id", "item_id", "rule_id", "outcome", "detail"]


def decisions(case: Case, plans: dict[str, Plan]) -> pd.DataFrame:
    """The `decisions` table: every ranked pair with its fate, all policies.

    `rule_id` is the first rule that refused the pair; `state` is the one state that it ends in: filtered, capped,
    lost_to_allocation, below_cut or shown.
    """
    return pd.concat([_decided(case, plan) for plan in plans.values()], ignore_index=True)


def slates(case: Case, plan: Plan) -> pd.DataFrame:
    """What is shown: customer_id, item_id and position, one row a filled slot."""
    rows = np.flatnonzero(plan.position > 0)
    return pd.DataFrame({**_ids(case, rows), "position": plan.position[rows]})


def rule_outcomes(case: Case, plans: dict[str, Plan], *, policies: list[str] | None = None) -> pd.DataFrame:
    """The `rule_outcomes` table: what each live rule did to each pair.

    A filtered pair has one row for every rule that would refuse it, whether or not another did so first.

    Args:
        case: made by `prepare`.
        plans: made by `decide`.
        policies: whose outcomes to keep; all where missing.
    """
    parts = []
    for policy in policies if policies is not None else list(plans):
        parts += _outcomes(case, plans[policy])
    if not parts:
        return pd.DataFrame({name: pd.Series(dtype="str") for name in _COLUMNS})
    return pd.concat(parts, ignore_index=True)[_COLUMNS]


def reasons(case: Case, plan: Plan) -> pd.DataFrame:
    """Every live rule that refused or held back pairs of a policy: pairs it refused first, refused at all, and alone.

    Returns:
        One row a rule: rule_id, kind, owner, reason, n_first, n_refused, n_alone (would be allowed without it),
        n_held_back (allowed, but kept out by a quota or a shared limit), n_customers.
    """
    live = case.live(plan.policy)
    refused = [case.refused[rule.id] & plan.is_ranked for rule in live if rule.id in case.refused]
    count = np.sum(refused, axis=0) if refused else np.zeros(len(case.pairs), dtype=int)
    place, rows = case.number, []
    for rule in live:
        mine = case.refused.get(rule.id, np.zeros(len(case.pairs), dtype=bool)) & plan.is_ranked
        first, held = plan.first == place[rule.id], plan.blame == place[rule.id]
        rows.append({"rule_id": rule.id, "kind": rule.kind, "owner": rule.owner, "reason": rule.reason,
                     "n_first": int(first.sum()), "n_refused": int(mine.sum()), "n_alone": int((mine & (count == 1)).sum()),
                     "n_held_back": int(held.sum()), "n_customers": n_distinct(case.pairs.customer[first | held])})
    columns = ["rule_id", "kind", "owner", "reason", "n_first", "n_refused", "n_alone", "n_held_back", "n_customers"]
    return pd.DataFrame(rows, columns=columns)


def _ids(case: Case, rows: np.ndarray) -> dict[str, pd.Series]:
    return {
        "customer_id": case.world.customers["customer_id"].take(case.pairs.customer[rows]).reset_index(drop=True),
        "item_id": case.world.items["item_id"].take(case.pairs.item[rows]).reset_index(drop=True)}


def _decided(case: Case, plan: Plan) -> pd.DataFrame:
    rows = np.flatnonzero(plan.is_ranked)
    names = pd.array([rule.id for rule in case.rules] + [pd.NA], dtype="str")
    shown = plan.position[rows]
    return pd.DataFrame({
        "policy": pd.Series(plan.policy, index=range(len(rows)), dtype="str"), **_ids(case, rows),
        "rank": plan.rank[rows], "is_allowed": plan.first[rows] < 0, "rule_id": pd.Series(names[plan.first[rows]]),
        "position": pd.Series(shown).astype("Int64").where(shown > 0), "state": pd.Series(plan.state[rows], dtype="str"),
    })


def _outcomes(case: Case, plan: Plan) -> list[pd.DataFrame]:
    parts = []
    for rule in case.live(plan.policy):
        for outcome, hit, said in _effects(case, plan, rule):
            rows = np.flatnonzero(hit)
            if len(rows):
                parts.append(_part(case, plan, rule, rows, outcome, said))
    return parts


def _effects(case: Case, plan: Plan, rule: Rule) -> Iterator[tuple[str, np.ndarray, str | None]]:
    """What a rule did: the outcome, the pairs, and its words where they are the same for all of them."""
    is_open = plan.is_ranked & (plan.first < 0)
    if rule.id in case.refused:
        hit = case.refused[rule.id] & plan.is_ranked
        yield "filtered", hit & (plan.first >= 0), None
        yield "penalised", hit & plan.yielded & (plan.blame != case.number[rule.id]), "yielded: nothing else could be shown"
    if isinstance(rule, Boost):
        yield "boosted", is_open & (case.levers[rule.id] > 1), f"priority x {rule.times:g}"
        yield "penalised", is_open & (case.levers[rule.id] < 1), f"priority x {rule.times:g}"
    if isinstance(rule, Pin):
        yield "pinned", case.pins[rule.id] & plan.is_pinned, f"asked for slot {rule.position}"
    yield ("not_allocated", (plan.blame == case.number[rule.id]) & (plan.position == 0),
           _CONTROLS.get(rule.method, "like an item above it") if isinstance(rule, Diversity) else None)


def _part(case: Case, plan: Plan, rule: Rule, rows: np.ndarray, outcome: str, said: str | None) -> pd.DataFrame:
    def same(word: str) -> pd.Series:
        return pd.Series(word, index=range(len(rows)), dtype="str")

    if said is not None:
        text = same(said)
    elif outcome == "filtered":
        text = filters.detail(rule, case.pairs.take(rows))
    else:
        text = pd.Series(plan.state[rows]).map(STATE_WORDS).astype("str")
    return pd.DataFrame({**_ids(case, rows), "detail": text, "policy": same(plan.policy), "rule_id": same(rule.id),
                         "outcome": same(outcome)})
