"""What each rule costs, in the unit of the policy: the price list of the rules.

    drop_one   V(all rules but r) - V(all rules): what lifting r alone would gain today
    first_in   V(no rules) - V(r alone): what r alone would cost
    total      V(no rules) - V(all rules); what the drop-ones leave of it is the interaction, and it is printed

All are differences on one common sample of customers, so sampling noise mostly cancels. Filters, quotas and shared limits
are priced by certified bounds from warm prices; boosts, diversity and pins, which bend the score itself, by what the
slates found are worth before they bend it. A price below its `resolution` is not told apart from nothing. The value is
the model's, for tonight: a rule that keeps trust or stock for tomorrow looks dearer here than it is. Where the truth is
known, the slates of `lifted` can be lived, and the true price stands beside the predicted one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from reclib.allocation.pricing import PriceList
from reclib.allocation.pricing import price_rules as price_variants
from reclib.allocation.problem import Problem
from reclib.rules.decide import aligned, allocate, draft_of, placed
from reclib.rules.kinds import Boost, Rule, Stock
from reclib.rules.outcomes import reasons, slates
from reclib.rules.plan import Case, Plan, sample
from reclib.rules.slates import laid_out

ALL_LIFTED = "all rules lifted"
LAST = 1_000_000


@dataclass(frozen=True)
class Priced:
    """Prices of one policy's rules.

    Attributes:
        table: rule_id, drop_one_value, first_in_value, resolution; for all customers.
        total: value of all rules lifted at once.
        interaction: what the drop-ones leave of it.
        n_customers: customers of the sample.
    """

    table: pd.DataFrame
    total: float
    interaction: float
    n_customers: int


def price_rules(ranked: pd.DataFrame, case: Case, plan: Plan, *, n_sample: int = 2000, seed: int = 0) -> Priced:
    """Price every live rule of a policy by lifting it alone, and by holding it alone.

    A rule that the plan weighs nothing by costs exactly nothing, and is not searched for.

    Args:
        ranked: the `ranked` table.
        case: made by `decide.prepare`.
        plan: of the policy whose rules are priced.
        n_sample: customers of the common sample; limits are scaled by its share.
        seed: random seed of the sample.
    """
    bench = _bench(ranked, case, plan, n_sample, seed)
    levers = [rule for rule in bench.live if rule.is_lever]
    plain = [rule for rule in bench.live if not rule.is_lever]
    lifted = price_variants(
        bench.problem(bench.live), {rule.id: bench.problem(bench.without(rule)) for rule in plain if rule.id in bench.felt}
        | {ALL_LIFTED: bench.problem(levers)}, seed=seed)
    alone = price_variants(
        bench.problem(levers), {rule.id: bench.problem([*levers, rule]) for rule in plain
                                if rule.id in bench.felt or rule.id not in case.refused or rule.scope == "all"}, seed=seed)
    table = _priced_plain([rule.id for rule in plain], lifted, alone, bench.grown)
    bent = _priced_levers(bench, levers)
    table = pd.concat([table, bent], ignore_index=True) if len(bent) else table
    total = bench.grown * float(lifted.table.set_index("variant").at[ALL_LIFTED, "change"])
    total = round(total + float(bent["drop_one_value"].sum()), 4)
    return Priced(table, total, round(total - float(table["drop_one_value"].sum()), 4), len(bench.rows))


@dataclass(frozen=True)
class _Bench:
    """A sample of customers on which rules are put on and off."""

    case: Case
    plan: Plan
    columns: dict[str, np.ndarray]
    rows: np.ndarray
    live: list[Rule]
    felt: set[str]
    grown: float

    def without(self, rule: Rule) -> list[Rule]:
        return [other for other in self.live if other.id != rule.id]

    def draft(self, rules: list[Rule]) -> Plan:
        return draft_of(self.columns, replace(self.case, rules=rules), self.plan.policy, lifted=self.plan.lifted)

    def problem(self, rules: list[Rule]) -> Problem:
        """What the sample allocates; a hard floor that only all customers together can hold yields there, last of all."""
        problem = self.draft(rules).problem.of_customers(self.rows)
        return problem.with_rows(tuple(
            replace(row, is_hard=False, yields=row.yields + LAST * row.is_hard) for row in problem.rows))

    def worth(self, rules: list[Rule]) -> tuple[float, float]:
        """What the slates found are worth by the priority as ranked, and how far they may be from the best."""
        problem = self.problem(rules)
        found = allocate(problem, start=self.plan)
        priority = laid_out(self.case.pairs.frame, self.columns["priority"])[self.rows]
        return float(np.round(priority[found.position > 0], 6).sum()), found.bound - found.value


def _bench(ranked: pd.DataFrame, case: Case, plan: Plan, n_sample: int, seed: int) -> _Bench:
    part, rows = _sample(case, n_sample, seed)
    own = ranked[((ranked["policy"] == plan.policy)
                 & ranked["customer_id"].isin(case.world.customers["customer_id"].to_numpy()[rows])).to_numpy()]
    live = part.live(plan.policy)
    felt = {rule.id for rule in live if _is_felt(case, plan, rule)}
    return _Bench(part, plan, aligned(own, part), rows, live, felt, len(case.world.customers) / max(len(rows), 1))


def _is_felt(case: Case, plan: Plan, rule: Rule) -> bool:
    """Whether the plan weighs anything by a rule, so that lifting it could change a slate."""
    is_refusing = rule.id in case.refused and bool((case.refused[rule.id] & plan.is_ranked).any())
    if is_refusing or rule.id in case.refused and rule.scope != "all":
        return is_refusing
    if isinstance(rule, Boost):
        return bool((case.levers[rule.id] != 1)[plan.is_ranked & (plan.first < 0)].any())
    price = plan.found.item_prices.max(initial=0.0) if isinstance(rule, Stock) else plan.found.row_prices.get(rule.id, 1.0)
    return plan.found.method == "exact" or price > 0


def _priced_plain(ids: list[str], lifted: PriceList, alone: PriceList, grown: float) -> pd.DataFrame:
    gain, cost = (prices.table.set_index("variant")[["change", "resolution"]].reindex(ids).fillna(0.0) for prices in (lifted, alone))
    return _rounded(pd.DataFrame({
        "rule_id": pd.Series(ids, dtype="str"), "drop_one_value": (grown * gain["change"]).to_numpy(),
        "first_in_value": (-grown * cost["change"]).to_numpy(), "resolution": (grown * gain["resolution"]).to_numpy()}))


def _priced_levers(bench: _Bench, levers: list[Rule]) -> pd.DataFrame:
    if not levers:
        return pd.DataFrame(columns=["rule_id", "drop_one_value", "first_in_value", "resolution"])
    base, none = bench.worth(bench.live), bench.worth([])
    rows = []
    for rule in levers:
        if rule.id not in bench.felt:
            rows.append({"rule_id": rule.id} | dict.fromkeys(("drop_one_value", "first_in_value", "resolution"), 0.0))
            continue
        without, alone = bench.worth(bench.without(rule)), bench.worth([rule])
        rows.append({"rule_id": rule.id, "drop_one_value": bench.grown * (without[0] - base[0]),
                     "first_in_value": bench.grown * (none[0] - alone[0]), "resolution": bench.grown * (without[1] + base[1])})
    return _rounded(pd.DataFrame(rows))


def _rounded(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(**{name: table[name].astype("float64").round(4) + 0.0 for name in table.columns[1:]})


def lifted(ranked: pd.DataFrame, case: Case, plan: Plan, *, n_least: int = 50, seed: int = 0) -> dict[str, pd.DataFrame]:
    """Slates of all customers with each live rule lifted alone, and with all lifted at once (`ALL_LIFTED`).

    The search starts from the prices of the plan. Where nothing is weighed by a rule, the slates are the plan's own. A
    rule that alone keeps out some pairs, but fewer than `n_least`, is left out: what changed most would be the search's
    own moves among slates of equal worth.

    Returns:
        rule_id -> slates, as `outcomes.slates` makes them.
    """
    columns, own = aligned(ranked[(ranked["policy"] == plan.policy).to_numpy()], case), slates(case, plan)
    live, alone = case.live(plan.policy), reasons(case, plan).set_index("rule_id")["n_alone"]
    made = {}
    for rule in live:
        if not _is_felt(case, plan, rule):
            made[rule.id] = own
        elif rule.id not in case.refused or alone[rule.id] >= n_least:
            made[rule.id] = _slates_under(case, plan, [other for other in live if other is not rule], columns, seed)
    return made | {ALL_LIFTED: _slates_under(case, plan, [], columns, seed)}


def _slates_under(case: Case, plan: Plan, rules: list[Rule], columns: dict[str, np.ndarray], seed: int) -> pd.DataFrame:
    part = replace(case, rules=rules)
    draft = draft_of(columns, part, plan.policy)
    return slates(part, placed(part, draft, allocate(draft.problem, seed=seed, start=plan)))


def _sample(case: Case, n_sample: int, seed: int) -> tuple[Case, np.ndarray]:
    """The case of a random sample of customers, and their codes."""
    rows = sample(case, n_sample, seed)
    kept = np.isin(case.pairs.customer, rows)
    narrowed = {name: {rule: mark[kept] for rule, mark in getattr(case, name).items()} for name in ("refused", "pins", "levers")}
    return replace(case, pairs=case.pairs.take(kept), **narrowed), rows
