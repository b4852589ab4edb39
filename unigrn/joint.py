"""Joint prox: what several terms of one block are together, where a rule gives it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp

from unigrn.kernels import hard_threshold, largest, soft_threshold, spend


@dataclass(frozen=True)
class Joint:
    """The prox of several terms together, a function; None where no rule gives it, ``why`` why."""

    prox: Any
    why: str = ""
    entrywise: bool = False
    convex: bool = False


def joint(kinks: tuple[Any, ...], sets: tuple[Any, ...]) -> Joint:
    """Return the prox of the sum of some regularizers and of the indicators of some sets.

    Terms that act entry by entry join. For sum_j c_j |u_j| + d_j u_j^2 - 2 l_j u_j it is
    soft(v + 2 t l, t c) / (1 + 2 t d), clipped to the intervals, since a convex function of one
    number is minimised over an interval by clipping its minimiser. A price h on u_j != 0 keeps this
    only where it is better than 0 by more than h; a budget of K keeps the K entries that are
    better by most, exact where no entry falls under two budgets. A single term brings its own.
    Nothing else has a rule.
    """
    convex = all(t.convex is True for t in (*kinks, *sets))
    if not kinks and not sets:
        return Joint(lambda v, step, data, prior, params=None: v, "", True, True)
    if len(kinks) + len(sets) == 1:
        own = kinks[0].prox if kinks else sets[0].project
        if own is None:
            what = "projection" if sets else "prox"
            return Joint(None, f"{(*kinks, *sets)[0].formula} has no {what}")
        alone = own if kinks else (lambda v, step, data, prior, params=None: own(v, prior))
        term = (*kinks, *sets)[0]
        entrywise = (term.absolute or term.quadratic or term.price or term.interval) is not None
        return Joint(alone, "", entrywise, convex)
    priced = tuple(t for t in kinks if t.price is not None)
    rest = tuple(t for t in kinks if t.price is None)
    known = all(t.entrywise and (t.absolute is not None or t.quadratic is not None) for t in rest)
    budgets = tuple(t for t in sets if t.budget is not None)
    intervals = tuple(t for t in sets if t.budget is None)
    one = len(rest) == 1 and rest[0].entrywise and rest[0].convex is True
    names = " + ".join(t.formula for t in kinks)
    where = " ∩ ".join(t.formula for t in sets)
    if not (known or (one and not priced and not budgets)):
        both = f"no rule joins the prox of {names} and {where}"
        return Joint(None, both if sets else f"no rule gives the joint prox of {names}")
    within = [t.within for t in budgets]
    clash = (len(within) > 1 and "all" in within) or len(set(within)) < len(within)
    if any(t.interval is None for t in intervals) or clash:
        onto = f"no rule gives the projection onto {where}"
        return Joint(None, f"no rule joins the prox of {names} and {where}" if kinks else onto)

    def prox(v, step, data, prior, params=None):
        amount, shrink, shift = (jnp.zeros_like(v) for _ in range(3))
        if known:
            for t in rest:
                if t.absolute is not None:
                    amount = amount + t.absolute(data, prior)
                    continue
                q = t.quadratic(data, prior)
                shrink = shrink + q.diagonal
                shift = shift if q.linear is None else shift + q.linear
            best = soft_threshold(v + 2 * step * shift, step * amount) / (1 + 2 * step * shrink)
            best = best if rest else v
        else:
            best = rest[0].prox(v, step, data, prior, params)
        for t in intervals:
            best = jnp.clip(best, *t.interval(prior))
        if not priced and not budgets:
            return best
        price = sum((t.price(params, data, prior) for t in priced), jnp.zeros_like(v))
        limits = [t.budget(prior) for t in budgets]
        if not rest:
            if not intervals and not budgets:
                return hard_threshold(v, step, price)
            if not priced:
                return spend(v, best, limits)
        cost = (
            amount * jnp.abs(best)
            + shrink * best**2
            - 2 * shift * best
            + (best**2 - 2 * best * v) / (2 * step)
        )
        keep = -cost > price
        for t in intervals:  # an entry that may not be 0 is kept whatever it costs
            low, high = t.interval(prior)
            keep = keep | (low > 0) | (high < 0)
        best = jnp.where(keep, best, 0)
        for mask, count in limits:
            chosen = largest(jnp.where(mask & keep, jnp.maximum(-cost - price, 0), 0), count)
            best = jnp.where(mask & jnp.logical_not(chosen), 0, best)
        return best

    return Joint(prox, "", not budgets, convex)
