"""Engine and reference model side by side: a random walk through everything that may happen to a run.

The run decides; the model is told what is on disk, and must allow every submission and every end.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import replace

from fleet.guest.receipt import Receipt, render
from fleet.plan.model import JobId, Limits, Plan, PlannedStep, PlaybookRef
from fleet.plan.waves import split
from fleet.playbook.model import Amount, Script, Transport
from fleet.report.aggregate import aggregate
from fleet.run import answers as a
from fleet.run import effects as f
from fleet.run import events as e
from fleet.run import translate
from fleet.run.answers import Answer, LostReason, Operation, Refusal
from fleet.run.job_state import JobState
from fleet.run.model import Phase
from fleet.run.state import Run
from fleet.targets.model import Os, Target
from tests.verification import gates, model
from tests.verification.model import Promise, Stage

RUN = "20260101-000000-walk"

_REFUSALS = (
    Refusal(429, "TooManyRequests", "slow down", 1.0),
    Refusal(429, "SubscriptionRequestsThrottled", "slow down"),
    Refusal(409, "Conflict", "Run command extension execution is in progress."),
    Refusal(408, "RequestTimeout", "timed out"),
    Refusal(401, "ExpiredAuthenticationToken", "expired"),
    Refusal(403, "AuthorizationFailed", "no right"),
    Refusal(404, "ResourceNotFound", "no such VM"),
    Refusal(409, "OperationNotAllowed", "The operation requires the VM to be running (or set to run)."),
    Refusal(400, "InvalidParameter", "bad"),
)
_FAILURES = (
    a.OperationFailed("VMExtensionProvisioningTimeout", "too long"),
    a.OperationFailed("VMAgentStatusCommunicationError", "VM 'vm' has not reported status for VM agent or extensions."),
    a.OperationFailed("VMExtensionProvisioningError", "VM agent on VM 'vm' has not reported latest status."),
    a.OperationFailed("InternalExecutionError", "An internal execution error occurred."),
    a.OperationFailed("OperationPreempted", "preempted by a more recent operation", cancelled=True),
    a.OperationFailed("OperationCanceled", "canceled", cancelled=True),
    a.OperationFailed("VMExtensionHandlerNonTransientError", "terminal failure"),
    a.OperationFailed("VMExtensionProvisioningError", "command terminated with exit status=3"),
    a.OperationFailed("VMExtensionProvisioningError", f"command terminated with exit status={'9' * 5000}"),
)
_STATES = ("Succeeded", "Succeeded", "Failed", "Failed", "TimedOut", "Canceled", "Unknown", "Running", "")
_CODES = (0, 0, 1, 3, -1, -202, None)
_WORDS = ("", "Execution failed: command terminated with exit status=3", "Execution failed: no space left on device")
_STAGES = {
    Phase.WAITING: (Stage.PLANNED, Stage.UNKNOWN_START),
    Phase.SUBMITTING: (Stage.INTENT,),
    Phase.FINDING: (Stage.UNKNOWN_START,),
    Phase.RUNNING: (Stage.ACCEPTED,),
}


_CALLS = {f.Submit: "submit", f.Look: "look", f.Find: "find", f.AskAgent: "agent", f.Remove: "remove"}


class Disagreement(AssertionError):
    """The engine did what the table forbids; the text says where and after what."""


class Walk:
    """One run, driven by chance."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.steps = 0
        self.disk: list[e.Event] = []
        self._rng = random.Random(f"fleet-walk/{seed}")
        self._plan = _plan(self._rng)
        managed = self._plan.transport is not Transport.ACTION
        self._promises = [Promise(managed=managed, receipts=self._plan.receipts) for _ in range(len(self._plan))]
        self._passed: set[int] = set()
        """Gates that said yes, by what is on disk."""
        self._now = 0.0
        self._epoch = 0
        self._open()

    def go(self, most: int) -> int:
        """Walk until the run is over, or for ``most`` events; return how many there were. Raises Disagreement."""
        while not self._run.finished and self.steps < most:
            self._move()
        return self.steps

    def _open(self) -> None:
        """A new owner, from what is on disk."""
        self._run = Run(self._plan, RUN)
        for event in self.disk:
            self._run.apply(event)
        self._calls: list[tuple[str, int]] = []
        self._epoch += 1
        self._tell(e.RunOpened(self._now, self._epoch))

    def _move(self) -> None:
        """Let chance choose: the run's next wish, an answer, a person, a power cut."""
        draw = self._rng.random()
        if draw < 0.01:
            self._open()
        elif draw < 0.012:
            self._tell(e.StopRequested(self._now, self._rng.choice(tuple(e.StopKind))))
        elif draw < 0.03 and self._run.awaiting is not None:
            self._decide(self._run.awaiting)
        elif draw < 0.4 and self._calls:
            self._answer()
        else:
            self._wish()

    def _wish(self) -> None:
        """Do what the run wants, if the table allows it."""
        effect = self._run.next(self._now)
        if isinstance(effect, f.Halt):
            self._open()
            return
        if isinstance(effect, f.WaitUntil):
            self._wait(effect.at)
            return
        if isinstance(effect, f.Submit) and not self._promises[effect.job].may_send:
            raise self._differs(effect.job, "is sent")
        if isinstance(effect, f.Submit | f.Look | f.Find | f.AskAgent | f.Remove):
            self._calls.append((_CALLS[type(effect)], effect.job))
        elif isinstance(effect, f.AskGate):
            self._calls.append(("ask", effect.gate))
        else:
            self._check_gates(effect)
        event = translate.begun(effect, self._now)
        if isinstance(event, e.SubmissionIntended) and self._run.is_without_nonce(event.job):
            event = replace(event, nonce=f"{self._rng.getrandbits(128):032x}")
        self._tell(event)

    def _check_gates(self, effect: f.Effect) -> None:
        """No wave opens but past its gates, and what a gate finds is what the rows show."""
        if isinstance(effect, f.OpenWave):
            before = {number for number, gate in enumerate(self._plan.gates) if gate.wave == effect.wave}
            if not before <= self._passed:
                raise self._amiss(f"wave {effect.wave + 1} opens past the gates {sorted(before - self._passed)}")
        elif isinstance(effect, f.JudgeGate):
            found = gates.decided(self._plan, effect.gate, aggregate(self._run.record()).jobs)
            if found != (effect.met, effect.go):
                raise self._amiss(f"gate {effect.gate} finds {effect.met} ({effect.go}), and the rows show {found}")

    def _decide(self, wave: int) -> None:
        """A person decides about a wave that waits."""
        kind = e.WaveApproved if self._rng.random() < 0.8 else e.WaveRejected
        self._tell(kind(self._now, wave))

    def _wait(self, until: float | None) -> None:
        if self._calls and (until is None or self._rng.random() < 0.7):
            self._answer()
        elif until is None and self._run.awaiting is not None:
            self._decide(self._run.awaiting)
        elif until is None:
            raise self._amiss("nothing will ever happen again")
        else:
            self._now = max(until, self._now)

    def _answer(self) -> None:
        kind, number = self._calls.pop(self._rng.randrange(len(self._calls)))
        self._now += self._rng.choice((0.0, 0.1, 1.0, 20.0))
        if kind == "ask":
            said = self._rng.choice((a.Said(True), a.Said(True), a.Said(False), a.Silent("HTTP 503")))
            self._tell(translate.gate_event(said, self._now, number))
            return
        job = JobId(number)
        lost = a.Lost(self._rng.choice([reason for reason in LostReason if reason is not LostReason.CRASHED]))
        refused = a.Refused(self._rng.choice(_REFUSALS))
        operation = Operation(self._run.jobs[job].transport, resource="x")
        match kind:
            case "submit":
                submitted = self._rng.choice((a.Accepted(operation), a.Accepted(operation), refused, lost))
                self._tell(translate.submission_event(submitted, self._now, job))
            case "look":
                ended = a.Finished(self._ended(self._run.jobs[job]))
                failed = self._rng.choice(_FAILURES)
                running = a.StillRunning(started=self._rng.choice(("", "", "10:00")))
                seen = self._rng.choice((running, running, ended, ended, failed, refused, lost))
                self._tell(translate.look_event(seen, self._now, job))
            case "find":
                found = self._rng.choice((a.Found(operation), a.Missing(), a.Missing(), refused, lost))
                self._tell(translate.find_event(found, self._now, job))
            case "agent":
                report = a.AgentReport(self._rng.random() < 0.5)
                self._tell(translate.agent_event(self._rng.choice((report, report, refused, lost)), self._now, job))
            case _:
                removed = self._rng.choice((a.Removed(), a.Removed(), refused, lost))
                self._tell(translate.removal_event(removed, self._now, job, 0))  # no step is tried again here

    def _ended(self, state: JobState) -> Answer:
        """How the service says that a script ended: by an instance view, or by what the wrapper printed."""
        view = Answer(self._rng.choice(_STATES), self._rng.choice(_WORDS), self._rng.choice(_CODES))
        if not state.nonce:
            return view
        receipts = [self._receipt(state, nonce) for nonce in self._rng.choice(((), (0,), (1,), (0, 1), (0, 0)))]
        text = "".join(("vm says\n", *receipts))
        text = text[: -self._rng.randint(5, 99)] if receipts and self._rng.random() < 0.1 else text
        if state.transport is Transport.MANAGED:
            return replace(view, stdout=text)
        return Answer(combined=f"Enable succeeded: \n[stdout]\n{text}\n[stderr]\n")

    def _receipt(self, state: JobState, which: int) -> str:
        """A receipt with the try's nonce, or with another; its streams are those of a script that is alone."""
        out = hashlib.sha256(b"vm says\n").hexdigest()
        nothing = hashlib.sha256(b"").hexdigest()
        nonce = "0" * 32 if which else state.nonce
        code = self._rng.choice((0, 0, 3))
        return render(Receipt(nonce, state.digest, code, None, False, False, 8, out, 0, nothing, "boot", 1.0, 2.0))

    def _tell(self, event: e.Event) -> None:
        """Let the run and the model hear an event, and compare them."""
        self._run.apply(event)
        self.steps += 1
        job: JobId | None = getattr(event, "job", None)
        everybody = range(len(self._promises)) if job is None else (job,)
        if event.durable:
            self.disk.append(event)
            self._passed |= _passed(self._plan, event)
            for number in everybody:
                self._promises[number] = model.told(self._promises[number], event)
        for number in everybody:
            self._compare(JobId(number), event)

    def _compare(self, job: JobId, event: e.Event) -> None:
        state, promise = self._run.jobs[job], self._promises[job]
        if state.phase is Phase.DONE:
            assert state.outcome is not None
            if state.outcome.status not in promise.ends | model.NEVER_SENT:
                raise self._differs(job, f"ended {state.outcome.status.value} after {event}")
            if promise.may_have_run and state.outcome.status in model.NEVER_SENT:
                raise self._differs(job, f"may have run and ended {state.outcome.status.value} after {event}")
        elif promise.must_end or promise.stage not in _STAGES[state.phase]:
            raise self._differs(job, f"is {state.phase.value} after {event}")
        elif state.possibly_sent != promise.may_have_run:
            raise self._differs(job, f"may have run: {state.possibly_sent} after {event}")

    def _amiss(self, what: str) -> Disagreement:
        return Disagreement(f"seed {self.seed}, step {self.steps}: {what}")

    def _differs(self, job: JobId, what: str) -> Disagreement:
        return Disagreement(
            f"seed {self.seed}, step {self.steps}: job {job} {what}; the table has {self._promises[job]}"
        )


