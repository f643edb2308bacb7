"""The control plane: one request in, one answer out. Pure; the time is handed in.

Order of judgement: sign-in, what goes wrong on purpose, api-version, buckets, rights, what is there, locks and policies, then
the request.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping
from functools import lru_cache
from uuid import UUID

from fleet.lab.arm import authorization
from fleet.lab.arm import faults as fault_rules
from fleet.lab.arm.arc_commands import HybridRuns
from fleet.lab.arm.inventory import Inventory
from fleet.lab.arm.power import Power
from fleet.lab.arm.routes import Call, Route, known_path, match
from fleet.lab.arm.runs import Runs
from fleet.lab.arm.surroundings import nic_of
from fleet.lab.arm.throttle import Cost, Policy, Throttle, Verb
from fleet.lab.arm.versions import refusal_of, type_of
from fleet.lab.wire import Answer, Request, denied, not_found
from fleet.lab.world.blobs import Blobs
from fleet.lab.world.build import build
from fleet.lab.world.chance import named_uuid
from fleet.lab.world.executions import Life
from fleet.lab.world.machine_spec import AgentState, PowerState
from fleet.lab.world.operations import Operations
from fleet.lab.world.scripted import Envelope, Guests, ScriptedGuests
from fleet.lab.world.spec import ON_OPERATIONS, FaultKind, FaultSpec, LabSpec
from fleet.lab.world.timing import Timing
from fleet.lab.world.world import Kind, Machine, World


class ControlPlane:
    """A pretend Azure Resource Manager with its Compute and Resource Graph providers."""

    def __init__(
        self,
        spec: LabSpec,
        *,
        sandboxed: bool,
        powershell: bool = True,
        envelope: Envelope | None = None,
        guests: Callable[[Guests], Guests] | None = None,
    ) -> None:
        """Build what the file describes. ``guests`` puts others in front of the lab's scripted guests."""
        self.world: World = build(spec, sandboxed=sandboxed, powershell=powershell)
        self.blobs = Blobs(seed=spec.seed)
        self.operations = Operations(spec.seed, self.world.tenant, spec.url_length)
        self.throttle = Throttle(enforced=spec.throttling == "real")
        self.faults = fault_rules.Faults(spec.seed, spec.faults)
        scripted = ScriptedGuests(spec.seed, spec.speed, envelope)
        timing = Timing(spec.seed, spec.speed)
        answering = scripted if guests is None else guests(scripted)
        self.life = Life(self.operations, timing, answering, self.blobs, spec.lag, spec.remember_names)
        self.requests: Counter[str] = Counter()
        self.statuses: Counter[int] = Counter()
        self.speed = spec.speed
        self._seed = spec.seed
        self._inventory = Inventory(self.world, spec, timing.scaled(spec.graph_lag))
        self._power = Power(self.life, self.operations, timing, lambda vm, now, power: self.move(vm, now, power=power))
        self._runs = Runs(self.life, self.operations, self._power, rerun_identical=spec.rerun_identical)
        self._hybrid = HybridRuns(self.life, self.operations, timing)

    @property
    def base(self) -> str:
        """The lab's own URL, which its answers carry."""
        return self.blobs.base

    @base.setter
    def base(self, url: str) -> None:
        self.blobs.base = self._inventory.base = self._runs.base = self._hybrid.base = url

    def handle(self, request: Request, now: float) -> Answer:
        """Answer one request of the ARM endpoint."""
        self._power.advance(now)
        self.life.advance(now)
        answer = self._judged(request, now)
        self.statuses[answer.status] += 1
        self._stamp(request, answer)
        return answer

    def move(
        self,
        machine: Machine,
        now: float,
        *,
        power: str | None = None,
        agent: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Change a machine's power, agent or tags from outside. Raises ValueError for states there are not."""
        self._inventory.remember()
        new_power = machine.power if power is None else PowerState(power)
        machine.agent = machine.agent if agent is None else AgentState(agent)
        machine.power = new_power
        if tags is not None:
            machine.tags = dict(tags)
        self._inventory.changed(machine, now)
        if not machine.running:
            self.life.halt(machine)
        if machine.agent is AgentState.READY:
            self.life.agent_is_back(machine, now)

    def power_off(self, machine: Machine, now: float) -> None:
        """Let a machine power off from inside. What runs in it ends without a word; an Arc machine is away then."""
        agent = AgentState.NOT_READY if machine.kind is Kind.ARC else None
        self.move(machine, now, power=PowerState.STOPPED, agent=agent)

    def state(self) -> dict[str, object]:
        """Return the lab's counters, for people and tests."""
        return {
            "machines": sum(1 for _ in self.world.everything()),
            "executions": dict(self.life.counts),
            "boots": {machine.id: machine.boots for machine in self.world.everything() if machine.boots},
            "requests": dict(self.requests),
            "statuses": {str(status): count for status, count in self.statuses.items()},
            "throttled": self.throttle.refused,
            "faults": [
                {"rule": rule.model_dump(), "hits": self.faults.hits[at]} for at, rule in enumerate(self.faults.rules)
            ],
        }

    def _judged(self, request: Request, now: float) -> Answer:
        found = match(request.method, request.path)
        if found is None:
            return self._nowhere(request)
        route, params = found
        self.requests[route.call] += 1
        if not request.headers.get("authorization", "").lower().startswith("bearer "):
            return _unsigned()
        machine = self._machine(route, params)
        rule = self.faults.strike(route.fault, machine.name if machine else "") if route.fault else None
        if rule is not None and not fault_rules.executes(rule):
            return fault_rules.instead(rule, now, request.method, params.get("command", ""))
        answer = self._served(request, route, params, machine, now)
        return answer if rule is None else self._spoiled(rule, answer, machine, now)

    def _spoiled(self, rule: FaultSpec, answer: Answer, machine: Machine | None, now: float) -> Answer:
        """Let a rule's consequences follow a request that was carried out."""
        operation = self.operations.find(answer.headers.get("x-ms-request-id", ""))
        if rule.what in ON_OPERATIONS and operation is not None:
            if rule.what is FaultKind.OPERATION_PREEMPTED:
                self.life.preempt_operation(operation, now)
            fault_rules.befall(rule, operation, now)
        elif rule.what is FaultKind.VM_STOPS and machine is not None:
            self.move(machine, now, power=PowerState.STOPPED)
        elif rule.what is FaultKind.VM_VANISHES and machine is not None:
            self.remove(machine, now)
        return fault_rules.spoiled(rule, answer)

    def remove(self, machine: Machine, now: float) -> None:
        """Delete a machine from outside. What ran in it is gone with it."""
        self.life.halt(machine)
        self.world.remove(machine)

    def _served(
        self, request: Request, route: Route, params: Mapping[str, str], machine: Machine | None, now: float
    ) -> Answer:
        if (wrong := self._wrong_version(request, route, machine, params)) is not None:
            return wrong
        headers, refused = self._charge(request, route, params, machine, now)
        if refused is not None:
            refused.headers = {**headers, **refused.headers}
            return refused
        barred = self._forbidden(request, route, params, machine) or self._missing(params)
        barred = barred or self._held(request, route, params, machine)
        if barred is not None:
            return barred
        if route.call in self._runs.calls and machine is not None and machine.kind is Kind.ARC:
            answer = self._hybrid.answer(route.call, request, params, machine, now)
        elif route.call in self._runs.calls:
            answer = self._runs.answer(route.call, request, params, machine, now)
        else:
            answer = self._inventory.answer(route.call, request, params, machine, now)
        if "set" in params and answer.status < 400:
            headers["x-ms-request-charge"] = "4" if route.call is Call.INSTANCES else "1"
        answer.headers = {**headers, **answer.headers}
        return answer

    def _forbidden(
        self, request: Request, route: Route, params: Mapping[str, str], machine: Machine | None
    ) -> Answer | None:
        """Refuse a caller who lacks the right. Operations are read at the subscription (documented)."""
        action = authorization.action_of(route.call, request.path)
        if not (self.world.limited and action and "sub" in params and self.world.subscription(params["sub"])):
            return None
        inside = None if route.call is Call.OPERATION else machine
        if self.world.may(action, params["sub"], params.get("group"), inside):
            return None
        return authorization.forbidden(action, _scope_of(request.path), principal(request))

    def _held(
        self, request: Request, route: Route, params: Mapping[str, str], machine: Machine | None
    ) -> Answer | None:
        """Refuse what a lock or a policy forbids."""
        if machine is None:
            return None
        chain = self.world.chain(params["sub"], machine.group.name, machine)
        resource = f"{machine.id}/runCommands/{params['command']}" if "command" in params else machine.id
        return authorization.refused(route.call, chain, resource)

    def _wrong_version(
        self, request: Request, route: Route, machine: Machine | None, params: Mapping[str, str]
    ) -> Answer | None:
        version = request.query.get("api-version")
        if not version:
            text = "The api-version query parameter (?api-version=) is required for all requests."
            return denied(400, "MissingApiVersionParameter", text)
        placed = machine is not None and route.call not in (Call.OPERATION, Call.PERMISSIONS, Call.LOCKS)
        location = machine.location if machine and placed else params.get("location", "")
        locations = sorted({each.location for each in self.world.everything()})
        return refusal_of(type_of(route.call, request.path), version, location, locations)

    def _charge(
        self, request: Request, route: Route, params: Mapping[str, str], machine: Machine | None, now: float
    ) -> tuple[dict[str, str], Answer | None]:
        who = principal(request)
        if route.call is Call.QUERY:
            return self.throttle.query(who, now)
        polls = route.policy is Policy.GET_OPERATION
        region = machine.location if machine else params.get("location", "")
        resource = machine.key if machine else params.get("set", "")
        verb = Verb.READS if polls else route.verb
        cost = Cost(
            verb,
            params.get("sub", self.world.tenant),
            who,
            route.policy,
            region if route.policy is not Policy.HIGH_COST_GET else "",
            params.get("operation", "") if polls else resource,
        )
        return self.throttle.take(cost, now)

    def _machine(self, route: Route, params: Mapping[str, str]) -> Machine | None:
        if route.call is Call.OPERATION:
            operation = self.operations.find(params["operation"])
            return operation.machine if operation else None
        match params:
            case {"vm": name}:
                return self.world.machine(params["sub"], params["group"], name)
            case {"set": name, "instance": instance}:
                return self.world.instance(params["sub"], params["group"], name, instance)
            case {"nic": name}:
                return nic_of(self.world.group(params["sub"], params["group"]), name)
            case {"arc": name}:
                return self.world.arc_machine(params["sub"], params["group"], name)
        return None

    def _missing(self, params: Mapping[str, str]) -> Answer | None:
        """Refuse a subscription, group, machine or scale set that is not there (recorded texts)."""
        sub, group = params.get("sub"), params.get("group")
        if sub is None:
            return None
        if self.world.subscription(sub) is None:
            if not _is_guid(sub):
                text = f"The provided subscription identifier '{sub}' is malformed or invalid."
                return denied(400, "InvalidSubscriptionId", text)
            return denied(404, "SubscriptionNotFound", f"The subscription '{sub}' could not be found.")
        if group is not None and self.world.group(sub, group) is None:
            return denied(404, "ResourceGroupNotFound", f"Resource group '{group}' could not be found.")
        return None if group is None else self._missing_below(sub, group, params)

    def _missing_below(self, sub: str, group: str, params: Mapping[str, str]) -> Answer | None:
        vm, scale_set, arc = params.get("vm"), params.get("set"), params.get("arc")
        if vm is not None and self.world.machine(sub, group, vm) is None:
            return not_found(f"virtualMachines/{vm}", group)
        if scale_set is not None and self.world.scale_set(sub, group, scale_set) is None:
            return not_found(f"virtualMachineScaleSets/{scale_set}", group)
        nic = params.get("nic")
        if nic is not None and nic_of(self.world.group(sub, group), nic) is None:
            return not_found(f"networkInterfaces/{nic}", group, "Microsoft.Network")
        if arc is not None and self.world.arc_machine(sub, group, arc) is None:
            return not_found(f"machines/{arc}", group, "Microsoft.HybridCompute")
        return None

    def _nowhere(self, request: Request) -> Answer:
        self.requests["unknown"] += 1
        if not request.headers.get("authorization", "").lower().startswith("bearer "):
            return _unsigned()
        if known_path(request.path):
            return denied(405, "MethodNotAllowed", f"The lab does not know {request.method} {request.path}.")
        return denied(
            404,
            "InvalidResourceType",
            f"The lab has nothing at {request.path}; docs/lab.md lists what it has.",
        )

    def _stamp(self, request: Request, answer: Answer) -> None:
        """Add the headers every answer of ARM has (recorded)."""
        turn = self.statuses.total()
        id = named_uuid(self._seed, f"request/{turn}")
        known = {
            "Cache-Control": "no-cache",
            "Pragma": "no-cache",
            "Expires": "-1",
            "x-ms-request-id": id,
            "x-ms-correlation-request-id": id,
            "x-ms-routing-request-id": f"LAB:{id}",
            "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
            "X-Content-Type-Options": "nosniff",
        }
        client = request.headers.get("x-ms-client-request-id")
        if client and request.headers.get("x-ms-return-client-request-id", "").lower() == "true":
            known["x-ms-client-request-id"] = client
        answer.headers = {**known, **answer.headers}


def _scope_of(path: str) -> str:
    """Return what a request is about, as a refusal names it: without what an action or a provider adds."""
    for end in ("/runCommand", "/instanceView"):
        path = path.removesuffix(end)
    return path.partition("/providers/Microsoft.Authorization")[0]


def principal(request: Request) -> str:
    """Name who asks: the token's object or application id if it is a JWT, else the token's digest."""
    return _holder(request.headers.get("authorization", "")[len("bearer ") :])


@lru_cache(maxsize=64)
def _holder(token: str) -> str:
    parts = token.split(".")
    if len(parts) == 3:
        try:
            claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
            return str(claims.get("oid") or claims.get("appid") or claims["sub"])
        except (ValueError, KeyError, AttributeError):
            pass
    return str(UUID(hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()[:32]))


def fault_specs(data: object) -> list[FaultSpec]:
    """Read fault rules that come over the wire. Raises pydantic's ValidationError (a ValueError)."""
    items = data if isinstance(data, list) else [data]
    return [FaultSpec.model_validate(item) for item in items]


def _unsigned() -> Answer:
    challenge = 'Bearer authorization_uri="https://login.windows.net/common", error="invalid_token"'
    text = "Authentication failed. The 'Authorization' header is missing."
    return denied(401, "AuthenticationFailed", text, {"WWW-Authenticate": challenge})


def _is_guid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True
