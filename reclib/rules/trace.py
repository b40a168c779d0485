"""Why, and why not: the path of any pair through every layer, down to the smallest change that would have shown it.

The customer is decided again from the run's tables, at the prices that shared limits had that night. A change counts
only if deciding again with it shows the item.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from reclib import store
from reclib.report import number
from reclib.rules import changes, filters
from reclib.rules.again import Desk, desk_of, open_desk
from reclib.rules.plan import Case, Plan
from reclib.rules.states import reduced

STATES = ("not_in_catalogue", "unknown_customer", "not_retrieved", "filtered", "capped", "below_cut", "lost_to_allocation", "shown")


# of a customer, an item and a run: where each source ranks the item, best first (source, source_rank, source_score)
Ranks = Callable[[object, object, str], list[dict]]


@dataclass(frozen=True)
class Answer:
    """Why a customer sees an item or does not.

    Attributes:
        customer_id, item_id, policy: the pair, as the run names it, and whose slates are meant.
        state: one of `STATES`.
        sentence: the answer for people.
        rule_id, reason: the first rule that refused or held back the pair, and its reason.
        rank, position: rank before rules and slot, where there are any.
        layers: what each layer knows of the pair.
        change: the smallest single change that shows it: kind, sentence, size, is_verified; None where none does.
        tried: every change of the closed list that was tried, with `is_verified`.
        is_reproduced: deciding the customer again gives the slate of the run.
    """

    customer_id: Any
    item_id: Any
    policy: str
    state: str
    sentence: str
    rule_id: str | None = None
    reason: str | None = None
    rank: int | None = None
    position: int | None = None
    layers: dict = field(default_factory=dict)
    change: dict | None = None
    tried: list[dict] = field(default_factory=list)
    is_reproduced: bool | None = None

    def as_record(self) -> dict:
        """The answer as plain numbers, texts and lists."""
        return asdict(self)


def why(customer_id: object, item_id: object, *, run: str = store.LATEST, policy: str | None = None,
        ranks: Ranks | None = None) -> Answer:
    """Trace any pair of a customer and an item through the layers of a run.

    Args:
        customer_id, item_id: as the run names them; texts match whole-number ids.
        run: run whose tables are read.
        policy: whose slates; the run's main policy where missing.
        ranks: asked of pairs that no source offered, see `Ranks`.

    Raises:
        FileNotFoundError: the run lacks a table; the sentence says which notebook writes it.
        ValueError: the run has no such policy.
    """
    facts = store.read_facts("rules", run=run)
    items = store.read("items", run=run)
    policy = policy or facts.get("policy", "value")
    if policy not in facts.get("prices", {policy: {}}):
        raise ValueError(f"policy == {policy!r}, must be one of {sorted(facts['prices'])}.")
    item = _as_id(item_id, items["item_id"])
    if item is None:
        return Answer(customer_id, item_id, policy, "not_in_catalogue", f"The catalogue has no item {item_id}.")
    customer = _as_id(customer_id, store.read("decisions", run=run, columns=["customer_id"])["customer_id"])
    if customer is None:
        return Answer(customer_id, item, policy, "unknown_customer", f"Nothing was decided for customer {customer_id} in this run.")
    desk = open_desk(customer, run=run, policy=policy, items=items, facts=facts)
    return explain(desk, customer, item, beyond=_beyond(desk, customer, item, ranks, run))


def _beyond(desk: Desk, customer: object, item: object, ranks: Ranks | None, run: str) -> list[dict]:
    return [] if ranks is None or (desk.candidates["item_id"] == item).any() else ranks(customer, item, run)


def explain(desk: Desk, customer: object, item: object, *, beyond: list[dict] | None = None) -> Answer:
    """Trace one pair of a customer that is on the desk.

    Args:
        desk: the customer.
        customer, item: the pair.
        beyond: where sources rank an item that they did not offer, best first.
    """
    code = int(desk.world.code_items(pd.Series([item]))[0])
    case, plan = desk.decide()
    at = np.flatnonzero(case.pairs.item == code)
    row = int(at[0]) if len(at) and plan.is_ranked[at[0]] else -1
    layers = _layers(desk, case, plan, row, item) | ({"beyond the lists": beyond} if beyond else {})
    slots = dict(zip(case.pairs.item.tolist(), plan.position.tolist()))
    answer = replace(_ended(desk, case, plan, row, customer, item, layers),
                     is_reproduced={code: slot for code, slot in slots.items() if slot} == desk.shown)
    if answer.state == "shown":
        return answer
    tried = changes.try_all(desk, case, plan, row, code, item)
    change = next((one for one in tried if one["is_verified"]), None)
    said = (f" It would show if {change['sentence']}." if change
            else " No single change of the list would have shown it.")
    return replace(answer, tried=tried, change=change, sentence=answer.sentence + said)


def told(desk: Desk, case: Case, plan: Plan, row: int, item: object) -> Answer:
    """What became of a ranked pair of a customer who has been decided, without looking for a change that would show it.

    Args:
        desk: the customer.
        case, plan: as the desk decided.
        row: of the pair in the case.
        item: its item.
    """
    return _ended(desk, case, plan, row, desk.ranked["customer_id"].iloc[0], item, _layers(desk, case, plan, row, item))


def examples(case: Case, plan: Plan, ranked: pd.DataFrame, candidates: pd.DataFrame, *, run: str = store.LATEST,
             ranks: Ranks | None = None) -> pd.DataFrame:
    """One pair for each state that occurs, traced: the customer with most different states, the best rank of each.

    Args:
        case, plan: what was decided for all.
        ranked, candidates: tables of the run.
        run: run that `ranks` is asked for.
        ranks: asked of the pair that no source offered, see `Ranks`.

    Returns:
        One row a state: customer_id, item_id, rank, state, rule_id, why, change.
    """
    states = pd.DataFrame({"customer": case.pairs.customer, "state": plan.state, "rank": plan.rank, "item": case.pairs.item})
    states = states[plan.is_ranked]
    kinds = states.groupby("customer")["state"].nunique()
    if not len(kinds):
        return pd.DataFrame(columns=["customer_id", "item_id", "rank", "state", "rule_id", "why", "change"])
    chosen = int(kinds[kinds == kinds.max()].index.min())
    customer = case.world.customers["customer_id"].iloc[chosen]
    own = ranked[(ranked["policy"] == plan.policy) & (ranked["customer_id"] == customer)].reset_index(drop=True)
    desk = desk_of(case, plan, chosen, own, candidates[candidates["customer_id"] == customer].reset_index(drop=True))
    first = states[states["customer"] == chosen].sort_values(["rank", "item"]).drop_duplicates("state")
    rows = []
    for item in case.world.items["item_id"].take(first["item"]).tolist() + _never_offered(case, desk):
        told = explain(desk, customer, item, beyond=_beyond(desk, customer, item, ranks, run))
        rows.append({"customer_id": customer, "item_id": item, "rank": told.rank, "state": told.state, "rule_id": told.rule_id,
                     "why": told.sentence.split(" It would show")[0].split(" No single change")[0],
                     "change": "" if told.change is None else told.change["sentence"]})
    return pd.DataFrame(rows).astype({"rank": "Int64"})


def example_sentence(table: pd.DataFrame) -> str:
    """Say what the traced customer teaches, or that nothing was ranked."""
    if not len(table):
        return "Nothing was ranked, so there is nothing to trace."
    missed = table[table["state"] != "shown"]
    helped = missed[missed["change"] != ""]
    if not len(helped):
        return f"Customer {table['customer_id'].iloc[0]}: of {len(missed)} traced items that are not shown, no single change shows any."
    one = helped.iloc[0]
    return (f"Customer {one['customer_id']} does not see item {one['item_id']} ({one['state'].replace('_', ' ')}); it would show if "
            f"{one['change']}.")


def _never_offered(case: Case, desk: Desk) -> list:
    ranked = set(desk.ranked["item_id"])
    return next(([item] for item in case.world.items["item_id"] if item not in ranked), [])


def _as_id(given: object, known: pd.Series) -> object | None:
    """The id as the table has it: a text such as `12` matches a whole number."""
    value: object = given
    if pd.api.types.is_integer_dtype(known):
        try:
            value = int(str(given))
        except ValueError:
            return None
    else:
        value = str(given)
    return value if (known == value).any() else None


def _layers(desk: Desk, case: Case, plan: Plan, row: int, item: object) -> dict:
    offered = desk.candidates[desk.candidates["item_id"] == item].sort_values(["source_rank", "source"])
    code = int(desk.world.code_items(pd.Series([item]))[0])
    seen = desk.world.events.loc[desk.world.events["item_code"] == code, "event_type"].astype("str").value_counts()
    layers: dict[str, Any] = {
        "signals": {f"n_{name}": int(seen[name]) for name in sorted(seen.index)},
        "candidates": [{"source": str(one.source), "source_rank": int(one.source_rank), "source_score": float(one.source_score)}
                       for one in offered.itertuples()]}
    if row < 0:
        return layers
    price, parts = reduced(case, plan)
    layers["ranking"] = {"rank": int(plan.rank[row]), "p_response": float(plan.p_response[row]), "money": float(plan.money[row]),
                         "priority": float(plan.priority[row])}
    layers["rules"] = [{"rule_id": rule.id, "kind": rule.kind, "reason": rule.reason, "met": filters.met(rule, case.pairs, row)}
                       for rule in case.live(plan.policy) if rule.id in case.refused and case.refused[rule.id][row]]
    score = plan.score[row]
    layers["allocation"] = {"score": float(score) if np.isfinite(score) else None, "price": round(float(price[row]), 6),
                            "prices": {name: round(float(part[row]), 6) for name, part in parts.items() if part[row] != 0},
                            "cut": round(_cut(case, plan, price), 6)}
    return layers


def _cut(case: Case, plan: Plan, price: np.ndarray) -> float:
    """What the customer's last unpinned slot is worth after prices; 0 where the slate has room."""
    shown = (plan.position > 0) & ~plan.is_pinned
    return float((plan.score - price)[shown].min()) if (plan.position > 0).sum() >= case.k and shown.any() else 0.0


