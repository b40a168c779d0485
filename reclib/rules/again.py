"""One customer, decided again from the tables of a run, at the prices that shared limits had that night."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

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
        prices: of the run's shared limits: items (by id as text) and rows, and the gap of the slates that were found.
        shown: slots of the items that the run shows, by item code.
        memory: cases prepared so far, by rules and slots.
    """

    ranked: pd.DataFrame
    candidates: pd.DataFrame
    rules: list[Rule]
    world: pairs.World
    policy: str
    k: int
    prices: dict
    shown: dict[int, int]
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
        if "edge" not in self.memory:
            self.memory["edge"] = np.zeros(len(self.world.items))
            self.memory["edge"] = _edge(self, *self.decide())
        draft = draft_of(aligned(rows, case), case, self.policy)
        return case, settle(case, draft, _at_prices(draft, case, self))


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
    decided = store.read("decisions", run=run, columns=["customer_id", "policy", "item_id", "position"], where=mine | {"policy": policy})
    world = pairs.build(items, people, events, as_of=schema.end_of_day(source["as_of"]), customer_ids=pd.Series([customer]),
                        candidates=offered, everyone=facts.get("everyone"), event_types=facts.get("event_types"),
                        channel=facts.get("channel", pairs.HOME), delivered_at=facts.get("delivered_at"))
    if facts.get("buyers_share"):
        world.memory["buyers_share"] = world.items["item_id"].astype("str").map(facts["buyers_share"]), "item"
    decided = decided.dropna(subset="position")
    shown = dict(zip(world.code_items(decided["item_id"]).tolist(), decided["position"].astype(int).tolist()))
    return Desk(ranked, offered, register.from_records(facts["register"]), world, policy, facts["k"],
                facts.get("prices", {}).get(policy, {}), shown)


def desk_of(case: Case, plan: Plan, customer: int, ranked: pd.DataFrame, candidates: pd.DataFrame) -> Desk:
    """Put one customer of a decided case on the desk.

    Args:
        case, plan: what was decided for all.
        customer: code in the case.
        ranked: the customer's rows, of the plan's policy.
        candidates: the customer's rows.
    """
    mine = np.flatnonzero((case.pairs.customer == customer) & (plan.position > 0))
    shown = dict(zip(case.pairs.item[mine].tolist(), plan.position[mine].tolist()))
    return Desk(ranked, candidates, case.rules, _narrowed(case.world, customer), plan.policy, case.k, prices_of(case, plan),
                shown)


def prices_of(case: Case, plan: Plan) -> dict:
    """What shared limits cost: items (by id as text) and rows that have a price; and what better slates could be worth at most."""
    items = np.flatnonzero(plan.found.item_prices > 0)
    ids = case.world.items["item_id"].astype("str").take(items)
    return {"items": dict(zip(ids, plan.found.item_prices[items].round(9).tolist())),
            "rows": {name: round(float(price), 9) for name, price in plan.found.row_prices.items() if price > 0},
            "gap": round(max(plan.found.bound - plan.found.value, 0.0), 6)}


def _at_prices(draft: Plan, case: Case, desk: Desk) -> Allocation:
    """The customer's best slate at the run's prices of the shared limits."""
    if "item prices" not in desk.memory:
        found = desk.world.items["item_id"].astype("str").map(desk.prices.get("items", {}))
        desk.memory["item prices"] = found.fillna(0.0).to_numpy("float64")
    empty = Allocation(
        position=np.zeros(draft.problem.item.shape, dtype="int16"), value=0.0, bound=0.0, item_prices=desk.memory["item prices"],
        row_prices=desk.prices.get("rows", {}), rows=pd.DataFrame(columns=["name", "slack"]), fill_rate=0.0, method="prices",
        n_iterations=0)
    taken, _ = reduced(case, replace(draft, found=empty))
    problem = draft.problem
    net = problem.value - slates.laid_out(problem, taken - desk.memory["edge"][case.pairs.item])
    return replace(empty, position=positions(problem, slates.greedy(problem.item, net, problem.quotas, problem.k) > 0))


def _edge(desk: Desk, case: Case, plan: Plan) -> np.ndarray:
    """By item, the least that makes the slate of the run the best one at its prices; 0 where it is that already.

    Units are whole and prices are not: some customers have a slate that is a little worse than the best one at the prices.
    All of them together lose no more than the gap, so a larger loss is no edge, and the slate is not reproduced.
    """
    net, item, shown = plan.score - reduced(case, plan)[0], case.pairs.item, plan.position > 0
    was_shown, edge = np.isin(item, list(desk.shown)), desk.memory["edge"]
    lost = net[shown].sum() - net[was_shown].sum()
    if (shown == was_shown).all() or not lost <= desk.prices.get("gap", 0.0) + TOLERANCE:
        return edge
    extra = shown & ~was_shown
    edge[item[was_shown]] = np.max(net[extra], initial=0.0) - np.min(net[was_shown], initial=0.0) + TOLERANCE
    if was_shown.sum() < case.k:
        edge[item[extra]] = -net[extra]
    return edge


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
