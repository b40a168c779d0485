"""The closed list of single changes that might have shown an item, each tried by deciding the customer again."""

from __future__ import annotations

import numpy as np

from reclib.rules import filters, register
from reclib.rules.again import Desk
from reclib.rules.kinds import FrequencyCap, MarginFloor, Pin, QuietHours, Rule, Stock
from reclib.rules.plan import Case, Plan

BOOST_UP_TO = 10.0
_BOUNDS = {">=": "at least", "<": "below"}


def try_all(desk: Desk, case: Case, plan: Plan, row: int, code: int, item: object) -> list[dict]:
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
                                 shows(desk.decide(rules=without), code)))
    tried.append(_change("one more slot", f"the slate had {desk.k + 1} slots instead of {desk.k}", 1,
                         shows(desk.decide(k=desk.k + 1), code)))
    tried.append(_tried_pin(desk, code, item))
    return sorted(tried, key=lambda one: one["kind"] == "boost" and (one["size"] or 99) > 2)


def _tried_rules(desk: Desk, case: Case, plan: Plan, row: int, code: int) -> list[dict]:
    refusing = [rule for rule in case.live(plan.policy) if rule.id in case.refused and case.refused[rule.id][row]]
    if len(refusing) > 1:
        return []
    rule = refusing[0]
    kind, words = _words(rule, case, row)
    return [_change(kind, words, rule.id, shows(desk.decide(freed=(rule.id, code)), code))]


def _words(rule: Rule, case: Case, row: int) -> tuple[str, str]:
    met = filters.met(rule, case.pairs, row)
    now = met.split(",")[0].split(" = ")[-1]
    if isinstance(rule, (Stock, MarginFloor, FrequencyCap)):
        asked = filters.threshold(rule)
        return "meet the rule", f"{asked.field} were {_BOUNDS[asked.op]} {asked.value:g} (now {now})"
    if isinstance(rule, QuietHours):
        return "meet the rule", f"the slates went out between {rule.end} and {rule.start} of the customer's clock (now {now})"
    return "lift the rule", f"rule {rule.id} did not refuse it ({met})"


def _tried_boost(desk: Desk, code: int, item: object, plan: Plan, row: int) -> dict:
    """The smallest boost, in hundredths, that shows the item, by halving."""
    if plan.priority[row] <= 0 or not shows(boosted(desk, item, BOOST_UP_TO), code):
        return _change("boost", f"its priority were boosted more than {BOOST_UP_TO:g} times", None, False)
    low, high = 100, int(100 * BOOST_UP_TO)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if shows(boosted(desk, item, middle / 100), code) else (middle, high)
    return _change("boost", f"its priority were boosted {high / 100:.2f} times", high / 100, True)


def boosted(desk: Desk, item: object, times: float) -> tuple[Case, Plan]:
    """Decide the customer again with the priority of an item boosted."""
    is_it = desk.ranked["item_id"] == item
    return desk.decide(ranked=desk.ranked.assign(priority=desk.ranked["priority"].where(~is_it, desk.ranked["priority"] * times)))


def _tried_pin(desk: Desk, code: int, item: object) -> dict:
    plain = item.item() if isinstance(item, np.generic) else item
    pin = Pin(kind="pin", id=f"trial pin of {plain}", owner="trace", reason="tried", item_id=plain, position=1)
    return _change("pin", f"item {item} were pinned", 1, shows(desk.decide(rules=register.in_order([*desk.rules, pin])), code))


def _change(kind: str, sentence: str, size: object, is_verified: bool) -> dict:
    return {"kind": kind, "sentence": sentence, "size": size, "is_verified": bool(is_verified)}


def shows(decided: tuple[Case, Plan], code: int) -> bool:
    """Whether a decision shows the item of a code."""
    case, plan = decided
    return bool((plan.position[case.pairs.item == code] > 0).any())
