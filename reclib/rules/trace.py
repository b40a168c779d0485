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

from reclib import schema, store
from reclib.allocation.problem import Allocation
from reclib.report import number
from reclib.rules import filters, pairs, register, slates
from reclib.rules.decide import aligned, draft_of, prepare, settle
from reclib.rules.kinds import FrequencyCap, MarginFloor, Pin, Rule, Stock
from reclib.rules.plan import Case, Plan
from reclib.rules.states import reduced

STATES = ("not_in_catalogue", "unknown_customer", "not_retrieved", "filtered", "capped", "below_cut", "lost_to_allocation", "shown")
CHANGES = ("meet the rule", "lift the rule", "boost", "one more slot", "pin")
BOOST_UP_TO = 10.0


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


@dataclass(frozen=True)
class Desk:
    """One customer, ready to be decided again.

    Attributes:
        ranked: the customer's rows of `ranked`, of one policy.
        candidates: the customer's rows of `candidates`.
        rules: the register.
        world: what rules may know.
        policy: whose slates.
        k: slots.
        prices: of the run's shared limits: items (by id as text) and rows.
        memory: cases prepared so far, by rules and slots.
    """

    ranked: pd.DataFrame
    candidates: pd.DataFrame
    rules: list[Rule]
    world: pairs.World
    policy: str
    k: int
    prices: dict
    memory: dict = field(default_factory=dict, repr=False)

    def decide(self, *, ranked: pd.DataFrame | None = None, rules: list[Rule] | None = None, k: int | None = None,
               freed: tuple[str, int] | None = None) -> tuple[Case, Plan]:
        """Decide the customer again, with something changed.

        Args:
            ranked, rules, k: in place of the run's own.
            freed: a rule and an item code: as if the rule did not refuse this pair.
        """
        rows, asked = self.ranked if ranked is None else ranked, self.rules if rules is None else rules
        key = tuple(rule.id for rule in asked), self.k if k is None else k
        if key not in self.memory:
            self.memory[key] = prepare(self.ranked, asked, self.world, k=key[1])
        case = self.memory[key]
        if freed is not None and freed[0] in case.refused:
            open_ = case.refused[freed[0]] & (case.pairs.item != freed[1])
            case = replace(case, refused=case.refused | {freed[0]: open_})
        draft = draft_of(aligned(rows, case), case, self.policy)
        return case, settle(case, draft, _at_prices(draft, case, self))


def why(customer_id: object, item_id: object, *, run: str = store.LATEST, policy: str | None = None,
        ranks: Callable[[object, object, str], list[dict]] | None = None) -> Answer:
    """Trace any pair of a customer and an item through the layers of a run.

    Args:
        customer_id, item_id: as the run names them; texts match whole-number ids.
        run: run whose tables are read.
        policy: whose slates; the run's main policy where missing.
        ranks: tells of a customer, an item and a run where each source ranks the item, best first (source, source_rank);
            asked only of pairs that no source offered.

    Raises:
        FileNotFoundError: the run lacks a table; the sentence says which notebook writes it.
    """
    facts = store.read_facts("rules", run=run)
    items = store.read("items", run=run)
    policy = policy or facts.get("policy", "value")
    item = _as_id(item_id, items["item_id"])
    if item is None:
        return Answer(customer_id, item_id, policy, "not_in_catalogue", f"The catalogue has no item {item_id}.")
    customer = _as_id(customer_id, store.read("decisions", run=run, columns=["customer_id"])["customer_id"])
    if customer is None:
        return Answer(customer_id, item, policy, "unknown_customer", f"Nothing was decided for customer {customer_id} in this run.")
    own = store.read("decisions", run=run, columns=["policy", "customer_id", "item_id", "position"],
                     where={"customer_id": customer, "policy": policy})
    desk = open_desk(customer, run=run, policy=policy, items=items, facts=facts)
    is_offered = (desk.candidates["item_id"] == item).any()
    return explain(desk, customer, item, published=own, beyond=[] if is_offered or ranks is None else ranks(customer, item, run))


