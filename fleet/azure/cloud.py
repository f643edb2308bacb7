"""Run Command on the real service, behind the engine's port: one request, or two, for each question."""

from __future__ import annotations

import asyncio

from fleet.azure.agents import Agents
from fleet.azure.reading import paced
from fleet.azure.transport import Transport
from fleet.azure.wire import agents, compute, hybrid, preflight, run_command
from fleet.azure.wire.arm import is_gone, merge, not_done, quota, read_operation, retry_after
from fleet.azure.wire.cloud_error import error_of
from fleet.azure.wire.http import Json, NoResponse, Request, Response, as_object, as_text, dig
from fleet.azure.wire.links import Links, links
from fleet.engine.ports import Reply
from fleet.engine.turns import SharedRates
from fleet.playbook.model import Transport as Way
from fleet.run.answers import (
    Accepted,
    AgentAnswer,
    Command,
    FindAnswer,
    Finished,
    Found,
    LookAnswer,
    Lost,
    LostReason,
    Missing,
    Operation,
    Quota,
    Refusal,
    Refused,
    RemoveAnswer,
    Removed,
    StillRunning,
    SubmitAnswer,
)
from fleet.run.retry import is_unreadable
from fleet.targets.model import Kind, Target


class AzureCloud:
    """The port ``Cloud`` over Azure Resource Manager, the same for VMs, scale-set instances and Arc machines.

    Never retries a submission, never waits for anything but the wire, and raises only
    :class:`fleet.errors.AzureUnusable`, when there is no token. Reads beyond the one that a run counts for each question
    are counted in ``shared``.
    """

    def __init__(self, transport: Transport, *, shared: SharedRates | None = None) -> None:
        self._transport = transport
        self._shared = shared or SharedRates(clock=transport.clock)
        self._agents = Agents(paced(transport, self._shared, asyncio.sleep))
        self._results: dict[str, str] = {}
        """``Location`` of each action on its way, by the operation that is asked instead. Nothing of it is kept on disk."""

    async def submit(self, command: Command) -> Reply[SubmitAnswer]:
        """Send a command once: 2xx is accepted, 4xx refused, anything else lost.

        An Arc machine is asked first whether it is connected; one that is not is refused, and nothing is sent. So is a VM
        whose agent is not ready, where the command says to check that.
        """
        if refusal := run_command.unsendable(command):
            return Reply(Refused(refusal))
        seen: Quota | None = None
        if command.target.kind is Kind.ARC and (kept := await self._kept_back(command.target)):
            return kept
        if command.target.kind is Kind.VM and command.check_agent:
            refusal, seen = await self._agent_refusal(command)
            if refusal is not None:
                return Reply(Refused(refusal), seen)
        return await self._sent(command, seen)

    async def _agent_refusal(self, command: Command) -> tuple[Refusal | None, Quota | None]:
        """Say why a command is not sent to a VM whose agent is not ready; None if it is to be, or nothing is known."""
        if not await self._agents.is_doubtful(command.target, command.wave):
            return None, None
        answer, left = await self._get_more(command.target, compute.vm_view(command.target))
        return agents.refusal_for(agents.read_state(answer.json())) if isinstance(answer, Response) else None, left

    async def _sent(self, command: Command, seen: Quota | None) -> Reply[SubmitAnswer]:
        request = run_command.submission(command)
        answer = await self._transport.send(request)
        left = merge(seen, quota(answer, command.target.subscription, command.target.location))
        failed = not_done(answer, self._now())
        if failed is not None or isinstance(answer, NoResponse):
            return Reply(failed or Lost(LostReason.MALFORMED), left)
        return Reply(self._accepted(command, request, answer), left)

    async def _kept_back(self, target: Target) -> Reply[SubmitAnswer] | None:
        """Say why a command is not sent to an Arc machine; None if it is to be."""
        answer, left = await self._get(target, hybrid.reading(target))
        if isinstance(answer, Lost):
            # What was lost is the question: the command did not leave.
            return Reply(Lost(LostReason.NOT_CONNECTED, answer.detail or answer.reason.value), left)
        if isinstance(answer, Refused):
            return Reply(answer, left)
        refusal = hybrid.away(answer.json())
        return Reply(Refused(refusal), left) if refusal else None

    def _accepted(self, command: Command, request: Request, answer: Response) -> Accepted | Lost:
        found = links(answer, self._transport.base_url, request.target)
        wait = retry_after(answer, self._now())
        if command.transport is Way.MANAGED:
            # The resource itself tells how it stands, so a missing or refused link is no loss.
            resource = run_command.resource_id(command.target, command.name)
            return Accepted(Operation(Way.MANAGED, found.status, resource=resource), wait)
        operation = Operation(Way.ACTION, found.status, "" if found.status else found.location)
        if found.status and found.location:
            self._results[found.status] = found.location
        result = None if answer.status == 202 else run_command.immediate_result(answer.json(), bool(operation.links))
        if result is None and not operation.links:
            return Lost(LostReason.MALFORMED, _no_link(answer, found))
        return Accepted(operation, wait, result)

    async def look(self, target: Target, operation: Operation) -> Reply[LookAnswer]:
        """Read how a command stands."""
        if operation.transport is Way.MANAGED:
            return await self._look_managed(target, operation)
        if not operation.status_url:
            return await self._look_location(target, operation.location_url)
        return await self._look_action(target, operation)

    async def _look_action(self, target: Target, operation: Operation) -> Reply[LookAnswer]:
        answer, left = await self._get(target, Request("GET", operation.status_url))
        if isinstance(answer, (Refused, Lost)):
            return Reply(answer, left)
        status = read_operation(answer.json())
        if status is None:
            return Reply(Lost(LostReason.MALFORMED, "the answer is no operation"), left)
        state = run_command.action_state(status)
        if isinstance(state, StillRunning):
            return Reply(StillRunning(retry_after(answer, self._now())), left)
        place = operation.location_url or self._results.get(operation.status_url)
        if state is None and place:
            self._count_read(target)
            final = await self._look_location(target, place)
            state, left = final.answer, merge(left, final.quota)
        if not isinstance(state, (StillRunning, Refused, Lost)):
            self._results.pop(operation.status_url, None)
        return Reply(state or run_command.WITHOUT_RESULT, left)

    async def _look_location(self, target: Target, link: str) -> Reply[LookAnswer]:
        """Read the final answer: 202 while running (ARM RPC contract), 200 with the result (recorded)."""
        answer, left = await self._get(target, Request("GET", link))
        if isinstance(answer, (Refused, Lost)):
            return Reply(answer, left)
        if answer.status == 202:
            return Reply(StillRunning(retry_after(answer, self._now())), left)
        result = run_command.action_result(answer.json())
        if result is None:
            return Reply(Lost(LostReason.MALFORMED, "the answer is no result of a run command"), left)
        return Reply(Finished(result), left)

    async def _look_managed(self, target: Target, operation: Operation) -> Reply[LookAnswer]:
        answer, left = await self._get(target, run_command.reading(operation.resource))
        if isinstance(answer, (Refused, Lost)):
            return Reply(answer, left)
        data = answer.json()
        if run_command.is_of_another(operation.resource, data):
            return Reply(Lost(LostReason.MALFORMED, "the answer is about another run command"), left)
        state = run_command.managed_state(data)
        if isinstance(state, StillRunning):
            return Reply(StillRunning(retry_after(answer, self._now())), left)
        if state is not None:
            return Reply(state, left)
        return await self._why_provisioning_failed(target, operation, data, left)

    async def _why_provisioning_failed(
        self, target: Target, operation: Operation, data: Json, left: Quota | None
    ) -> Reply[LookAnswer]:
        if not operation.status_url:
            return Reply(run_command.provisioning_failed(data, None), left)
        answer, more = await self._get_more(target, Request("GET", operation.status_url))
        if isinstance(answer, Lost) or (isinstance(answer, Refused) and not is_unreadable(answer.refusal)):
            return Reply(answer, merge(left, more))  # why it failed decides how the job ended: it is asked again
        status = read_operation(answer.json()) if isinstance(answer, Response) else None
        return Reply(run_command.provisioning_failed(data, status), merge(left, more))

    async def find(self, target: Target, name: str) -> Reply[FindAnswer]:
        """Look whether a managed command exists. That its VM does not is a refusal, not ``Missing``."""
        resource = run_command.resource_id(target, name)
        answer = await self._transport.send(run_command.reading(resource))
        left = quota(answer, target.subscription, target.location)
        if isinstance(answer, Response) and answer.status == 404:
            missing = run_command.read_missing(target, error_of(answer))
            if missing is None:
                return await self._settle(target, left)
            if missing:
                return Reply(Missing(), left)
        failed = not_done(answer, self._now())
        if failed is not None or isinstance(answer, NoResponse):
            return Reply(failed or Lost(LostReason.MALFORMED), left)
        named = as_text(answer.object().get("name")).casefold() == name.casefold()
        if not named or run_command.is_of_another(resource, answer.json()):
            return Reply(Lost(LostReason.MALFORMED, "the answer is not the run command asked for"), left)
        return Reply(Found(Operation(Way.MANAGED, resource=resource), run_command.mark(answer.json())), left)

    async def _settle(self, target: Target, left: Quota | None) -> Reply[FindAnswer]:
        """Settle a 404 that does not say what is missing: where the VM is there, it is the command."""
        answer, more = await self._get_more(target, preflight.vm_view(target))
        left = merge(left, more)
        if isinstance(answer, (Refused, Lost)):
            return Reply(answer, left)
        data = answer.json()
        if not as_object(dig(data, "properties")) or run_command.is_of_another(target.id, data):
            return Reply(Lost(LostReason.MALFORMED, "the answer is not the VM asked for"), left)
        return Reply(Missing(), left)

    async def remove(self, target: Target, name: str) -> Reply[RemoveAnswer]:
        """Delete a managed command; one that is not there counts as removed."""
        answer = await self._transport.send(run_command.removal(target, name))
        left = quota(answer, target.subscription, target.location)
        if is_gone(answer):
            return Reply(Removed(), left)
        return Reply(not_done(answer, self._now()) or Removed(), left)

    async def agent(self, target: Target) -> Reply[AgentAnswer]:
        """Read whether a VM's agent, or a scale-set instance's, reports."""
        answer, left = await self._get(target, compute.vm_view(target))
        if isinstance(answer, (Refused, Lost)):
            return Reply(answer, left)
        report = agents.report_of(agents.read_state(answer.json()))
        return Reply(report or Lost(LostReason.MALFORMED, "the VM's view does not say how its agent is"), left)

    async def _get_more(self, target: Target, request: Request) -> tuple[Response | Refused | Lost, Quota | None]:
        """Read what no run has counted. It does not wait for its turn: the answer that it is for has begun."""
        self._count_read(target)
        return await self._get(target, request)

    def _count_read(self, target: Target) -> None:
        self._shared.rates.arm(target.subscription).reads.take(self._shared.clock.now())

    async def _get(self, target: Target, request: Request) -> tuple[Response | Refused | Lost, Quota | None]:
        answer = await self._transport.send(request)
        left = quota(answer, target.subscription, target.location)
        failed = not_done(answer, self._now())
        if failed is not None or isinstance(answer, NoResponse):
            return failed or Lost(LostReason.MALFORMED), left
        return answer, left

    def _now(self) -> float:
        return self._transport.clock.now()


def _no_link(answer: Response, found: Links) -> str:
    if found.refused:
        return f"HTTP {answer.status} with an operation whose link {found.refused}: not followed"
    return f"HTTP {answer.status} without an operation to ask about"
