"""What Microsoft Entra says when it gives no token, in one sentence, and what to do about it."""

from __future__ import annotations

import re

from fleet.azure.wire.certificates import fault_of

_HINTS = {
    # https://learn.microsoft.com/entra/identity-platform/reference-error-codes
    "AADSTS7000215": "give the secret's value, not its id, in the variable that azure.credential names",
    "AADSTS7000222": "the secret has expired: make a new one, and put it into the variable that azure.credential names",
    "AADSTS700016": "check client_id, and that the application is in the tenant; --tenant names another",
    "AADSTS90002": "check tenant_id or --tenant: there is no such tenant in this cloud",
    "AADSTS900021": "check tenant_id or --tenant: it is no tenant's id",
    "AADSTS900023": "check tenant_id or --tenant: it is neither a tenant's id nor its domain",
    "AADSTS500011": "check azure.cloud: this tenant does not know the service that the token is for",
    "AADSTS700027": "register the certificate with the application, or use the one that is",
    "AADSTS50076": "sign in with more than the password: az login",
    "AADSTS50079": "sign in with more than the password: az login",
    "AADSTS53003": "a conditional access policy refuses this sign-in; ask the tenant's administrator",
    "AADSTS70043": "the sign-in has expired: az login",
    "AADSTS700082": "the sign-in has expired: az login",
}
_CODE = re.compile(r"\bAADSTS\d{5,7}\b")
_NO_TENANT = re.compile(r"unable to get authority configuration for (https://\S+?)\.? ", re.IGNORECASE)
_TRACE = re.compile(r"\s*Trace ID: .*", re.DOTALL)


def reason(text: str) -> str:
    """Return why there is no token: Entra's own sentence without its trace ids, else what the library says, cut."""
    if fault := fault_of(text):
        return f"the certificate of the sign-in service {fault.what}"
    flat = " ".join(text.split())
    if missing := _NO_TENANT.search(flat):  # the library's own words, which leave out what the service said
        return f"the sign-in service knows no tenant at {missing[1]}"
    found = _CODE.search(flat)
    return _TRACE.sub("", flat[found.start() :] if found else flat)[:600].strip()


def hint(text: str) -> str:
    """Return what to do about a failed sign-in, by its code; empty where nothing special is known."""
    if fault := fault_of(text):
        return fault.hint
    if _NO_TENANT.search(" ".join(text.split())):
        return _HINTS["AADSTS90002"]
    found = _CODE.search(text)
    return _HINTS.get(found[0], "") if found else ""