def open_desk(customer: object, *, run: str, policy: str, items: pd.DataFrame, facts: dict) -> Desk:
    """Read one customer's rows of a run."""
    source = store.read_facts("source", run=run)
    mine = {"customer_id": customer}
    ranked = store.read("ranked", run=run, where=mine | {"policy": policy},
                        columns=["policy", "customer_id", "item_id", "p_response", "value", "priority", "rank"])
    events = store.read("events", run=run, columns=["occurred_at", "customer_id", "item_id", "event_type"], where=mine)
    offered = store.read("candidates", run=run, where=mine,
                         columns=["customer_id", "item_id", "source", "source_rank", "source_score"])
    people = store.read("customers", run=run, where=mine) if store.has("customers", run=run) else None
    world = pairs.build(items, people, events, as_of=schema.end_of_day(source["as_of"]), customer_ids=pd.Series([customer]),
                        candidates=offered, everyone=facts.get("everyone"), event_types=facts.get("event_types"),
                        channel=facts.get("channel", pairs.HOME), delivered_at=facts.get("delivered_at"))
    if facts.get("buyers_share"):
        world.memory["buyers_share"] = world.items["item_id"].astype("str").map(facts["buyers_share"]), "item"
    return Desk(ranked, offered, register.from_records(facts["register"]), world, policy, facts["k"],
                facts.get("prices", {}).get(policy, {}))


def explain(desk: Desk, customer: object, item: object, *, published: pd.DataFrame | None = None,
            beyond: list[dict] | None = None) -> Answer:
    """Trace one pair of a customer that is on the desk.

    Args:
        desk: the customer.
        customer, item: the pair.
        published: the customer's rows of `decisions`, to be held against.
        beyond: where sources rank an item that they did not offer, best first.
    """
    code = int(desk.world.code_items(pd.Series([item]))[0])
    case, plan = desk.decide()
    at = np.flatnonzero(case.pairs.item == code)
    row = int(at[0]) if len(at) and plan.is_ranked[at[0]] else -1
    layers = _layers(desk, case, plan, row, item) | ({"beyond the lists": beyond} if beyond else {})
    answer = _ended(desk, case, plan, row, customer, item, layers)
    if published is not None:
        answer = replace(answer, is_reproduced=_same_slate(case, plan, published))
    if answer.state == "shown":
        return answer
    tried = _try_all(desk, case, plan, row, code, item)
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


def desk_of(case: Case, plan: Plan, customer: int, ranked: pd.DataFrame, candidates: pd.DataFrame) -> Desk:
    """Put one customer of a decided case on the desk.

    Args:
        case, plan: what was decided for all.
        customer: code in the case.
        ranked: the customer's rows, of the plan's policy.
        candidates: the customer's rows.
    """
    return Desk(ranked, candidates, case.rules, _narrowed(case.world, customer), plan.policy, case.k, _prices_of(case, plan))


