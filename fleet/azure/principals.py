"""A pool of principals: who they are, whose turn it is to sign a call, and with a token of which tenant.

ARM counts calls per subscription and principal (documented), so a pool of k carries k times as many. Turns go round,
apart for each subscription and kind of call, because every bucket is as large and as quickly refilled as the next: so
they empty evenly, and what one principal has left, times k, is what the pool has left.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from fleet.azure.credentials import Credential, TokenSource, parts
from fleet.azure.wire.cloud_error import read_error
from fleet.azure.wire.http import NoResponse, Response
from fleet.azure.wire.preflight import claims as claims_of
from fleet.errors import AzureUnusable
from fleet.logs import Log
from fleet.targets.model import Subscription

log = Log("fleet.azure")

_PLACE = re.compile(r"(?:[a-z]+://[^/?#]*)?/subscriptions/([^/?#]+)(?:/resourceGroups/([^/?#]+))?", re.IGNORECASE)
_NO_RIGHTS = frozenset({"AuthorizationFailed", "LinkedAuthorizationFailed"})


@dataclass(frozen=True, slots=True)
class Place:
    """Where a call goes: subscription and group in the case for comparing, empty where it belongs to none."""

    subscription: str = ""
    group: str = ""


def place_of(url: str) -> Place:
    """Tell the place of a call by its URL, or its path alone."""
    found = _PLACE.match(url)
    return Place((found[1] or "").casefold(), (found[2] or "").casefold()) if found else Place()


def lacks_rights(answer: Response | NoResponse) -> bool:
    """Say whether a call was refused because its principal may not make it: nothing was executed."""
    return isinstance(answer, Response) and answer.status == 403 and read_error(answer.json()).code in _NO_RIGHTS


def principal_names(pool: Sequence[Credential], environ: Mapping[str, str]) -> tuple[str, ...]:
    """Name each principal of a pool: by its id where that is known without asking, else by its way to sign in."""
    return tuple(_principal_name(form, environ) for form in pool)


def _principal_name(form: Credential, environ: Mapping[str, str]) -> str:
    kind, values = parts(form)
    if kind == "token_env":
        owner = claims_of(environ.get(values["name"], "").strip()).get("oid", "")
        return owner or f"{kind} {values['name']}"
    own = "" if kind in ("default", "cli") else environ.get("AZURE_CLIENT_ID", "")
    if client := values.get("client_id", own):
        return client.casefold()
    return " ".join([kind, *(environ.get(name, "") for name in _NAMING)])


_NAMING = ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_USERNAME", "AZURE_CONFIG_DIR")
"""What says in the environment who signs in, or which sign-in of ``az`` is meant."""


class Principals:
    """The token sources of a pool, by number."""

    def __init__(self, sources: Sequence[TokenSource]) -> None:
        assert sources, "a pool has at least one principal"
        self._sources = tuple(sources)
        self._turns: Counter[tuple[str, str]] = Counter()
        self._kept_out: set[tuple[int, Place]] = set()
        self._tenants: dict[str, str] = {}
        self._homes: dict[int, str] = {}
        self._closed: set[tuple[int, str]] = set()
        self._gates = [asyncio.Lock() for _ in sources]
        """One asks for a principal at a time, so that what fails once is not tried again by all who wait."""
        self.problems: dict[int, AzureUnusable] = {}
        """Who was dropped because no token could be had, and why."""

    def __len__(self) -> int:
        """How many there are, dropped ones included."""
        return len(self._sources)

    @property
    def present(self) -> tuple[int, ...]:
        """The numbers of those who can sign in, as far as is known; never empty."""
        return tuple(number for number in range(len(self._sources)) if number not in self.problems)

    def know(self, subscriptions: Iterable[Subscription]) -> None:
        """Keep the tenants of subscriptions: calls into them are signed with a token of their tenant."""
        self._tenants |= {found.id.casefold(): found.tenant for found in subscriptions if found.tenant}

    def turns(self, method: str, place: Place) -> Iterator[int]:
        """Yield whose turn it is, then whoever else may try.

        A call that belongs to no subscription is the first principal's: what is seen must not depend on a turn.
        """
        allowed = [number for number in self.present if (number, place) not in self._kept_out] or list(self.present)
        first = 0
        if place.subscription:
            kind = {"GET": "reads", "HEAD": "reads", "DELETE": "deletes"}.get(method, "writes")
            first = self._turns[place.subscription, kind] % len(allowed)
            self._turns[place.subscription, kind] += 1
        for number in (*allowed[first:], *allowed[:first]):
            if number not in self.problems:
                yield number

    def keep_out(self, number: int, place: Place) -> None:
        """Give a principal no more turns at a place where it has no rights, as long as another has."""
        if (number, place) not in self._kept_out:
            self._kept_out.add((number, place))
            log.warning("principal_without_rights", principal=number + 1, subscription=place.subscription)

    async def sign_in(self) -> None:
        """Ask for everybody's token at once and drop whom none is given, as long as one is left.

        Raises AzureUnusable where nobody can sign in.
        """
        await asyncio.gather(*(self.token(number) for number in self.present))

    async def token(self, number: int, subscription: str = "", *, claims: str | None = None) -> str | None:
        """Return a token of a principal, for the tenant of the subscription where that is another than its own.

        None if it cannot sign in and is dropped; raises AzureUnusable if it was the last.
        """
        async with self._gates[number]:
            if number in self.problems:
                return None
            try:
                return await self._token(number, subscription, claims)
            except AzureUnusable as error:
                if self.present == (number,):
                    raise
                self.problems[number] = error
                log.warning("principal_dropped", principal=number + 1, reason=str(error))
                return None

    async def _token(self, number: int, subscription: str, claims: str | None) -> str:
        source = self._sources[number]
        wanted = self._tenants.get(subscription, "")
        if wanted and number not in self._homes:
            self._homes[number] = claims_of(await source.token()).get("tid", "").casefold()
        home = self._homes.get(number, "")
        if wanted and home and wanted.casefold() != home and (number, wanted) not in self._closed:
            try:
                return await source.token(tenant=wanted, claims=claims)
            except AzureUnusable as error:
                # The home token may be right all the same, as in a subscription that another tenant has delegated.
                self._closed.add((number, wanted))
                log.warning("tenant_closed", principal=number + 1, tenant=wanted, reason=str(error))
        return await source.token(claims=claims)

    def forget(self, number: int, token: str) -> None:
        """Drop a token that the service refused."""
        self._sources[number].forget(token)
