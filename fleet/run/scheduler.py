"""Who may go next, and when to look again: one lane per subscription, region and kind of machine.

ARM limits each subscription, Compute each subscription and region, VMs apart from scale sets. So lanes share nothing but
a subscription's ARM rates, and going round the lanes interleaves subscriptions from the first second. A lane holds its
jobs in heaps by due moment; an entry is stale once its job has moved on, and stale tops are dropped when the run is
written, never when it is read.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from fleet.plan.model import JobId, Plan
from fleet.run.admission import Admission
from fleet.run.answers import Quota
from fleet.run.job_state import JobState
from fleet.run.limits import LaneRates
from fleet.run.model import Phase
from fleet.run.polling import Reads
from fleet.run.rates import Rates
from fleet.targets.model import Kind

Entry = tuple[float, JobId]
Start = tuple[float, int, JobId]
"""A job that would begin its target: due moment, place in its wave's order, job."""


@dataclass(slots=True)
class Lane:
    """The jobs on one kind of machine in one subscription and region, by what they wait for."""

    subscription: str
    rates: LaneRates
    starts: list[Start] = field(default_factory=list)
    """Released jobs that begin their target and were never tried."""
    restarts: list[Start] = field(default_factory=list)
    """Jobs that begin their target, and were tried and refused."""
    launches: list[Entry] = field(default_factory=list)
    """Released jobs of targets that are under way, never tried."""
    again: list[Entry] = field(default_factory=list)
    """Jobs of targets that are under way, tried and refused."""
    freed: list[Entry] = field(default_factory=list)
    """Released jobs of targets that have spent or reserved their part of the budget: no budget holds them back."""
    resends: list[Entry] = field(default_factory=list)
    """Jobs whose submission may have arrived and is safely sent again, and those whose standing command was looked at:
    they hold their slot already."""
    looks: list[Entry] = field(default_factory=list)
    """Running jobs, and lost ones to be found."""
    removals: list[Entry] = field(default_factory=list)
    """Managed commands to delete."""

    @property
    def unsent(self) -> int:
        """How many released jobs were never sent, or a few more: stale entries are dropped when they come to the top."""
        return len(self.starts) + len(self.launches)

    def index(self, state: JobState, rank: int | None) -> None:
        """Enter a job where it now belongs; ``rank`` is its place in the wave's order if it would begin its target."""
        entry = (state.due, state.job.id)
        if state.phase is Phase.WAITING and not (state.released or state.possibly_sent):
            pass  # its turn has not come
        elif state.phase is Phase.WAITING and not state.held_back and rank is not None:
            heapq.heappush(self.starting(state), (state.due, rank, state.job.id))
        elif state.phase is Phase.WAITING and not state.calling:
            heapq.heappush(self._queue(state), entry)
        elif state.phase in (Phase.RUNNING, Phase.FINDING) and not state.calling:
            heapq.heappush(self.looks, entry)
        if state.removal_due is not None and not state.removing:
            heapq.heappush(self.removals, (state.removal_due, state.job.id))

    def settle(
        self, jobs: Sequence[JobState], held: Callable[[Start], bool], step_holds: Callable[[JobState], bool]
    ) -> None:
        """Drop stale tops, so that whoever reads sees true ones.

        ``held`` takes a start that must wait for its group, ``step_holds`` a job that must wait for others of its step.
        """
        for starts in (self.starts, self.restarts):
            while starts:
                state = jobs[starts[0][2]]
                if self._begins_in(starts, starts[0], state) and not (step_holds(state) or held(starts[0])):
                    break
                heapq.heappop(starts)
        for queue in (self.launches, self.again, self.freed):
            while queue:
                state = jobs[queue[0][1]]
                if self._waits_in(queue, queue[0], state) and not step_holds(state):
                    break
                heapq.heappop(queue)
        _drop(self.resends, lambda e: self._waits_in(self.resends, e, jobs[e[1]]))
        _drop(self.looks, lambda e: _is_looked_at(jobs[e[1]], e))
        _drop(self.removals, lambda e: jobs[e[1]].removal_due == e[0] and not jobs[e[1]].removing)

    def _waits_in(self, queue: list[Entry], entry: Entry, state: JobState) -> bool:
        waits = state.phase is Phase.WAITING and not state.calling and state.due == entry[0]
        return waits and self._queue(state) is queue

    def starting(self, state: JobState) -> list[Start]:
        """The queue of a job that would begin its target."""
        return self.restarts if state.tried else self.starts

    def _begins_in(self, queue: list[Start], start: Start, state: JobState) -> bool:
        return _begins(state, start) and self.starting(state) is queue

    def _queue(self, state: JobState) -> list[Entry]:
        """The queue of a job of a target that is under way."""
        if state.held_back:
            return self.resends
        if state.free or state.earlier is not None:
            return self.freed
        return self.again if state.tried else self.launches


