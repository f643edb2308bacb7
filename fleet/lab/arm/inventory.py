"""Requests that only look: subscriptions, groups, VMs, Resource Graph. Pure."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar
from urllib.parse import quote

from fleet.lab.arm import answers, arc, query, scale_sets, surroundings
from fleet.lab.arm.expressions import Row
from fleet.lab.arm.routes import Call
from fleet.lab.arm.tokens import Unknown
from fleet.lab.wire import Answer, Json, Request, compute, gateway, refusal, stamp
from fleet.lab.world import access, builtins
from fleet.lab.world.chance import named_uuid
from fleet.lab.world.spec import LabSpec
from fleet.lab.world.world import Kind, Machine, Subscription, World

Item = TypeVar("Item")
_GROUP = "Microsoft.Resources/subscriptions/resourceGroups"
_SURROUNDINGS = {
    Call.PERMISSIONS,
    Call.LOCKS,
    Call.INTERFACE,
    Call.INTERFACES,
    Call.ADDRESSES,
    Call.EXTENSIONS,
    Call.RESOURCES,
    Call.TAG_NAMES,
}
_MOST_ROWS = 1000  # documented: at most 1,000 rows in an answer, 100 if nothing is asked for
_USUAL_ROWS = 100
_ENTITY_MISSING = "The entity was not found in this Azure location."


class Inventory:
    """Answers that change nothing. ``base`` is the lab's own URL, put in front of every nextLink."""

    def __init__(self, world: World, spec: LabSpec, graph_lag: float) -> None:
        self.base = ""
        self._world = world
        self._spec = spec
        self._queries = 0
        self._graph_lag = graph_lag
        self._rows_known: dict[str, Row] | None = None
        self._news: list[tuple[float, str, Row]] = []

    def remember(self) -> None:
        """A machine is about to change: keep what Resource Graph knows until now."""
        self._known()

    def changed(self, machine: Machine, now: float) -> None:
        """A machine has changed: Resource Graph learns of it when its lag is over."""
        if machine.kind is not Kind.INSTANCE:
            self._news.append((now + self._graph_lag, machine.key, _row(machine)))

    def answer(
        self,
        call: Call,
        request: Request,
        params: Mapping[str, str],
        machine: Machine | None,
        now: float,
    ) -> Answer:
        """Answer one request; subscription, group and VM are known to be there."""
        match call:
            case Call.SUBSCRIPTIONS:
                subs = [answers.subscription(sub) for sub in self._world.subscriptions.values() if self._shows(sub)]
                count = {"type": "Total", "value": len(subs)}
                return gateway(200, {"value": subs, "count": count})
            case Call.SUBSCRIPTION:
                sub = self._world.subscription(params["sub"])
                return gateway(200, answers.subscription(sub) if sub else {})
            case Call.TENANTS:
                tenant = {"id": f"/tenants/{self._world.tenant}", "tenantId": self._world.tenant}
                return gateway(200, {"value": [{**tenant, "displayName": "Lab", "tenantCategory": "Home"}]})
            case Call.GROUPS:
                sub = self._world.subscription(params["sub"])
                shown = [each for each in sub.groups.values() if self._world.may_read(each.id, _GROUP)] if sub else []
                return gateway(200, {"value": [answers.group(each) for each in shown]})
            case Call.GROUP:
                group = self._world.group(params["sub"], params["group"])
                return gateway(200, answers.group(group) if group else {})
            case Call.VMS | Call.VMS_OF_GROUP:
                return self._vms(request, params)
            case Call.SETS | Call.SET | Call.INSTANCES | Call.ARC_MACHINES:
                return self._others(call, request, params)
            case Call.BUILTINS:
                return compute(200, {"value": [each.summary() for each in builtins.listed()]})
            case Call.BUILTIN:
                known = builtins.find(params["command"])
                return compute(200, known.document()) if known else entity_missing()
            case Call.QUERY:
                return self._query(request, now)
            case _ if call in _SURROUNDINGS:
                return self._surroundings(call, request, params, machine)
            case _:
                return self._vm(call, request, machine)

    def _surroundings(self, call: Call, request: Request, params: Mapping[str, str], machine: Machine | None) -> Answer:
        """Answer what is asked about rights and locks, and by other tools about a VM and its subscription."""
        if call in (Call.PERMISSIONS, Call.LOCKS):
            return self._authorization(call, request, params, machine)
        sub, group = params["sub"], params.get("group")
        found: list[Json] | None = []
        if call is Call.INTERFACE:
            return gateway(200, surroundings.interface(machine)) if machine else entity_missing()
        if call is Call.INTERFACES:
            found = [surroundings.interface(each) for each in self._world.machines(sub, group)]
        elif call is Call.TAG_NAMES:
            holder = self._world.subscription(sub)
            found = surroundings.tag_names(self._world, holder) if holder else []
        elif call is Call.RESOURCES:
            found = surroundings.resources(self._world, sub, group, request.query.get("$filter", ""))
        if found is None:
            text = "The lab knows no $filter of resources but resourceType eq '...'."
            return gateway(400, refusal("InvalidFilterInQueryString", text))
        return gateway(200, {"value": found})

    def _authorization(
        self, call: Call, request: Request, params: Mapping[str, str], machine: Machine | None
    ) -> Answer:
        """List what may be done at a scope, or the locks on it, above it and, unless ``atScope()`` is given, below it."""
        chain = self._world.chain(params["sub"], params.get("group"), machine)
        if call is Call.PERMISSIONS:
            return gateway(200, {"value": list(access.permissions(chain, limited=self._world.limited))})
        at = request.query.get("$filter", "").replace(" ", "").lower() == "atscope()"
        return gateway(200, {"value": list(access.locks(chain if at else self._world.below(chain)))})

    def _shows(self, sub: Subscription) -> bool:
        """A subscription is listed to who has any right in it (documented)."""
        scopes = self._world.below(self._world.chain(sub.id)) if self._world.limited else []
        return not self._world.limited or any(scope.access.rights is not None for scope in scopes)

    def _others(self, call: Call, request: Request, params: Mapping[str, str]) -> Answer:
        sub, group = params["sub"], params.get("group")
        if call is Call.SETS:
            return self._page(request, list(self._world.scale_sets(sub, group)), scale_sets.scale_set)
        if call is Call.ARC_MACHINES:
            return self._page(request, list(self._world.arc(sub, group)), arc.machine)
        found = self._world.scale_set(sub, params["group"], params["set"])
        if found is None:
            return entity_missing()
        if call is Call.SET:
            return compute(200, scale_sets.scale_set(found))
        view = request.query.get("$expand", "").lower() == "instanceview"
        instances = list(found.instances.values())
        if found.flexible:
            return self._page(request, instances, answers.vm)
        return self._page(request, instances, lambda machine: scale_sets.instance(machine, view=view))

    def _vm(self, call: Call, request: Request, machine: Machine | None) -> Answer:
        if machine is None:
            return entity_missing()
        if machine.kind is Kind.ARC:
            return gateway(200, arc.machine(machine))
        instance = machine.kind is Kind.INSTANCE
        if call is Call.VM_VIEW:
            return compute(200, scale_sets.instance_view(machine) if instance else answers.instance_view(machine))
        wanted = request.query.get("$expand", "").lower()
        if wanted not in ("", "instanceview", "userdata"):
            return compute(400, refusal("InvalidParameter", f"The value '{wanted}' of parameter $expand is invalid."))
        render = scale_sets.instance if instance else answers.vm
        return compute(200, render(machine, view=wanted == "instanceview"))

    def _vms(self, request: Request, params: Mapping[str, str]) -> Answer:
        if request.query.get("$expand") and "$filter" not in request.query:
            text = "The $expand query parameter is only supported together with $filter."
            return compute(400, refusal("InvalidParameter", text))
        place = params.get("location", "").lower()
        machines = [
            each
            for each in self._world.machines(params["sub"], params.get("group"))
            if not place or each.location.lower() == place
        ]
        short = request.query.get("statusOnly", "").lower() == "true"
        return self._page(request, machines, answers.status if short else answers.vm)

    def _page(self, request: Request, items: Sequence[Item], render: Callable[[Item], Json]) -> Answer:
        """Give one page. Empty pages with a nextLink are normal (recorded); ``e`` marks that one was
        given.
        """
        token = request.query.get("$skiptoken") or request.query.get("$skipToken") or "0"
        if not token.removeprefix("e").isdigit():
            return compute(400, refusal("InvalidParameter", "The value of parameter $skiptoken is invalid."))
        at = int(token.removeprefix("e"))
        if self._spec.empty_pages and not token.startswith("e"):
            return compute(200, {"value": [], "nextLink": self._link(request, f"e{at}")})
        end = at + self._spec.page_size
        page: dict[str, object] = {"value": [render(each) for each in items[at:end]]}
        if end < len(items):
            page["nextLink"] = self._link(request, str(end))
        return compute(200, page)

    def _link(self, request: Request, token: str) -> str:
        """Build a nextLink; the service writes %24skiptoken and wants it back byte for byte (recorded)."""
        kept = [
            f"{quote(name, safe='')}={quote(value, safe='')}"
            for name, value in request.query.items()
            if name.lower() != "$skiptoken"
        ]
        path = request.raw.partition("?")[0]
        return f"{self.base}{path}?{'&'.join([*kept, f'%24skiptoken={token}'])}"

    # -- Resource Graph ------------------------------------------------------------------------------------

    def _query(self, request: Request, now: float) -> Answer:
        try:
            body = request.json()
        except ValueError:
            body = None
        if not isinstance(body, Mapping) or not isinstance(body.get("query"), str):
            return self._invalid(now, [{"code": "InvalidRequest", "message": "The query is missing."}])
        options = body.get("options") if isinstance(body.get("options"), Mapping) else {}
        assert isinstance(options, Mapping)
        try:
            found = query.run(body["query"], self._tables(body.get("subscriptions"), now))
        except Unknown as problem:
            return self._invalid(now, _parser_failure(problem))
        return self._rows(found, body["query"], options, now)

    def _rows(self, found: query.Outcome, text: str, options: Json, now: float) -> Answer:
        at, wrong = _offset(options, text)
        if wrong:
            return self._invalid(now, [{"code": "InvalidSkipToken", "message": wrong}])
        top = options.get("$top")
        size = min(top, _MOST_ROWS) if isinstance(top, int) and top > 0 else _USUAL_ROWS
        rows = found.rows[at : at + size]
        more = at + size < len(found.rows)
        answer: dict[str, object] = {"totalRecords": len(found.rows), "count": len(rows)}
        answer["data"] = _table(rows) if options.get("resultFormat") == "table" else rows
        answer["facets"] = []
        answer["resultTruncated"] = "true" if more else "false"
        if more and found.has_id:
            answer["$skipToken"] = _token(at + size, text)
        return gateway(200, answer)

    def _tables(self, given: object, now: float) -> dict[str, Callable[[], Sequence[Row]]]:
        named = {str(each).casefold() for each in given} if isinstance(given, list) else None

        def inside(row: Row) -> bool:
            if named is not None and str(row["subscriptionId"]).casefold() not in named:
                return False
            return self._world.may_read(str(row["id"]), str(row["type"]))

        def resources() -> list[Row]:
            known = self._known()
            for _, key, row in [each for each in self._news if each[0] <= now]:
                known[key] = row
            self._news = [each for each in self._news if each[0] > now]
            return [row for row in known.values() if inside(row)]

        def containers() -> list[Row]:
            rows = []
            for sub in self._world.subscriptions.values():
                rows.append(answers.subscription_row(sub))
                rows += [answers.group_row(group) for group in sub.groups.values()]
            return [row for row in rows if inside(row)]

        def assigned() -> list[Row]:
            return [row for group in self._world.groups() for row in answers.assignment_rows(group) if inside(row)]

        return {"resources": resources, "resourcecontainers": containers, "maintenanceresources": assigned}

    def _known(self) -> dict[str, Row]:
        """Return the rows of resources as Resource Graph knows them, by casefolded id."""
        if self._rows_known is None:
            self._rows_known = {machine.key: _row(machine) for machine in self._world.machines()}
            self._rows_known |= {found.id.casefold(): scale_sets.row(found) for found in self._world.scale_sets()}
            self._rows_known |= {machine.key: _row(machine) for machine in self._world.arc()}
            made = [row for group in self._world.groups() for row in answers.maintenance_rows(group)]
            self._rows_known |= {str(row["id"]).casefold(): row for row in made}
        return self._rows_known

    def _invalid(self, now: float, details: list[Json]) -> Answer:
        self._queries += 1
        id = named_uuid(self._spec.seed, f"query/{self._queries}")
        text = (
            "Please provide below info when asking for support: "
            f"timestamp = {stamp(now).replace('+00:00', 'Z')}, correlationId = {id}."
        )
        return gateway(400, refusal("BadRequest", text, details=details))


