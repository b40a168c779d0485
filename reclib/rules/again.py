"""One customer, decided again from the tables of a run, at the prices that shared limits had that night."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import pandas as pd

from reclib import schema, store
from reclib.allocation.problem import Allocation, positions
from reclib.rules import pairs, register, slates
from reclib.rules.decide import aligned, draft_of, prepare, settle
from reclib.rules.kinds import Rule
from reclib.rules.plan import Case, Plan
from reclib.rules.states import reduced

TOLERANCE = 1e-6


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
        prices: what holds for all customers, see `prices_of`.
        shown: slots of the items that the run shows, by item code.
        cases: prepared so far, by rules and slots.
    """

    ranked: pd.DataFrame
    candidates: pd.DataFrame
    rules: list[Rule]
    world: pairs.World
    policy: str
    k: int
    prices: dict
    shown: dict[int, int]
    cases: dict = field(default_factory=dict, repr=False)

    @property
    def customer(self) -> object:
        """Id of the customer."""
        return self.world.customers["customer_id"].tolist()[0]

    def decide(self, *, ranked: pd.DataFrame | None = None, rules: list[Rule] | None = None, k: int | None = None,
               freed: tuple[str, int] | None = None) -> tuple[Case, Plan]:
        """Decide the customer again, with something changed.

        Args:
            ranked, rules, k: in place of the run's own.
            freed: a rule and an item code: as if the rule did not refuse this pair.
        """
        case = self._case(self.rules if rules is None else rules, self.k if k is None else k)
        if freed is not None and freed[0] in case.refused:
            still = case.refused[freed[0]] & (case.pairs.item != freed[1])
            case = replace(case, refused=case.refused | {freed[0]: still})
        return case, self._planned(case, self.ranked if ranked is None else ranked, self._edge)

    def _case(self, rules: list[Rule], k: int) -> Case:
        key = tuple(rule.id for rule in rules), k
        if key not in self.cases:
            self.cases[key] = prepare(self.ranked, rules, self.world, k=k)
        return self.cases[key]

    def _planned(self, case: Case, ranked: pd.DataFrame, edge: np.ndarray) -> Plan:
        """The best slate at the run's prices of the shared limits, what has an edge worth more by that."""
        draft = draft_of(aligned(ranked, case), case, self.policy, lifted=tuple(self.prices.get("lifted", ())))
        problem = draft.problem
        empty = Allocation(
            position=np.zeros(problem.item.shape, dtype="int16"), value=0.0, bound=0.0, item_prices=self._item_prices,
            row_prices=self.prices.get("rows", {}), rows=pd.DataFrame(columns=["name", "slack"]), fill_rate=0.0, method="prices",
            n_iterations=0)
        taken = reduced(case, replace(draft, found=empty))[0] - edge[case.pairs.item]
        is_shown = slates.greedy(problem.item, problem.value - slates.laid_out(problem, taken), problem.quotas, problem.k) > 0
        return settle(case, draft, replace(empty, position=positions(problem, is_shown)))

    @cached_property
    def _item_prices(self) -> np.ndarray:
        return self.world.items["item_id"].astype("str").map(self.prices.get("items", {})).fillna(0.0).to_numpy("float64")

    @cached_property
    def _edge(self) -> np.ndarray:
        """By item, the least that makes the slate of the run the best one at its prices; 0 where it is that already.

        Units are whole and prices are not: some customers have a slate that is a little worse than the best one at the prices.
        All of them together lose no more than the gap, so a larger loss is no edge, and the slate is not reproduced.
        """
        edge, case = np.zeros(len(self.world.items)), self._case(self.rules, self.k)
        plan = self._planned(case, self.ranked, edge)
        item, net, best = case.pairs.item, plan.score - reduced(case, plan)[0], plan.position > 0
        own = np.isin(item, list(self.shown))
        extra = best & ~own
        if (own == best).all() or not net[best].sum() - net[own].sum() <= self.prices.get("gap", 0.0) + TOLERANCE:
            return edge
        edge[item[own]] = np.max(net[extra], initial=0.0) - np.min(net[own], initial=0.0) + TOLERANCE
        if own.sum() < case.k:
            edge[item[extra]] = -net[extra]
        return edge


