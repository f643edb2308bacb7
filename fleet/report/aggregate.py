"""From a run's record to its report: one row per target and step, always."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from fleet.clock import iso
from fleet.plan.model import Plan
from fleet.report import gates, words
from fleet.report.model import WORST_FIRST, Counts, Group, JobRow, Leftover, Report, StepRow, Stopped, WaveRow
from fleet.report.reasons import common, reasons
from fleet.report.verdict import exit_code
from fleet.report.words import plural
from fleet.run.command import command_name
from fleet.run.directives import freeing, sentence
from fleet.run.events import Directive, JobUnstuck
from fleet.run.gates.checks import judgement
from fleet.run.gates.webhooks import told
from fleet.run.longtext import as_kept
from fleet.run.model import FAILURES, NOT_REACHED, NOT_RUN, Cause, CauseCode, Outcome, Phase, Status
from fleet.run.record import JobRecord, RunRecord
from fleet.targets.folding import fold
from fleet.targets.model import Target

SEVERITY = {
    **dict.fromkeys(FAILURES, 0),
    **dict.fromkeys(NOT_REACHED, 1),
    **dict.fromkeys(NOT_RUN, 2),
    Status.SUCCEEDED: 3,
}


def aggregate(
    record: RunRecord, *, interrupted: bool = False, allow_empty: bool = False, resumable: bool = True
) -> Report:
    """Return the report of a run, finished or not.

    ``interrupted`` says that the run was left on purpose before its end, ``allow_empty`` that having no
    target is fine, ``resumable`` that its journal is still there. The same record gives the same report.
    """
    plan = record.plan
    jobs = tuple(row(job, record, resumable=resumable) for job in record.jobs)
    labels = unique_labels(plan.targets)
    return Report(
        run=record.run_id,
        playbook=plan.playbook,
        started=record.started,
        ended=record.ended,
        exit_code=exit_code(
            jobs,
            stop_cause=record.stop_cause,
            unread=len(plan.unread),
            interrupted=interrupted,
            allow_empty=allow_empty,
        ),
        counts=count(jobs),
        groups=group(jobs, labels),
        jobs=jobs,
        title=plan.playbook.title or plan.playbook.name,
        stopped=Stopped(record.stop_cause, record.stop_message) if record.stop_cause else None,
        unread=plan.unread,
        waves=_waves(plan, jobs),
        steps=tuple(StepRow(step.id, step.title, step.digest) for step in plan.steps),
        notes=(*_notes(record, labels), *(() if resumable else (LOST,))),
        leftovers=tuple(
            Leftover(job.job.target.id, command_name(record.run_id, job.job, left.retry), left.cause)
            for job in record.jobs
            for left in job.leftovers
        ),
        gates=tuple(gates.rows(record)),
        plan=plan.digest,
        subscriptions={target.subscription: target.subscription_name for target in plan.targets},
        labels=labels,
    )


LOST = "The run's files were removed or replaced before its end: this report is all that was known then"


def row(job: JobRecord, record: RunRecord, *, resumable: bool = True) -> JobRow:
    """Return a job's row. One that has not ended is ``unknown`` if it was sent, else ``not_started``."""
    outcome = job.outcome or _unfinished(job, record, f"fleet resume {record.run_id}" if resumable else "")
    target = job.job.target
    return JobRow(
        target=target.id,
        subscription=target.subscription,
        resource_group=target.resource_group,
        name=target.name,
        location=target.location,
        os=target.os.value,
        step=job.job.step.id,
        wave=job.job.wave,
        status=outcome.status,
        cause=outcome.cause,
        exit_code=outcome.exit_code,
        stdout=as_kept(outcome, "stdout"),
        stderr=as_kept(outcome, "stderr"),
        truncated=outcome.truncated,
        attempts=job.attempts,
        verified=outcome.verified,
        operation=job.operation,
        started=job.started,
        ended=job.ended,
        kind=target.kind.value,
        retries=job.retries,
        rescued=job.rescued,
        facts=job.facts,
    )