def examples(case: Case, plan: Plan, ranked: pd.DataFrame, candidates: pd.DataFrame) -> pd.DataFrame:
    """One pair for each state that occurs, traced: the customer with most different states, the best rank of each.

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
        told = explain(desk, customer, item)
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


def _at_prices(draft: Plan, case: Case, desk: Desk) -> Allocation:
    """The customer's best slate at the run's prices of the shared limits."""
    if "item prices" not in desk.memory:
        found = desk.world.items["item_id"].astype("str").map(desk.prices.get("items", {}))
        desk.memory["item prices"] = found.fillna(0.0).to_numpy("float64")
    empty = Allocation(position=np.zeros(draft.problem.item.shape, dtype="int16"), value=0.0, bound=0.0,
                       item_prices=desk.memory["item prices"], row_prices=desk.prices.get("rows", {}), rows=pd.DataFrame(columns=["name", "slack"]), fill_rate=0.0,
                       method="prices", n_iterations=0)
    taken, _ = reduced(case, replace(draft, found=empty))
    problem = draft.problem
    position = slates.greedy(problem.item, problem.value - slates.laid_out(problem, taken), problem.quotas, problem.k)
    return replace(empty, position=position)


def _prices_of(case: Case, plan: Plan) -> dict:
    ids = case.world.items["item_id"].astype("str")
    return {"items": dict(zip(ids, plan.found.item_prices.tolist())), "rows": dict(plan.found.row_prices)}


def _narrowed(world: pairs.World, customer: int) -> pairs.World:
    """The world of one customer, with what was worked out for it."""
    events = world.events[world.events["customer_code"] == customer].assign(customer_code=0)
    memory = {name: world.memory[name] for name in ("everyone", "buyers_share") if name in world.memory}
    if "is_personal" in world.memory:
        keys, values, empty = world.memory["is_personal"]
        mine = keys // len(world.items) == customer
        memory["is_personal"] = keys[mine] - customer * len(world.items), values[mine], empty
    return replace(world, customers=world.customers.iloc[[customer]].reset_index(drop=True), events=events.reset_index(drop=True),
                   memory=memory)


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
    layers["rules"] = [{"rule_id": rule.id, "kind": rule.kind, "reason": rule.reason, "met": _met(rule, case, row)}
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
    why = f"whose offers end at rank {end}" if best["source_rank"] > end else "but lost its place to items that more sources offer"
    return f"{start}; it ranks best, {best['source_rank']:,}, at {best['source']}, {why}."


def _try_all(desk: Desk, case: Case, plan: Plan, row: int, code: int, item: object) -> list[dict]:
    """Try the closed list of single changes, smallest first, each by deciding again."""
    if row < 0:
        return [_tried_pin(desk, code, item)]
    if plan.first[row] >= 0:
        return [*_tried_rules(desk, case, plan, row, code), _tried_pin(desk, code, item)]
    tried = [_tried_boost(desk, code, item, plan, row)]
    if plan.blame[row] >= 0:
        rule = case.rules[int(plan.blame[row])]
        without = [other for other in desk.rules if other.id != rule.id]
        if rule.kind in ("slate_quota", "diversity"):
            tried.append(_change("lift the rule", f"rule {rule.id} were lifted for this customer", rule.id,
                                 _shows(desk.decide(rules=without), code)))
    tried.append(_change("one more slot", f"the slate had {desk.k + 1} slots instead of {desk.k}", 1,
                         _shows(desk.decide(k=desk.k + 1), code)))
    tried.append(_tried_pin(desk, code, item))
    return sorted(tried, key=lambda one: one["kind"] == "boost" and (one["size"] or 99) > 2)


def _tried_rules(desk: Desk, case: Case, plan: Plan, row: int, code: int) -> list[dict]:
    refusing = [rule for rule in case.live(plan.policy) if rule.id in case.refused and case.refused[rule.id][row]]
    if len(refusing) > 1:
        return []
    rule = refusing[0]
    kind, words = _threshold_words(rule, case, row)
    return [_change(kind, words, rule.id, _shows(desk.decide(freed=(rule.id, code)), code))]


def _met(rule: Rule, case: Case, row: int) -> str:
    return filters.detail(rule, case.pairs.take(np.array([row]))).iloc[0]


def _threshold_words(rule: Rule, case: Case, row: int) -> tuple[str, str]:
    met = _met(rule, case, row)
    if isinstance(rule, Stock):
        return "meet the rule", f"{rule.field} were at least {rule.min:g} (now {met.split(' = ')[-1]})"
    if isinstance(rule, MarginFloor):
        return "meet the rule", f"margin_rate were at least {rule.min:g} (now {met.split(' = ')[-1]})"
    if isinstance(rule, FrequencyCap):
        return "meet the rule", f"{rule.counter} were below {rule.max:g} (now {met.split(',')[0].split(' = ')[-1]})"
    return "lift the rule", f"rule {rule.id} did not refuse it ({met})"


def _tried_boost(desk: Desk, code: int, item: object, plan: Plan, row: int) -> dict:
    """The smallest boost that shows the item, to a hundredth, by halving."""
    if plan.priority[row] <= 0 or not _shows(_boosted(desk, item, BOOST_UP_TO), code):
        return _change("boost", f"its priority were boosted more than {BOOST_UP_TO:g} times", None, False)
    low, high = 1.0, BOOST_UP_TO
    while high - low > 0.005 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if _shows(_boosted(desk, item, middle), code) else (middle, high)
    size = float(np.ceil(high * 100) / 100)
    return _change("boost", f"its priority were boosted {size:.2f} times", size, _shows(_boosted(desk, item, size), code))


def _boosted(desk: Desk, item: object, times: float) -> tuple[Case, Plan]:
    is_it = desk.ranked["item_id"] == item
    return desk.decide(ranked=desk.ranked.assign(priority=desk.ranked["priority"].where(~is_it, desk.ranked["priority"] * times)))


def _tried_pin(desk: Desk, code: int, item: object) -> dict:
    plain = item.item() if isinstance(item, np.generic) else item
    pin = Pin(kind="pin", id=f"trial pin of {plain}", owner="trace", reason="tried", item_id=plain, position=1)
    return _change("pin", f"item {item} were pinned", 1, _shows(desk.decide(rules=register.in_order([*desk.rules, pin])), code))


def _change(kind: str, sentence: str, size: object, is_verified: bool) -> dict:
    return {"kind": kind, "sentence": sentence, "size": size, "is_verified": bool(is_verified)}


def _shows(decided: tuple[Case, Plan], code: int) -> bool:
    case, plan = decided
    return bool((plan.position[case.pairs.item == code] > 0).any())


def _same_slate(case: Case, plan: Plan, published: pd.DataFrame) -> bool:
    mine = set(case.world.items["item_id"].take(case.pairs.item[plan.position > 0]))
    return mine == set(published.loc[published["position"].notna(), "item_id"])
