"""What the rules hand over beside their tables: which policy counts, in which unit, and the facts of the run."""

from __future__ import annotations

import numpy as np
import pandas as pd

from reclib.rules import register
from reclib.rules.again import prices_of
from reclib.rules.fields import level
from reclib.rules.plan import Case, Plan
from reclib.rules.pricelist import would
from reclib.rules.prices import Priced

MAIN, CONTROL = "value", "popular"
BASES = {"": "", "shown": " (of what is shown)", "slots": " (of all slots)"}


def main_policy(plans: dict[str, Plan]) -> str:
    """The policy that the page is about: `value`, else the last by name."""
    return MAIN if MAIN in plans else max(plans)


def control_policy(plans: dict[str, Plan]) -> str:
    """The policy that it is held against: `popular`, else the first by name."""
    return CONTROL if CONTROL in plans else min(plans)


def units(ranking: dict, source: dict) -> dict[str, str]:
    """The unit of each policy's priority, such as `EUR of margin`.

    Args:
        ranking: facts of the ranking; `basis` is margin, price or response.
        source: facts of the source; `currency` may be missing.
    """
    basis, currency = ranking.get("basis", "response"), source.get("currency")
    money = "responses" if basis == "response" else f"{currency or 'money'} of {'margin' if basis == 'margin' else 'sales'}"
    return {"value": money, "relevance": "responses", "popular": "past responses"}


def shared_limits(case: Case, plans: dict[str, Plan]) -> pd.DataFrame:
    """How each policy stands to what customers share.

    Returns:
        One row a policy: policy, method, gap (percent), fill_rate, n_stock_bound (items whose stock is all claimed),
        dearest_item, its price, and the coupled rules that bind, a share with what it is a share of.
    """
    rows = []
    for plan in plans.values():
        prices = plan.found.item_prices
        used = np.bincount(case.pairs.item[plan.position > 0], minlength=len(prices))
        stock = np.floor(plan.problem.stock)
        dearest = int(prices.argmax()) if len(prices) and prices.max() > 0 else -1
        binding = [row.name + BASES[row.basis] for row in plan.found.rows.itertuples() if row.price > 0]
        rows.append({"policy": plan.policy, "method": plan.found.method, "gap_percent": round(100 * plan.found.gap, 4),
                     "fill_rate": plan.found.fill_rate,
                     "n_stock_bound": int((np.isfinite(stock) & (stock > 0) & (used >= stock)).sum()),
                     "dearest_item": "" if dearest < 0 else str(case.world.items["item_id"].iloc[dearest]),
                     "its_price": float(prices.max(initial=0.0)), "binding_rules": ", ".join(binding)})
    return pd.DataFrame(rows)


def shadows(case: Case, plan: Plan) -> pd.DataFrame:
    """Rules in shadow and what each would do."""
    rows = [{"rule_id": rule.id, "kind": rule.kind, "reason": rule.reason, "would": would(case, plan, rule)}
            for rule in case.rules if rule.status == "shadow"]
    return pd.DataFrame(rows, columns=["rule_id", "kind", "reason", "would"])


def facts(case: Case, plans: dict[str, Plan], priced: Priced, source: dict, unit: dict[str, str]) -> dict:
    """The facts "rules" of a run: register, prices of shared limits, interaction, what yielded, fill and gap.

    The register and the prices are what `trace.why` needs to decide a customer again.
    """
    main = plans[main_policy(plans)]
    return {
        "register": register.records(case.rules), "version": register.version(case.rules), "skipped": case.skipped,
        "k": case.k, "policy": main.policy, "control": control_policy(plans), "currency": source.get("currency"),
        "units": unit, "unit": unit.get(main.policy, "points"), "total_price": priced.total,
        "interaction": priced.interaction, "n_price_sample": priced.n_customers, "value": main.value,
        "bound": round(main.found.bound, 6), "gap": round(main.found.gap, 8), "fill_rate": round(main.found.fill_rate, 6),
        "n_slots": len(case.world.customers) * case.k, "n_shown": int((main.position > 0).sum()),
        "relaxed": {name: plan.relaxed | dict.fromkeys(plan.found.relaxed, len(case.world.customers))
                    for name, plan in plans.items()},
        "prices": {name: prices_of(case, plan) for name, plan in plans.items()},
        "everyone": case.world.memory.get("everyone", []), "event_types": list(case.world.event_types),
        "channel": case.world.channel, "delivered_at": str(case.world.delivered_at),
        "is_split": source.get("is_split"), "buyers_share": _buyers_share(case),
        "decided_for": "each policy is decided for all customers with the whole stock and budget",
    }


def _buyers_share(case: Case) -> dict[str, float]:
    """What a trace cannot work out from one customer's events, where a rule asks for it."""
    if not any("buyers_share" in rule.needs for rule in case.rules):
        return {}
    return dict(zip(case.world.items["item_id"].astype("str"), level(case.world, "buyers_share")[0].tolist()))
