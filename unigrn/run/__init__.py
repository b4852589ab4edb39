"""Running a plan: read the cells once, solve batch by batch, put the pieces together.

`reading` turns cells into moments or rows, `separable` and `coupled` fit them, `finish` reduces the
axes of members and says what there is to say: functions over one small `State`.
"""

from __future__ import annotations

from unigrn.backend import make_room, precision
from unigrn.check import check_whole
from unigrn.planner import Plan
from unigrn.run import coupled, finish, separable
from unigrn.run.state import State
from unigrn.solution import Solution

__all__ = ["run"]


def run(plan: Plan, seed: int = 0) -> Solution:
    """Run a plan and return its solution. The same seed gives the same solution."""
    seed = check_whole("seed", seed)
    make_room()
    with precision(plan.dtype):
        state = State(plan, seed)
        reads = {
            "network": coupled.networks,
            "networks": coupled.all_networks,
            "rows": separable.on_rows,
            "moments": separable.on_moments,
            "groups": separable.on_groups,
        }
        reads[plan.solver.reads](state)
        return finish.solution(state)