def _passed(plan: Plan, event: e.Event) -> set[int]:
    """The gates that an event on disk opens."""
    match event:
        case e.WaveApproved(wave=wave):
            return {number for number, gate in enumerate(plan.gates) if gate.wave == wave and gate.is_approval}
        case e.GateAnswered(gate=gate, go=True) | e.GateJudged(gate=gate, go=True):
            return {gate}
    return set()


def walk(seed: int, most: int) -> int:
    """Walk one seed for at most so many events; return how many there were. Raises Disagreement."""
    return Walk(seed).go(most)


def _plan(rng: random.Random) -> Plan:
    base = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Compute/virtualMachines/vm"
    targets = tuple(
        Target(f"{base}{number}", "s", "s", "rg", f"vm{number}", "westeurope", Os.LINUX)
        for number in range(rng.randint(1, 5))
    )
    plan = Plan(
        playbook=PlaybookRef("walk", "1", "0" * 64),
        targets=targets,
        steps=tuple(
            PlannedStep(f"step-{number}", Script(text="true\n"), "d", timeout=rng.choice((10.0, 600.0)))
            for number in range(rng.randint(1, 2))
        ),
        waves=split(targets, rng.choice(((), (Amount(1),), (Amount(50, percent=True),)))),
        limits=Limits(
            concurrency=rng.choice((1, 2, 500)),
            max_failures=rng.choice((None, None, 0, 2)),
            max_unreachable=rng.choice((None, None, 0, 2)),
            soak=rng.choice((0.0, 0.0, 100.0)),
            deadline=rng.choice((None, None, 30.0, 600.0)),
            deliver_timeout=rng.choice((60.0, 600.0)),
            start_timeout=rng.choice((5.0, 60.0, 600.0)),
            answer_grace=rng.choice((30.0, 600.0)),
        ),
        transport=rng.choice((Transport.MANAGED, Transport.ACTION)),
        receipts=rng.random() < 0.6,
    )
    return _with_gates(rng, plan) if rng.random() < 0.5 else plan


def _with_gates(rng: random.Random, plan: Plan) -> Plan:
    """Gates of every kind; a model of one try a job knows no retries."""
    gated, _, _ = gates.draw(rng, plan, "true\n")
    once = tuple(replace(step, flow=replace(step.flow, retries=0)) for step in gated.steps)
    return replace(gated, steps=once)