def _ended(desk: Desk, case: Case, plan: Plan, row: int, customer: object, item: object, layers: dict) -> Answer:
    answer = Answer(customer, item, plan.policy, "not_retrieved", "", layers=layers)
    if row < 0:
        return replace(answer, sentence=_not_retrieved(desk, customer, item, layers))
    state, rank = str(plan.state[row]), int(plan.rank[row])
    answer = replace(answer, state=state, rank=rank)
    if state == "shown":
        slot = int(plan.position[row])
        return replace(answer, position=slot, sentence=f"Customer {customer} sees item {item} in slot {slot} (ranked {rank}).")
    number_of = int(plan.first[row]) if state == "filtered" else int(plan.blame[row])
    rule = case.rules[number_of] if number_of >= 0 else None
    told = layers["allocation"]
    short = round(told["cut"] + told["price"] - (told["score"] or 0.0), 6)
    start = f"Item {item}, ranked {rank} for customer {customer}, "
    words = {
        "filtered": lambda: f"was refused by {', '.join(one['rule_id'] + ' (' + one['met'] + ')' for one in layers['rules'])}.",
        "capped": lambda: f"had no place beside the items above it: {rule.id} ({rule.reason}).",
        "lost_to_allocation": lambda: f"lost to {rule.id if rule else 'a shared limit'}, at a price of {number(told['price'])} "
                                      f"against its score of {number(told['score'])}.",
        "below_cut": lambda: f"stayed below the last slot by {number(max(short, 0.0))}."}
    return replace(answer, rule_id=rule.id if rule else None, reason=rule.reason if rule else None, sentence=start + words[state]())


def _not_retrieved(desk: Desk, customer: object, item: object, layers: dict) -> str:
    found = layers["candidates"]
    if found:
        best = found[0]
        return (f"Item {item} was offered to customer {customer} by {best['source']} at rank {best['source_rank']}, but was cut "
                "before ranking.")
    start = f"No source offered item {item} to customer {customer}"
    ends = desk.candidates.groupby("source", observed=True)["source_rank"].max()
    if not layers.get("beyond the lists"):
        deepest = f"; the longest list, of {ends.idxmax()}, ends at rank {int(ends.max())}" if len(ends) else ""
        return f"{start}{deepest}."
    best = layers["beyond the lists"][0]
    end = int(ends.get(best["source"], 0))
    why = (f"whose offers end at rank {end}" if best["source_rank"] > end > 0 else
           "but lost its place to items that more sources offer" if end else "none of whose offers was kept")
    return f"{start}; it ranks best, {best['source_rank']:,}, at {best['source']}, {why}."
