"""What is decided: the case of all pairs under the rules in force, and the plan of one policy."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from reclib.allocation import problem as allocation
from reclib.rules.kinds import Rule
from reclib.rules.pairs import Pairs, World

STATES = ("filtered", "capped", "lost_to_allocation", "below_cut", "shown")


@dataclass(frozen=True)
class Case:
    """All pairs that some policy ranks or some pin asks for, and what each rule would refuse.

    Attributes:
        world: what rules may know.
        rules: rules in force, in order of precedence, shadow ones included.
        skipped: rule_id -> why it is not in force.
        pairs: unique pairs, sorted by customer and item.
        refused: rule_id -> mark of the pairs that a row rule would refuse, whatever the others do.
        pins: rule_id -> mark of the pairs that a pin asks for.
        k: slots in a slate.
        levers: rule_id -> factor of each pair's priority.
        policies: those that are ranked.
    """

    world: World
    rules: list[Rule]
    skipped: dict[str, str]
    pairs: Pairs
    refused: dict[str, np.ndarray]
    pins: dict[str, np.ndarray]
    k: int
    levers: dict[str, np.ndarray] = field(default_factory=dict)
    policies: tuple[str, ...] = ()

    @property
    def key(self) -> np.ndarray:
        """One sorted number a pair."""
        return self.pairs.key

    @property
    def number(self) -> dict[str, int]:
        """The number of each rule, in order of precedence."""
        return {rule.id: place for place, rule in enumerate(self.rules)}

    def live(self, policy: str) -> list[Rule]:
        """Rules that are enforced for a policy."""
        return [rule for rule in self.rules if rule.status == "live" and _concerns(rule, policy)]


@dataclass(frozen=True)
class Plan:
    """What was decided for one policy, one entry a pair of the case.

    Attributes:
        policy: name.
        is_ranked: the policy ranks the pair, or a pin brought it in.
        rank, priority, p_response, money: as ranked; `money` is p_response x value.
        first: number (in the case's rules) of the first rule that refused the pair, else -1.
        score: what was maximised: the priority after boosts and diversity, without the bonus of pins.
        taken: rule_id -> what a control (diversity, novelty, repetition) took from the score.
        position: slot from 1, else 0.
        state: one of `STATES`, "" where not ranked.
        blame: number of the rule that kept an allowed pair out, else -1.
        problem: what was allocated.
        found: the allocation.
        is_pinned: shown in the slot that a pin asked for.
        lifted: soft filters and quotas that yielded for all customers, since hard shared limits could not hold with them.
        relaxed: soft rules that yielded by whole pairs, with the number of customers for whom they did.
        yielded: mark of the pairs that are allowed because a soft rule yielded.
        is_added: mark of the pairs that only a pin brought in: they rank last and are worth nothing.
        bonus: what the problem adds to the value of pinned pairs so that they come first.
    """

    policy: str
    is_ranked: np.ndarray
    rank: np.ndarray
    priority: np.ndarray
    p_response: np.ndarray
    money: np.ndarray
    first: np.ndarray
    score: np.ndarray
    taken: dict[str, np.ndarray]
    position: np.ndarray
    state: np.ndarray
    blame: np.ndarray
    problem: allocation.Problem
    found: allocation.Allocation
    is_pinned: np.ndarray
    lifted: tuple[str, ...]
    relaxed: dict[str, int]
    yielded: np.ndarray
    is_added: np.ndarray
    bonus: float

    @property
    def penalty(self) -> np.ndarray:
        """What all controls together took from the score."""
        return sum(self.taken.values(), np.zeros(len(self.score)))

    @property
    def value(self) -> float:
        """Sum of the scores shown, in the unit of the policy's priority."""
        return float(np.round(self.score[self.position > 0], 6).sum())


def _concerns(rule: Rule, policy: str) -> bool:
    return rule.policies is None or policy in rule.policies


def sample(case: Case, n: int, seed: int) -> np.ndarray:
    """Codes of a random sample of customers, sorted; all where there are no more than that."""
    n_customers = len(case.world.customers)
    if n_customers <= n:
        return np.arange(n_customers)
    return np.sort(np.random.default_rng(seed).choice(n_customers, n, replace=False))
