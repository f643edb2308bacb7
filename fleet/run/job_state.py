"""How one job stands: its phase, what was sent, and what is known of it. Written only by ``fleet.run.job``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fleet.plan.model import Job
from fleet.playbook.model import Transport, Turn
from fleet.run.answers import Operation, Refusal
from fleet.run.ender import Ender
from fleet.run.facts import Known
from fleet.run.longstanding import StandingCommand
from fleet.run.model import Cause, Outcome, Phase
from fleet.run.start import Start


@dataclass(slots=True)
class JobState:
    """One job's standing. Written only by :func:`fleet.run.job.advance`. Moments are epoch seconds."""

    job: Job
    transport: Transport
    wrapped: bool
    """Whether a receipt is due. If not, only the managed instance view can prove an exit code."""
    nonce: str = field(default="", repr=False)
    """What the receipt of the present try must carry; empty before the try's first submission."""
    digest: str = ""
    """What a receipt must name as the script's digest."""
    phase: Phase = Phase.WAITING
    attempt: int = 0
    """Submissions so far. Those of one try carry the same name and key, so that one that arrived twice runs once."""
    turned_away: int = 0
    """Submissions of these that were not sent: another run holds the machine, or it is not connected."""
    retry: int = 0
    """Which try this is: 0 for the first."""
    first_attempt: int = 0
    """Submissions before this try."""
    earlier: Outcome | None = None
    """How the try before ended. It stands if no other can be delivered."""
    released: bool = False
    """The job's turn has come."""
    known: Known = field(default_factory=Known)
    """What was known of the target when the job's turn came."""
    begun: float = 0.0
    """When the turn came."""
    since: float = 0.0
    """For a step of a restart: the target still ran in its earlier boot then."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """What the step itself found out."""
    changed: bool = False
    free: bool = False
    """Its target has spent its part of the budget already, so the job reserves nothing."""
    due: float = 0.0
    """The moment of the next thing to do: launch while waiting, find, look."""
    calling: bool = False
    """A request about this job is on the wire."""
    possibly_sent: bool = False
    """A submission may have reached the VM."""
    asked_anew: bool = False
    """Azure no longer has the answer; the same is sent again, which the guest answers with what it kept."""
    may_have_run_twice: bool = False
    """It was sent again without a receipt after a submission that may have reached the VM."""
    first_intended: float | None = None
    intended: float | None = None
    operation: Operation | None = None
    looks: int = 0
    looked_at: float = 0.0
    """When a look was last answered without an end."""
    vanished: bool = False
    """A look has found nothing where the command was accepted a moment before."""
    missing: int = 0
    removals: list[int] = field(default_factory=list)
    """The tries whose managed commands are to be deleted, in order."""
    removal_due: float | None = None
    """The moment to delete the first of them: after its result was read, or to cancel it."""
    removing: bool = False
    removed: bool = False
    """The managed command was deleted, or is being deleted."""
    removal_tries: int = 0
    undeleted: dict[int, Cause] = field(default_factory=dict)
    """The tries whose managed commands could not be deleted, and why."""
    trouble: Cause | None = None
    """Why the last submission or look did not work out; stands if time runs out."""
    deadline: float | None = None
    """The moment at which the job is given up."""
    outcome: Outcome | None = None
    ended: float | None = None
    standing: StandingCommand | None = None
    """None where the command is the run's own."""
    start: Start = field(default_factory=Start)
    leased: Refusal | None = None
    """The last refusal because another run is at work on the VM; None if the last submission met something else."""
    ender: Ender | None = None
    """The person who has it ended, if any."""

    @property
    def waits_for_lease(self) -> Refusal | None:
        """What says which run the job waits for, if it does."""
        return self.leased if self.phase in (Phase.WAITING, Phase.SUBMITTING) else None

    @property
    def reported_its_end(self) -> bool:
        """Whether a person ended the script in the VM, and its receipt came: the managed command is still there."""
        return self.ender is not None and self.ender.in_guest and self.outcome is not None and self.outcome.verified

    @property
    def belongs_to_gate(self) -> bool:
        """Whether a gate asks for it, once the job's wave has ended."""
        return self.job.step.flow.turn is Turn.GATE

    @property
    def salt(self) -> str:
        return f"{self.job.id}"

    @property
    def tries(self) -> int:
        """Submissions of this try so far."""
        return self.attempt - self.first_attempt

    @property
    def in_flight(self) -> bool:
        """Whether the job holds a slot: something was sent, or is about to be."""
        return self.phase in (Phase.SUBMITTING, Phase.FINDING, Phase.RUNNING) or self.held_back

    @property
    def held_back(self) -> bool:
        """Whether the job waits with its slot: it may have arrived already, its standing command was looked at, or its
        target is restarting.
        """
        surveyed = self.standing is not None and self.standing.surveyed
        held = self.possibly_sent or self.calling or surveyed or self.is_restarting
        return self.phase is Phase.WAITING and held

    @property
    def is_restarting(self) -> bool:
        """Whether the target was asked to restart, and the job is to look whether it is back."""
        restart = self.job.step.restart
        return self.released and restart is not None and restart.looks and self.phase is not Phase.DONE

    @property
    def is_last_look(self) -> bool:
        """Whether the job has looked for the last time whether its target is back."""
        restart = self.job.step.restart
        return self.released and restart is not None and restart.looks and self.phase is Phase.DONE

    @property
    def tried(self) -> bool:
        """Whether the job waits without its slot after a refusal or a look: it may yet turn out to be out of reach."""
        is_waiting = self.phase is Phase.WAITING and (self.tries > 0 or self.looks > 0) and not self.held_back
        return is_waiting and not self.reserves and not self.free

    @property
    def reserves(self) -> bool:
        """Whether the job may yet spend some of the budget: it is in flight, or has failed and waits for its next try."""
        waits = self.earlier is not None and self.phase is not Phase.DONE
        return not self.free and (self.in_flight or waits)