def _unfinished(job: JobRecord, record: RunRecord, hint: str) -> Outcome:
    if job.earlier is not None and job.phase is Phase.WAITING and not job.possibly_sent:
        return replace(job.earlier, cause=replace(job.earlier.cause, hint=hint))
    if job.phase is not Phase.WAITING or job.possibly_sent:
        cause = Cause(CauseCode.NO_ANSWER, "Sent, and its answer has not been read yet", hint)
        return Outcome(Status.UNKNOWN, cause)
    if job.waits is not None and record.stop_cause is None:
        return Outcome(Status.NOT_STARTED, replace(job.waits, message=f"Waits: {job.waits.message}"))
    code = record.stop_cause or CauseCode.NOT_SENT
    message = record.stop_message or "The run has not come to this job yet, or was left before it"
    return Outcome(Status.NOT_STARTED, Cause(code, message, hint))


def count(jobs: Sequence[JobRow]) -> Counts:
    """Count rows by status."""
    seen = Counter(job.status for job in jobs)
    by_status = {status: seen[status] for status in WORST_FIRST}
    return Counts(len({job.target for job in jobs}), len(jobs), by_status)


def group(jobs: Sequence[JobRow], labels: Mapping[str, str]) -> tuple[Group, ...]:
    """Put rows with the same outcome, reason and output together: failures first, then the largest groups."""
    given = reasons(jobs)
    masked = {reason: reason.masked() for reason in set(given)}
    members: defaultdict[tuple[object, ...], list[int]] = defaultdict(list)
    for index, job in enumerate(jobs):
        members[*_shown(job), masked[given[index]]].append(index)
    ordered = sorted(members.values(), key=lambda m: (SEVERITY[jobs[m[0]].status], -len(m), m[0]))
    return tuple(_group(jobs, labels, indexes, common([given[index] for index in indexes])) for indexes in ordered)


def _shown(job: JobRow) -> tuple[object, ...]:
    """What a rendering shows of a group beside its reason, and so must be the same for all of its rows."""
    facts = tuple(sorted(job.facts.items()))
    said = as_kept(job, "stdout"), as_kept(job, "stderr"), job.truncated
    return job.status, job.cause.code, job.exit_code, job.step, said, job.verified, job.rescued, facts


def _group(jobs: Sequence[JobRow], labels: Mapping[str, str], indexes: Sequence[int], reason: tuple[str, str]) -> Group:
    first = jobs[indexes[0]]
    return Group(
        status=first.status,
        cause=Cause(first.cause.code, *reason),
        exit_code=first.exit_code,
        step=first.step,
        stdout=as_kept(first, "stdout"),
        stderr=as_kept(first, "stderr"),
        names=fold(labels.get(jobs[index].target, jobs[index].name) for index in indexes),
        jobs=tuple(indexes),
        rescued=first.rescued,
        facts=first.facts,
        truncated=first.truncated,
        verified=first.verified,
    )


def unique_labels(targets: Iterable[Target]) -> dict[str, str]:
    """Name each target as shortly as is unambiguous: name, else group/name, else subscription/group/name.

    Names are compared without regard to case, as Azure compares them.
    """
    everyone = tuple(targets)
    labels: dict[str, str] = {}
    for form in (_name, _with_group, _with_subscription):
        seen = Counter(form(target).casefold() for target in everyone)
        for target in everyone:
            if seen[form(target).casefold()] == 1:
                labels.setdefault(target.id, form(target))
    return {target.id: labels.get(target.id, target.id) for target in everyone}


def _name(target: Target) -> str:
    return target.name


def _with_group(target: Target) -> str:
    return f"{target.resource_group}/{target.name}"


def _with_subscription(target: Target) -> str:
    return f"{target.subscription_name or target.subscription}/{_with_group(target)}"


def _waves(plan: Plan, jobs: Sequence[JobRow]) -> tuple[WaveRow, ...]:
    started: defaultdict[int, list[float]] = defaultdict(list)
    ended: defaultdict[int, list[float]] = defaultdict(list)
    for job in jobs:
        if job.started is not None:
            started[job.wave].append(job.started)
        if job.ended is not None:
            ended[job.wave].append(job.ended)
    return tuple(
        WaveRow(
            wave.index,
            wave.label,
            len(wave.targets),
            min(started[wave.index], default=None),
            max(ended[wave.index], default=None),
        )
        for wave in plan.waves
    )