class Lanes:
    """Every lane of a run, whose turn it is, and how many jobs each subscription has in flight."""

    def __init__(self, plan: Plan, jobs: Sequence[JobState], pace: Admission) -> None:
        self._plan = plan
        self._jobs = jobs
        self._pace = pace
        self._rank = {target: place for wave in plan.waves for place, target in enumerate(wave.targets)}
        self._held: dict[int, dict[int, list[Start]]] = {}
        """Starts that wait for their group of the spread, by its number and their lane's."""
        self._by_place: dict[tuple[str, str], dict[Kind, Lane]] = {}
        self._rates = Rates()
        self._ahead = 0.0
        """Seconds by which the run's moments are ahead of those of its rates."""
        for state in jobs:
            target = state.job.target
            place = _place(target.subscription, target.location)
            lanes = self._by_place.setdefault(place, {})
            if target.kind not in lanes:
                lanes[target.kind] = Lane(place[0], self._rates.lane(target))
        self._all = [lane for lanes in self._by_place.values() for lane in lanes.values()]
        number = {id(lane): index for index, lane in enumerate(self._all)}
        self._of = [number[id(self._lane_of(state))] for state in jobs]
        self._step_busy: Counter[int] = Counter()
        self._step_held: dict[int, list[Entry]] = {}
        """Jobs that wait for others of their step, by its number."""
        self._turn = 0
        self._in_flight: Counter[str] = Counter()

    def __iter__(self) -> Iterator[Lane]:
        return iter(self._all)

    def of(self, state: JobState) -> Lane:
        return self._all[self._of[state.job.id]]

    def index(self, state: JobState) -> None:
        """Enter a job in its lane, where it now belongs."""
        target = self._plan.target_index(state.job.id)
        begins = not (self._pace.has_begun(target) or state.belongs_to_gate)
        self.of(state).index(state, self._rank[target] if begins else None)

    def settle(self, lanes: Iterable[Lane]) -> None:
        """Drop what is stale on top of these lanes' queues; a start whose group is full is held until it is not."""
        for lane in lanes:
            lane.settle(self._jobs, self._hold, self._hold_for_step)

    def _hold(self, start: Start) -> bool:
        target = self._plan.target_index(start[2])
        group = self._pace.group(target)
        if group is None or self._pace.room_of(group) > 0:
            return False
        heapq.heappush(self._held.setdefault(group, {}).setdefault(self._of[start[2]], []), start)
        return True

    def _step_room(self, step: int) -> int:
        most = self._plan.steps[step].concurrency
        return len(self._jobs) if most is None else most - self._step_busy[step]

    def _hold_for_step(self, state: JobState) -> bool:
        step = self._plan.step_index(state.job.id)
        if self._step_room(step) > 0:
            return False
        heapq.heappush(self._step_held.setdefault(step, []), (state.due, state.job.id))
        return True

    def _let_go_of_step(self, step: int) -> None:
        """Give back as many jobs of the step as it has room for."""
        held, room = self._step_held.get(step, []), self._step_room(step)
        while held and room > 0:
            due, job = heapq.heappop(held)
            state = self._jobs[job]
            if state.phase is Phase.WAITING and state.due == due:
                self.index(state)
                self.settle((self.of(state),))
                room -= 1

    def let_go(self, state: JobState) -> None:
        """Give each lane back as many jobs of the job's step, and starts of its group, as there is room for."""
        self._let_go_of_step(self._plan.step_index(state.job.id))
        group = self._pace.group(self._plan.target_index(state.job.id))
        if group is None or not (held := self._held.get(group)):
            return
        for lane, starts in held.items():
            room = self._pace.room_of(group)
            while starts and room > 0:
                start = heapq.heappop(starts)
                state = self._jobs[start[2]]
                if _begins(state, start):
                    heapq.heappush(self._all[lane].starting(state), start)
                    room -= 1

    def in_turn(self) -> list[Lane]:
        """Every lane, beginning with the one after that which submitted last."""
        return self._all[self._turn :] + self._all[: self._turn]

    @property
    def spread_holds(self) -> bool:
        """Whether targets wait for their group of the spread."""
        return any(starts for lanes in self._held.values() for starts in lanes.values())

    def submitted(self, state: JobState, at: float) -> None:
        """A command of the job is sent, for a target's first job its first."""
        if not (state.attempt or self._pace.has_begun(self._plan.target_index(state.job.id)) or state.belongs_to_gate):
            self._pace.started(at)
        self._turn = (self._of[state.job.id] + 1) % len(self._all)

    @property
    def steps_hold(self) -> bool:
        """Whether jobs wait for others of their step."""
        return any(self._step_held.values())

    def count_flight(self, state: JobState, change: int) -> None:
        """A job takes a slot (1) or gives it back (-1)."""
        self._in_flight[self.of(state).subscription] += change
        step = self._plan.step_index(state.job.id)
        self._step_busy[step] += change
        if change > 0 and self._step_room(step) == 0:
            self.settle(self._all)  # the next of the same step may be on top anywhere

    def in_flight(self, lane: Lane) -> int:
        """How many jobs the lane's subscription has in flight."""
        return self._in_flight[lane.subscription]

    def reads(self, state: JobState, at: float) -> Reads:
        """Return what there is for looks at the jobs in flight in the job's subscription."""
        lane = self.of(state)
        running = max(self._in_flight[lane.subscription], 1)
        return Reads(running, lane.rates.reads_left(at), lane.rates.reads_per_second)

    def note(self, at: float, quota: Quota) -> None:
        """Take over what an answer's headers said about one subscription and region."""
        self._rates.note(at - self._ahead, quota)

    def share(self, principals: int) -> None:
        """Let this many principals take turns from now on."""
        self._rates.share(principals)

    def join(self, rates: Rates, now: float, ahead: float) -> None:
        """Take from rates that others use as well; what is known here of them is taken over there."""
        levels = self._rates.levels(now - self._ahead)
        rates.hold({bucket: moment + self._ahead - ahead for bucket, moment in levels.items()})
        self._rates, self._ahead, who = rates, ahead, object()
        for number, state in dict(zip(self._of, self._jobs, strict=True)).items():
            self._all[number].rates = rates.lane(state.job.target).shared_by(who, ahead)

    @property
    def removals_left(self) -> bool:
        return any(lane.removals for lane in self._all)

    def _lane_of(self, state: JobState) -> Lane:
        target = state.job.target
        return self._by_place[_place(target.subscription, target.location)][target.kind]


def _place(subscription: str, location: str) -> tuple[str, str]:
    """ARM compares ids and locations without regard to case."""
    return subscription.casefold(), location.casefold()


def _drop(heap: list[Entry], is_true: Callable[[Entry], bool]) -> None:
    while heap and not is_true(heap[0]):
        heapq.heappop(heap)


def _begins(state: JobState, start: Start) -> bool:
    return state.phase is Phase.WAITING and state.due == start[0] and not state.held_back


def _is_looked_at(state: JobState, entry: Entry) -> bool:
    if state.retry in state.removals:
        return False  # it is being cancelled: a look that found it gone would not know why
    return state.phase in (Phase.RUNNING, Phase.FINDING) and not state.calling and state.due == entry[0]