def _row(machine: Machine) -> Row:
    return arc.row(machine) if machine.kind is Kind.ARC else answers.vm_row(machine)


def entity_missing() -> Answer:
    """Refuse something Compute does not have (recorded text)."""
    return compute(404, refusal("NotFound", _ENTITY_MISSING))


def _parser_failure(problem: Unknown) -> list[Json]:
    text = (
        "Query is invalid. Please refer to the documentation for the Azure Resource Graph service and fix "
        "the error before retrying."
    )
    return [
        {"code": "InvalidQuery", "message": text},
        {
            "code": "ParserFailure",
            "message": "ParserFailure",
            "line": problem.line,
            "characterPositionInLine": problem.column,
            "token": problem.token,
            "expectedToken": "Ǐ",
        },
    ]


def _token(at: int, text: str) -> str:
    raw = json.dumps({"at": at, "of": len(text)}).encode()
    return base64.b64encode(raw).decode("ascii")


def _offset(options: Json, text: str) -> tuple[int, str]:
    token = options.get("$skipToken")
    if not token:
        skip = options.get("$skip")
        return (skip if isinstance(skip, int) and skip > 0 else 0), ""
    try:
        data = json.loads(base64.b64decode(str(token), validate=True))
        if data["of"] == len(text):
            return int(data["at"]), ""
    except (ValueError, KeyError, TypeError):
        pass
    return 0, "The skip token is not of this query."


def _table(rows: Sequence[Row]) -> Json:
    names = list(rows[0]) if rows else []
    columns = [{"name": name, "type": _kind([row[name] for row in rows])} for name in names]
    return {"columns": columns, "rows": [[row[name] for name in names] for row in rows]}


def _kind(values: Sequence[object]) -> str:
    first = next((value for value in values if value is not None), None)
    if isinstance(first, bool):
        return "boolean"
    if isinstance(first, (int, float)):
        return "integer" if isinstance(first, int) else "number"
    return "object" if isinstance(first, (Mapping, list)) else "string"