@dataclass(frozen=True)
class Pair:
    """A pair of the customer on a desk, as the customer was decided.

    Attributes:
        desk: the customer.
        case, plan: as the desk decided.
        item, code: the item, by id and by code.
        row: of the pair in the case; -1 where it was not ranked.
    """

    desk: Desk
    case: Case
    plan: Plan
    item: object
    code: int
    row: int


def look(desk: Desk, item: object) -> Pair:
    """Decide the customer, and find an item of the catalogue in what was decided."""
    code = int(desk.world.code_items(pd.Series([item]))[0])
    case, plan = desk.decide()
    at = np.flatnonzero((case.pairs.item == code) & plan.is_ranked)
    return Pair(desk, case, plan, item.item() if isinstance(item, np.generic) else item, code, int(at[0]) if len(at) else -1)


def open_desk(customer: object, *, run: str, policy: str, items: pd.DataFrame, facts: dict) -> Desk:
    """Read one customer's rows of a run.

    Args:
        customer: as the run names it.
        run: run whose tables are read.
        policy: whose slates.
        items: the `items` table.
        facts: of the rules, see `tables.facts`.
    """
    source, pair = store.read_facts("source", run=run), ["customer_id", "item_id"]
    mine, ours = {"customer_id": customer}, {"customer_id": customer, "policy": policy}
    ranked = store.read("ranked", run=run, where=ours, columns=["policy", *pair, "p_response", "value", "priority", "rank"])
    events = store.read("events", run=run, where=mine, columns=["occurred_at", *pair, "event_type"])
    offered = store.read("candidates", run=run, where=mine, columns=[*pair, "source", "source_rank", "source_score"])
    people = store.read("customers", run=run, where=mine) if store.has("customers", run=run) else None
    shown = store.read("decisions", run=run, where=ours, columns=["policy", *pair, "position"]).dropna(subset="position")
    world = pairs.build(items, people, events, as_of=schema.end_of_day(source["as_of"]), customer_ids=pd.Series([customer]),
                        candidates=offered, everyone=facts.get("everyone"), event_types=facts.get("event_types"),
                        channel=facts.get("channel", pairs.HOME), delivered_at=facts.get("delivered_at"))
    if facts.get("buyers_share"):
        world.memory["buyers_share"] = world.items["item_id"].astype("str").map(facts["buyers_share"]), "item"
    return Desk(ranked, offered, register.from_records(facts["register"]), world, policy, facts["k"],
                facts.get("prices", {}).get(policy, {}), slots(world.code_items(shown["item_id"]), shown["position"].astype(int)))


def desk_of(case: Case, plan: Plan, customer: int, ranked: pd.DataFrame, candidates: pd.DataFrame) -> Desk:
    """Put one customer of a decided case on the desk.

    Args:
        case, plan: what was decided for all.
        customer: code in the case.
        ranked: the customer's rows, of the plan's policy.
        candidates: the customer's rows.
    """
    own = case.pairs.customer == customer
    return Desk(ranked, candidates, case.rules, _narrowed(case.world, customer), plan.policy, case.k, prices_of(case, plan),
                slots(case.pairs.item[own], plan.position[own]))


def slots(items: np.ndarray, positions: np.ndarray) -> dict[int, int]:
    """Slots of what one customer is shown, by item code."""
    return {int(item): int(slot) for item, slot in zip(items, positions) if slot > 0}


def prices_of(case: Case, plan: Plan) -> dict:
    """What a customer who is decided again takes from the others.

    Returns:
        `items` (by id as text) and `rows`: prices of shared limits, where they have one; `gap`: how much more other slates could
        be worth in all; `lifted`: rules that yielded for everybody.
    """
    items = np.flatnonzero(plan.found.item_prices > 0)
    ids = case.world.items["item_id"].astype("str").take(items)
    return {"items": dict(zip(ids, plan.found.item_prices[items].round(9).tolist())),
            "rows": {name: round(float(price), 9) for name, price in plan.found.row_prices.items() if price > 0},
            "gap": round(max(plan.found.bound - plan.found.value, 0.0), 6), "lifted": list(plan.lifted)}


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
