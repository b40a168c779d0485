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
from reclib.rules.again import Desk, Pair, desk_of, look, open_desk, slots
from reclib.rules.kinds import Rule
from reclib.rules.plan import Case, Plan
from reclib.rules.states import cuts, reduced

STATES = ("not_in_catalogue", "unknown_customer", "not_retrieved", "filtered", "capped", "below_cut", "lost_to_allocation", "shown")

# of a customer, an item and a run: where each source ranks the item, best first (source, source_rank, source_score)
Ranks = Callable[[object, object, str], list[dict]]


@dataclass(frozen=True)
class Answer:
    """Why a customer sees an item or does not.

    Attributes:
        customer_id, item_id, policy: the pair, as the run names it, and whose slates are meant.
        state: one of `STATES`.
        because: what became of the pair, in one sentence.
        sentence: the same and what would have shown it.
        rule_id, reason: the first rule that refused or held back the pair, and its reason.
        rank, position: rank before rules and slot, where there are any.
        layers: what each layer knows of the pair.
        change: the smallest single change that shows it: kind, sentence, size, is_verified; None where none does.
        tried: every change of the closed list that was tried, with `is_verified`.
        is_reproduced: deciding the customer again gives the slate of the run, slot by slot.
    """

    customer_id: Any
    item_id: Any
    policy: str
    state: str
    because: str
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
    facts, items = store.read_facts("rules", run=run), store.read("items", run=run)
    policy = policy or facts.get("policy", "value")
    if policy not in facts.get("prices", {policy: {}}):
        raise ValueError(f"policy == {policy!r}, must be one of {sorted(facts['prices'])}.")
    item = _as_id(item_id, items["item_id"])
    if item is None:
        said = f"The catalogue has no item {item_id}."
        return Answer(customer_id, item_id, policy, "not_in_catalogue", said, said)
    customer = _as_id(customer_id, store.read("decisions", run=run, columns=["customer_id"])["customer_id"])
    if customer is None:
        said = f"Nothing was decided for customer {customer_id} in this run."
        return Answer(customer_id, item, policy, "unknown_customer", said, said)
    return explain(open_desk(customer, run=run, policy=policy, items=items, facts=facts), item, run=run, ranks=ranks)


def explain(desk: Desk, item: object, *, run: str = store.LATEST, ranks: Ranks | None = None) -> Answer:
    """Trace a pair of the customer on the desk, and look for the smallest change that would have shown it.

    Args:
        desk: the customer.
        item: an item of the catalogue.
        run: run that `ranks` is asked of.
        ranks: asked of pairs that no source offered, see `Ranks`.
    """
    pair = look(desk, item)
    is_offered = ranks is None or (desk.candidates["item_id"] == item).any()
    answer = told(pair, beyond=None if is_offered else ranks(desk.customer, item, run))
    if answer.state == "shown":
        return answer
    tried = changes.try_all(pair)
    change = next((one for one in tried if one["is_verified"]), None)
    said = f"It would show if {change['sentence']}." if change else "No single change of the list would have shown it."
    return replace(answer, tried=tried, change=change, sentence=f"{answer.because} {said}")


def told(pair: Pair, *, beyond: list[dict] | None = None) -> Answer:
    """What became of a pair, without looking for a change that would show it.

    Args:
        pair: of a customer who has been decided.
        beyond: where sources rank an item that none of them offered, best first; None where they were not asked.
    """
    layers = _layers(pair) | ({} if beyond is None else {"beyond the lists": beyond})
    state, rank, position, rule = "not_retrieved", None, None, None
    because = _not_retrieved(pair, layers) if pair.row < 0 else ""
    if pair.row >= 0:
        state, rank = str(pair.plan.state[pair.row]), int(pair.plan.rank[pair.row])
        position, rule = int(pair.plan.position[pair.row]) or None, _rule(pair)
        because = _ranked(pair, state, rule, layers)
    return Answer(pair.desk.customer, pair.item, pair.plan.policy, state, because, because, rule.id if rule else None,
                  rule.reason if rule else None, rank, position, layers,
                  is_reproduced=slots(pair.case.pairs.item, pair.plan.position) == pair.desk.shown)


