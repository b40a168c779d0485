"""What is wrong with a register although each rule is well formed: contradictions, redundancy, rules that never act."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

import numpy as np
import pandas as pd

from reclib.rules import fields as fields_of
from reclib.rules import filters
from reclib.rules.kinds import Boost, Budget, MinExposure, Pin, Rule, SlateQuota, Stock
from reclib.rules.pairs import World
from reclib.rules.plan import Case
from reclib.rules.register import RuleError
from reclib.rules.shared import members

COLUMNS = ["rule_id", "fault", "weight"]
Finding = tuple[str, str, str]


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
    live = [rule for rule in case.rules if rule.status == "live"]
    refused = np.logical_or.reduce([np.zeros(len(case.pairs), dtype=bool),
                                    *(case.refused[rule.id] for rule in live if rule.id in case.refused)])
    found = [*_expired(rules, case), *_total(case, live), *_floors(case, live, refused), *_pins(case, live, refused),
             *_boosts(case, live, refused), *_redundant(case, live), *_quotas(case, live)]
    return pd.DataFrame(found, columns=COLUMNS)


def _is_of_customers(name: str, world: World) -> bool:
    if fields_of.fault(world, name) or fields_of.is_pair_level(name):
        return fields_of.is_pair_level(name)
    return fields_of.level(world, name)[1] == "customer"


def _meet(rule: Rule, other: Rule) -> bool:
    """Whether some policy is held to both."""
    return rule.policies is None or other.policies is None or bool(set(rule.policies) & set(other.policies))


def _covers(rule: Rule, other: Rule) -> bool:
    """Whether every policy that is held to the first is held to the other too."""
    return other.policies is None or rule.policies is not None and set(rule.policies) <= set(other.policies)


def _expired(rules: list[Rule], case: Case) -> Iterator[Finding]:
    for rule in rules:
        if rule.valid_to is None:
            continue
        if rule.valid_from is not None and rule.valid_to <= rule.valid_from:
            yield (rule.id, f"valid_to {rule.valid_to:%Y-%m-%d} is not after valid_from {rule.valid_from:%Y-%m-%d}: it is never in force",
                   "contradiction")
        elif rule.valid_to <= case.world.as_of:
            yield rule.id, f"expired on {rule.valid_to:%Y-%m-%d}; delete it or renew it", "expired"


def _total(case: Case, live: list[Rule]) -> Iterator[Finding]:
    """Row rules that leave nothing at all, such as a margin floor above the best margin."""
    for rule in live:
        if len(case.pairs) and rule.id in case.refused and case.refused[rule.id].all():
            yield rule.id, f"refuses every pair ({filters.met(rule, case.pairs, 0)})", "contradiction"


def _floors(case: Case, live: list[Rule], refused: np.ndarray) -> Iterator[Finding]:
    floors = [rule for rule in live if isinstance(rule, MinExposure)]
    marks = {rule.id: members(case.world, rule.when) for rule in floors}
    apart: list[MinExposure] = []
    for rule in sorted(floors, key=lambda rule: -(rule.share or 0)):
        if rule.share and all(_meet(rule, other) and not (marks[rule.id] & marks[other.id]).any() for other in apart):
            apart.append(rule)
    total = sum(rule.share for rule in apart)
    if total > 1 + 1e-9:
        names = ", ".join(rule.id for rule in apart)
        yield (apart[0].id, f"the floors of {names} concern different items and add up to {total:.2f} of all shown, more than one",
               "contradiction")
    for rule in floors:
        asked = f"asks for {f'a share of {rule.share:g}' if rule.share else f'{rule.placements:g} placements'}"
        if not marks[rule.id].any():
            yield rule.id, f"{asked}, but no item is a member", "contradiction"
        elif not (marks[rule.id][case.pairs.item] & ~refused).any():
            yield rule.id, f"{asked}, but no customer may see any of its members", "contradiction"


def _pins(case: Case, live: list[Rule], refused: np.ndarray) -> Iterator[Finding]:
    pins = [rule for rule in live if isinstance(rule, Pin)]
    for place, rule in enumerate(pins):
        mark = case.pins[rule.id]
        if not mark.any():
            yield rule.id, f"pins item {rule.item_id!r}, which is not in the catalogue or concerns no customer", "contradiction"
        elif not (mark & ~refused).any():
            names = [other.id for other in live if other.id in case.refused and not (mark & ~case.refused[other.id]).any()]
            by = f"{', '.join(names)} refuse" if names else "the filters together refuse"
            yield rule.id, f"pins item {rule.item_id!r}, which no customer may see: {by} it for all of them", "contradiction"
        for other in pins[:place]:
            if other.position == rule.position and _meet(rule, other) and np.intersect1d(
                    case.pairs.customer[mark], case.pairs.customer[case.pins[other.id]]).size:
                yield rule.id, f"wants slot {rule.position}, which {other.id} has for the same customers", "contradiction"


def _boosts(case: Case, live: list[Rule], refused: np.ndarray) -> Iterator[Finding]:
    """Boosts that lift and bury nothing: no pair, none that may be shown, or none that a stronger one does not."""
    boosts = [rule for rule in live if isinstance(rule, Boost) and rule.times != 1]
    for rule in boosts:
        mine = case.levers[rule.id] != 1
        stronger = [other.id for other in boosts if other.id != rule.id and _covers(rule, other)
                    and (other.times > rule.times > 1 or other.times < rule.times < 1)]
        left = mine & ~refused
        if not mine.any():
            yield rule.id, "boosts no pair: its condition holds for none", "idle"
        elif not left.any():
            yield rule.id, "boosts only pairs that filters refuse", "idle"
        elif name := next((name for name in stronger if not (left & (case.levers[name] == 1)).any()), None):
            yield rule.id, f"boosts only pairs that {name} boosts more", "redundant"


def _redundant(case: Case, live: list[Rule]) -> Iterator[Finding]:
    """Row rules all of whose refusals another makes too; of two equal ones the later is named."""
    acting = [rule for rule in live if rule.id in case.refused and case.refused[rule.id].any()]
    for place, rule in enumerate(acting):
        mine = case.refused[rule.id]
        for number, other in enumerate(acting):
            theirs = case.refused[other.id]
            if number != place and _covers(rule, other) and not (mine & ~theirs).any() and (
                    number < place or (theirs & ~mine).any() or not _covers(other, rule)):
                yield rule.id, f"refuses only what {other.id} refuses anyway", "redundant"
                break


def _quotas(case: Case, live: list[Rule]) -> Iterator[Finding]:
    """Quotas that no slate can reach, or that a tighter one over the same items implies."""
    quotas = [rule for rule in live if isinstance(rule, SlateQuota)]
    for rule in quotas:
        if rule.max >= case.k:
            yield rule.id, f"allows {rule.max} of a {rule.field}, but a slate has {case.k} slots", "idle"
    for rule in quotas:
        for other in quotas:
            if other.field == rule.field and other.max < rule.max and other.when in (None, rule.when) and _covers(rule, other):
                yield rule.id, f"is implied by {other.id}, which allows {other.max}", "redundant"
