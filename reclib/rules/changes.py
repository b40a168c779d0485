"""The closed list of single changes that might have shown an item, each tried by deciding the customer again."""

from __future__ import annotations

import numpy as np

from reclib.rules import filters, register
from reclib.rules.again import Desk, Pair
from reclib.rules.kinds import FrequencyCap, MarginFloor, Pin, QuietHours, Rule, Stock
from reclib.rules.plan import Case, Plan

BOOST_UP_TO = 10.0
LARGE_BOOST = 2.0
_BOUNDS = {">=": "at least", "<": "below"}


def try_all(pair: Pair) -> list[dict]:
    """Try the closed list of single changes, smallest first, each by deciding again."""
    pin = _tried_pin(pair)
    if pair.row < 0:
        return [pin]
    if pair.plan.first[pair.row] >= 0:
        return [*_tried_rules(pair), pin]
    boost = _tried_boost(pair)
    others = [*_tried_lift(pair), _tried_slot(pair), pin]
    return [*others, boost] if (boost["size"] or np.inf) > LARGE_BOOST else [boost, *others]


def _tried_rules(pair: Pair) -> list[dict]:
    """The one rule that refuses the pair, met or lifted; nothing single helps where several do."""
    rules = refusing(pair)
    if len(rules) > 1:
        return []
    kind, words = _words(rules[0], pair)
    return [_change(kind, words, rules[0].id, shows(pair.desk.decide(freed=(rules[0].id, pair.code)), pair.code))]


def refusing(pair: Pair) -> list[Rule]:
    """Rules that refuse a ranked pair; those that yielded for everybody do not."""
    refused, lifted = pair.case.refused, pair.plan.lifted
    return [rule for rule in pair.case.live(pair.plan.policy)
            if rule.id in refused and rule.id not in lifted and refused[rule.id][pair.row]]


def _words(rule: Rule, pair: Pair) -> tuple[str, str]:
    met = filters.met(rule, pair.case.pairs, pair.row)
    now = met.split(",")[0].split(" = ")[-1]
    if isinstance(rule, (Stock, MarginFloor, FrequencyCap)):
        asked = filters.threshold(rule)
        return "meet the rule", f"{asked.field} were {_BOUNDS[asked.op]} {asked.value:g} (now {now})"
    if isinstance(rule, QuietHours):
        return "meet the rule", f"the slates went out between {rule.end} and {rule.start} of the customer's clock (now {now})"
    return "lift the rule", f"rule {rule.id} did not refuse it ({met})"


def _tried_boost(pair: Pair) -> dict:
    """The smallest boost, in hundredths, that shows the item, by halving."""
    if pair.plan.priority[pair.row] <= 0 or not shows(boosted(pair.desk, pair.item, BOOST_UP_TO), pair.code):
        return _change("boost", f"its priority were boosted more than {BOOST_UP_TO:g} times", None, False)
    low, high = 100, int(100 * BOOST_UP_TO)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if shows(boosted(pair.desk, pair.item, middle / 100), pair.code) else (middle, high)
    return _change("boost", f"its priority were boosted {high / 100:.2f} times", high / 100, True)


def boosted(desk: Desk, item: object, times: float) -> tuple[Case, Plan]:
    """Decide the customer again with the priority of an item boosted."""
    is_it = desk.ranked["item_id"] == item
    return desk.decide(ranked=desk.ranked.assign(priority=desk.ranked["priority"].where(~is_it, desk.ranked["priority"] * times)))


def _tried_lift(pair: Pair) -> list[dict]:
    """The rule of the slate that held the pair back, lifted for this customer."""
    blame = int(pair.plan.blame[pair.row])
    if blame < 0 or pair.case.rules[blame].kind not in ("slate_quota", "diversity"):
        return []
    rule_id = pair.case.rules[blame].id
    decided = pair.desk.decide(rules=[rule for rule in pair.desk.rules if rule.id != rule_id])
    return [_change("lift the rule", f"rule {rule_id} were lifted for this customer", rule_id, shows(decided, pair.code))]


def _tried_slot(pair: Pair) -> dict:
    k = pair.desk.k
    return _change("one more slot", f"the slate had {k + 1} slots instead of {k}", 1, shows(pair.desk.decide(k=k + 1), pair.code))


def _tried_pin(pair: Pair) -> dict:
    pin = Pin(kind="pin", id=f"trial pin of {pair.item}", owner="trace", reason="tried", item_id=pair.item, position=1)
    rules = register.in_order([*pair.desk.rules, pin])
    return _change("pin", f"item {pair.item} were pinned", 1, shows(pair.desk.decide(rules=rules), pair.code))


def _change(kind: str, sentence: str, size: object, is_verified: bool) -> dict:
    return {"kind": kind, "sentence": sentence, "size": size, "is_verified": bool(is_verified)}


def shows(decided: tuple[Case, Plan], code: int) -> bool:
    """Whether a decision shows the item of a code."""
    case, plan = decided
    return bool((plan.position[case.pairs.item == code] > 0).any())