def examples(case: Case, plan: Plan, ranked: pd.DataFrame, candidates: pd.DataFrame, *, run: str = store.LATEST,
             ranks: Ranks | None = None) -> pd.DataFrame:
    """One pair for each state that occurs, traced: the customer with most different states, the best rank of each.

    Args:
        case, plan: what was decided for all.
        ranked, candidates: tables of the run.
        run: run that `ranks` is asked of.
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
    customer, items = case.world.customers["customer_id"].iloc[chosen], case.world.items["item_id"]
    own = ranked[(ranked["policy"] == plan.policy) & (ranked["customer_id"] == customer)].reset_index(drop=True)
    desk = desk_of(case, plan, chosen, own, candidates[candidates["customer_id"] == customer].reset_index(drop=True))
    first = states[states["customer"] == chosen].sort_values(["rank", "item"]).drop_duplicates("state")
    asked = items.take(first["item"]).tolist() + items[~items.isin(own["item_id"])].head(1).tolist()
    found = [explain(desk, item, run=run, ranks=ranks) for item in asked]
    return pd.DataFrame([{
        "customer_id": one.customer_id, "item_id": one.item_id, "rank": one.rank, "state": one.state, "rule_id": one.rule_id,
        "why": one.because, "change": one.change["sentence"] if one.change else ""} for one in found]).astype({"rank": "Int64"})


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


def _as_id(given: object, known: pd.Series) -> object | None:
    """The id as the table has it: a text such as `12` matches a whole number."""
    text = str(given)
    value = int(text) if pd.api.types.is_integer_dtype(known) and text.removeprefix("-").isdecimal() else text
    return value if (known == value).any() else None


def _layers(pair: Pair) -> dict:
    """What each layer knows of the pair."""
    case, plan, row = pair.case, pair.plan, pair.row
    events, offered = pair.desk.world.events, pair.desk.candidates
    seen = events.loc[events["item_code"] == pair.code, "event_type"].astype("str").value_counts()
    offered = offered[offered["item_id"] == pair.item].sort_values(["source_rank", "source"])
    layers: dict[str, Any] = {"signals": {f"n_{name}": int(seen[name]) for name in sorted(seen.index)},
                              "candidates": offered[["source", "source_rank", "source_score"]].to_dict("records")}
    if row < 0:
        return layers
    price, parts = reduced(case, plan)
    score, cut = float(plan.score[row]), float(cuts(case, plan, plan.score - price)[row])
    return layers | {
        "ranking": {"rank": int(plan.rank[row])} | {
            name: float(getattr(plan, name)[row]) for name in ("p_response", "money", "priority")},
        "rules": [{"rule_id": rule.id, "kind": rule.kind, "reason": rule.reason, "met": filters.met(rule, case.pairs, row)}
                  for rule in changes.refusing(pair)],
        "allocation": {"score": score if np.isfinite(score) else None, "price": round(float(price[row]), 6),
                       "prices": {name: round(float(part[row]), 6) for name, part in parts.items() if part[row] != 0},
                       "cut": round(cut, 6) if np.isfinite(cut) else 0.0}}


def _rule(pair: Pair) -> Rule | None:
    """The first rule that refused the pair, or the one that held it back."""
    first, blame = int(pair.plan.first[pair.row]), int(pair.plan.blame[pair.row])
    return pair.case.rules[max(first, blame)] if max(first, blame) >= 0 else None


def _ranked(pair: Pair, state: str, rule: Rule | None, layers: dict) -> str:
    """What became of a ranked pair, in one sentence."""
    item, customer, rank, found = pair.item, pair.desk.customer, layers["ranking"]["rank"], layers["allocation"]
    if state == "shown":
        return f"Customer {customer} sees item {item} in slot {int(pair.plan.position[pair.row])} (ranked {rank})."
    if state == "filtered":
        end = "was refused by " + ", ".join(f"{one['rule_id']} ({one['met']})" for one in layers["rules"])
    elif state == "capped":
        end = f"had no place beside the items above it: {rule.id} ({rule.reason})"
    elif state == "lost_to_allocation":
        end = (f"lost to {rule.id if rule else 'a shared limit'}, at a price of {number(found['price'])} against its score of "
               f"{number(found['score'])}")
    else:
        end = f"stayed below the last slot by {number(max(round(found['cut'] + found['price'] - found['score'], 6), 0.0))}"
    return f"Item {item}, ranked {rank} for customer {customer}, {end}."


def _not_retrieved(pair: Pair, layers: dict) -> str:
    """Which source came closest to offering a pair that was not ranked, in one sentence."""
    item, customer, found = pair.item, pair.desk.customer, layers["candidates"]
    if found:
        return (f"Item {item} was offered to customer {customer} by {found[0]['source']} at rank {found[0]['source_rank']}, but was "
                "cut before ranking.")
    start = f"No source offered item {item} to customer {customer}"
    ends = pair.desk.candidates.groupby("source", observed=True)["source_rank"].max()
    if "beyond the lists" not in layers:
        return f"{start}; the longest list, of {ends.idxmax()}, ends at rank {int(ends.max())}." if len(ends) else f"{start}."
    if not layers["beyond the lists"]:
        return f"{start}, and none ranks it: it is not on sale lately, was had before, or nothing is known to rank it by."
    best = layers["beyond the lists"][0]
    end = int(ends.get(best["source"], 0))
    why = ("none of whose offers was kept" if not end else f"whose offers end at rank {end}" if best["source_rank"] > end
           else "but lost its place to items that more sources offer")
    return f"{start}; it ranks best, {best['source_rank']:,}, at {best['source']}, {why}."
