"""What is wrong with a register although each rule is well formed: contradictions, redundancy, rules that never act."""

from __future__ import annotations

import difflib

import numpy as np
import pandas as pd

from reclib.rules import filters
from reclib.rules import pairs as fields_of
from reclib.rules.kinds import Boost, Budget, MinExposure, Pin, Rule, SlateQuota, Stock
from reclib.rules.pairs import World
from reclib.rules.plan import Case
from reclib.rules.register import RuleError
from reclib.rules.shared import members

COLUMNS = ["rule_id", "fault", "weight"]


def require(rules: list[Rule], world: World) -> list[Rule]:
    """Return the rules, or raise an error that names every field that the vocabulary does not have.

    A field that a contract knows but this source lacks is no fault: such a rule does not apply. A field that nobody
    knows is a misspelling, and a misspelt safety rule must not pass in silence.

    Raises:
        RuleError: one sentence a fault.
    """
    known = fields_of.known_names(world)
    faults = []
    for rule in rules:
        for name in rule.needs:
            if not fields_of.is_known_name(name, world):
                near = difflib.get_close_matches(name, known, n=3)
                faults.append(f"rule {rule.id!r}: unknown field {name!r}; "
                              f"{'did you mean ' + ', '.join(near) if near else 'known fields: ' + ', '.join(known)}.")
            elif isinstance(rule, (MinExposure, SlateQuota, Budget, Stock)) and _is_of_customers(name, world):
                faults.append(f"rule {rule.id!r}: field {name!r} belongs to customers or pairs; {rule.kind} needs fields of items.")
    if faults:
        raise RuleError("\n".join(faults))
    return rules


def contradictions(rules: list[Rule], case: Case) -> pd.DataFrame:
    """Find rules that contradict one another, never act, or do what another does anyway.

    Returns:
        One row a finding: rule_id, fault (a sentence), weight (`contradiction`, `expired`, `redundant` or `idle`).
    """
    found = [*_expired(rules, case), *_floors(case), *_pins(case), *_boosts(case), *_redundant(case), *_quotas(case)]
    return pd.DataFrame(found, columns=COLUMNS)


def _is_of_customers(name: str, world: World) -> bool:
    if fields_of.fault(world, name) or fields_of.is_pair_level(name):
        return fields_of.is_pair_level(name)
    return fields_of.level(world, name)[1] == "customer"


def _expired(rules: list[Rule], case: Case) -> list[dict]:
    out = [{"rule_id": rule.id, "fault": f"valid_to {rule.valid_to:%Y-%m-%d} is not after valid_from {rule.valid_from:%Y-%m-%d}: "
            "it is never in force", "weight": "contradiction"} for rule in rules
           if rule.valid_from is not None and rule.valid_to is not None and rule.valid_to <= rule.valid_from]
    named = {row["rule_id"] for row in out}
    return out + [{"rule_id": rule.id, "fault": f"expired on {rule.valid_to:%Y-%m-%d}; delete it or renew it", "weight": "expired"}
                  for rule in rules if rule.valid_to is not None and rule.valid_to <= case.world.as_of and rule.id not in named]


def _floors(case: Case) -> list[dict]:
    floors = [rule for rule in case.rules if isinstance(rule, MinExposure) and rule.share and rule.status == "live"]
    found = []
    marks = [members(case.world, rule.when) for rule in floors]
    apart = [place for place, mark in enumerate(marks)
             if not any((mark & other).any() for number, other in enumerate(marks) if number != place)]
    total = sum(floors[place].share for place in apart)
    if total > 1 + 1e-9:
        names = ", ".join(floors[place].id for place in apart)
        found.append({"rule_id": floors[apart[0]].id, "weight": "contradiction",
                      "fault": f"the floors of {names} concern different items and add up to {total:.2f} of all shown, more than one"})
    for rule, mark in zip(floors, marks):
        if not mark.any():
            found.append({"rule_id": rule.id, "weight": "contradiction",
                          "fault": f"asks for a share of {rule.share:g}, but no item is a member"})
    return found


def _pins(case: Case) -> list[dict]:
    found, slots = [], {}
    for rule in case.rules:
        if not isinstance(rule, Pin) or rule.status != "live":
            continue
        mark = case.pins[rule.id]
        open_ = mark.copy()
        names = []
        for other, refused in case.refused.items():
            if next(own for own in case.rules if own.id == other).status == "live":
                names += [other] if (refused & mark).any() and (refused & mark).sum() == mark.sum() else []
                open_ &= ~refused
        if not mark.any():
            found.append({"rule_id": rule.id, "weight": "contradiction",
                          "fault": f"pins item {rule.item_id!r}, which is not in the catalogue or concerns no customer"})
        elif not open_.any():
            by = f"{', '.join(names)} refuse" if names else "the filters together refuse"
            found.append({"rule_id": rule.id, "weight": "contradiction",
                          "fault": f"pins item {rule.item_id!r}, which no customer may see: {by} it for all of them"})
        for other, (slot, seen) in slots.items():
            if slot == rule.position and (seen & _customers(case, mark)).any():
                found.append({"rule_id": rule.id, "weight": "contradiction",
                              "fault": f"wants slot {slot}, which {other} has for the same customers"})
        slots[rule.id] = rule.position, _customers(case, mark)
    return found


def _customers(case: Case, mark: np.ndarray) -> np.ndarray:
    return np.bincount(case.pairs.customer[mark], minlength=len(case.world.customers)) > 0


def _boosts(case: Case) -> list[dict]:
    refused = _refused_by_any(case)
    return [{"rule_id": rule.id, "fault": "boosts only pairs that filters refuse", "weight": "idle"} for rule in case.rules
            if isinstance(rule, Boost) and (case.levers[rule.id] != 1).any() and not ((case.levers[rule.id] != 1) & ~refused).any()]


def _refused_by_any(case: Case) -> np.ndarray:
    live = {rule.id for rule in case.rules if rule.status == "live"}
    own = (mark for name, mark in case.refused.items() if name in live)
    return np.logical_or.reduce([np.zeros(len(case.pairs), dtype=bool), *own])


def _redundant(case: Case) -> list[dict]:
    """Row rules all of whose refusals another live row rule makes too; of two equal ones the later is named."""
    live = [rule for rule in case.rules if filters.is_row_rule(rule) and rule.status == "live" and case.refused[rule.id].any()]
    found = []
    for place, rule in enumerate(live):
        for number, other in enumerate(live):
            if place == number or other.policies is not None and other.policies != rule.policies:
                continue
            mine, theirs = case.refused[rule.id], case.refused[other.id]
            if not (mine & ~theirs).any() and ((theirs & ~mine).any() or number < place):
                found.append({"rule_id": rule.id, "weight": "redundant", "fault": f"refuses only what {other.id} refuses anyway"})
                break
    return found


def _quotas(case: Case) -> list[dict]:
    """Quotas that no slate can reach, or that a tighter one over the same items implies."""
    live = [rule for rule in case.rules if isinstance(rule, SlateQuota) and rule.status == "live"]
    found = [{"rule_id": rule.id, "weight": "idle", "fault": f"allows {rule.max} of a {rule.field}, but a slate has {case.k} slots"}
             for rule in live if rule.max >= case.k]
    return found + [{"rule_id": rule.id, "weight": "redundant", "fault": f"is implied by {other.id}, which allows {other.max}"}
                    for rule in live for other in live if other.id != rule.id and other.field == rule.field and other.max < rule.max
                    and other.when in (None, rule.when) and other.policies in (None, rule.policies)]