def _freeings(directives: Iterable[Directive]) -> Iterable[tuple[float, str]]:
    """Say once what one person did to many scripts; of each only the last stage."""
    last = {(event.job, event.retry): event for event in directives if isinstance(event, JobUnstuck)}
    alike: defaultdict[tuple[object, ...], list[JobUnstuck]] = defaultdict(list)
    for event in last.values():
        alike[event.stage, event.how, event.who, event.why].append(event)
    return [(events[0].at, freeing(events[0], fold(event.vm for event in events))) for events in alike.values()]


def _notes(record: RunRecord, labels: Mapping[str, str]) -> Iterable[str]:
    """Say what a reader must know to trust the rows."""
    yield from record.plan.notes
    said = [(given.at, sentence(given)) for given in record.directives if not isinstance(given, JobUnstuck)]
    said += _freeings(record.directives)
    said += [(answer.at, told(record.plan, answer)) for answer in record.gates]
    said += [(event.at, judgement(record.plan, event)) for event in record.judged]
    for at, what in sorted(said, key=lambda item: item[0]):
        yield f"{iso(at)}: {what}"
    outcomes = [job.outcome for job in record.jobs if job.outcome is not None]
    open_jobs = len(record.jobs) - len(outcomes)
    if open_jobs:
        yield f"The run has not ended: {open_jobs} of {len(record.jobs)} jobs have no outcome yet"
    if rescued := sum(job.rescued for job in record.jobs):
        yield f"{words.plural(rescued, 'failure')} rescued: the later steps of the target went on, and it counts as failed"
    if gone := [record.plan.targets[left.target] for left in record.plan.left]:
        yield (
            f"{plural(len(gone), 'target')} left the selection after the plan was made and "
            f"{'was' if len(gone) == 1 else 'were'} not run: {fold(labels.get(t.id, t.name) for t in gone)}"
        )
    if not record.plan.receipts:
        yield "Receipts were off: what only a receipt could prove is unverified"
    if twice := [labels.get(job.job.target.id, job.job.target.name) for job in record.jobs if job.may_have_run_twice]:
        yield (
            f"{plural(len(twice), 'script')} may have run twice, should the first request, which was lost and not found a "
            f"minute apart, have arrived after the second: {fold(twice)}"
        )
    if replayed := sum(outcome.replayed for outcome in outcomes):
        kept = "is a kept one" if replayed == 1 else "are kept ones"
        yield f"{plural(replayed, 'answer')} {kept}: the script ran at an earlier delivery, not again"
    if unchanged := sum(outcome.cause.code is CauseCode.UNCHANGED for outcome in outcomes):
        yield f"Rows with an earlier result, as Azure does not run an unchanged standing command again: {unchanged}"
    if cut := sum(outcome.truncated for outcome in outcomes):
        yield (
            f"The beginning of the output of {plural(cut, 'job')} was too much for the channel: "
            f"fleet output {record.run_id} VM --full fetches all of it, while the VM keeps it"
        )
    yield from _left_behind(record, labels)


def _left_behind(record: RunRecord, labels: Mapping[str, str]) -> Iterable[str]:
    """Say which VMs may still hold commands of the run, why Azure did not delete them, and how to."""
    left = [(labels.get(job.job.target.id, job.job.target.name), each) for job in record.jobs for each in job.leftovers]
    if not left:
        return
    one = len(left) == 1
    lie = "command of this run may still lie on its VM" if one else "commands of this run may still lie on VMs"
    yield f"{len(left)} managed {lie}: {fold(dict.fromkeys(name for name, _ in left))}"
    refused: defaultdict[tuple[CauseCode, str], list[tuple[str, str]]] = defaultdict(list)
    for name, each in left:
        if each.cause is not None:
            refused[each.cause.code, each.cause.hint].append((name, each.cause.message))
    for (_, hint), members in refused.items():
        names = fold(dict.fromkeys(name for name, _ in members))
        yield f"Azure did not delete them on {names}: {members[0][1]}" + (f"; {hint}" if hint else "")
    yield f"To delete them: fleet commands delete all --name 'fleet-{record.run_id}-*'"
