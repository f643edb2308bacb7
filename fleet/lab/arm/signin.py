"""Sign-in, plainly: tokens for the asking, and the documents that name where to ask. Pure.

The tokens are well-formed but unsigned JWTs; the lab accepts any bearer token. A secret is refused by a fault only; a
tenant that is another id than the lab's is never known.
"""

from __future__ import annotations

import base64
import json
import re
from urllib.parse import parse_qs

from fleet.lab.wire import Answer, Json, Request, gateway, refusal
from fleet.lab.world.chance import named_uuid

LIFETIME = 3599  # seconds, as the real service's tokens say
_TOKEN = re.compile(r"/(?P<tenant>[^/]+)/oauth2(/v2\.0)?/token/?", re.IGNORECASE)
_OPENID = re.compile(r"/(?P<tenant>[^/]+)(/v2\.0)?/\.well-known/openid-configuration/?", re.IGNORECASE)
_INSTANCE = re.compile(r"/(?P<tenant>[^/]+)/discovery/instance/?", re.IGNORECASE)
_METADATA = "/metadata/endpoints"
_GUID = re.compile(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)


class SignIn:
    """Answers sign-in requests of one tenant."""

    def __init__(self, seed: int, tenant: str) -> None:
        self.base = ""
        self._seed = seed
        self._tenant = tenant

    def answer(self, request: Request, now: float) -> Answer | None:
        """Answer a sign-in request, or None if it is none."""
        path = request.path
        if path.rstrip("/").lower() == _METADATA and request.method == "GET":
            return gateway(200, self._metadata())
        if _INSTANCE.fullmatch(path) and request.method == "GET":
            return gateway(200, self._instance())
        if (found := _OPENID.fullmatch(path)) and request.method == "GET":
            return self._unknown(found["tenant"]) or gateway(200, self._openid(found["tenant"]))
        if (found := _TOKEN.fullmatch(path)) and request.method == "POST":
            return self._unknown(found["tenant"]) or self._token(request, now)
        return None

    def asks_for_a_token(self, request: Request) -> bool:
        """Say whether a request wants a token."""
        return request.method == "POST" and _TOKEN.fullmatch(request.path) is not None

    def _unknown(self, tenant: str) -> Answer | None:
        """Refuse a tenant's id that is not the lab's, as Entra does (documented: AADSTS90002)."""
        if not _GUID.fullmatch(tenant) or tenant.casefold() == self._tenant.casefold():
            return None
        text = (
            f"AADSTS90002: Tenant '{tenant}' not found. Check to make sure you have the correct tenant ID and are "
            "signing into the correct cloud. Trace ID: 0 Correlation ID: 0 Timestamp: 2025-01-01 00:00:00Z"
        )
        return gateway(400, {"error": "invalid_tenant", "error_description": text, "error_codes": [90002]})

    def _token(self, request: Request, now: float) -> Answer:
        form = {name: values[-1] for name, values in parse_qs(request.body.decode("utf-8", "replace")).items()}
        client = form.get("client_id", "")
        if not form.get("grant_type") or not client:
            text = "AADSTS900144: The request body must contain the following parameter: 'grant_type'."
            return gateway(400, {"error": "invalid_request", "error_description": text})
        scope = form.get("scope") or form.get("resource") or f"{self.base}/.default"
        token = self._jwt(client, scope, now)
        answer: dict[str, object] = {
            "token_type": "Bearer",
            "expires_in": LIFETIME,
            "ext_expires_in": LIFETIME,
            "access_token": token,
        }
        if "offline_access" in scope or form["grant_type"] != "client_credentials":
            answer |= {"refresh_token": f"lab-{client}", "scope": scope, "id_token": token}
        return gateway(200, answer)

    def _jwt(self, client: str, scope: str, now: float) -> str:
        claims = {
            "aud": scope.split()[0].removesuffix("/.default"),
            "iss": f"{self.base}/{self._tenant}/v2.0",
            "iat": int(now),
            "nbf": int(now),
            "exp": int(now) + LIFETIME,
            "appid": client,
            "oid": named_uuid(self._seed, f"principal/{client}"),
            "sub": named_uuid(self._seed, f"principal/{client}"),
            "tid": self._tenant,
            "ver": "1.0",
        }
        return ".".join([_part({"typ": "JWT", "alg": "none"}), _part(claims), "lab"])

    def _openid(self, tenant: str) -> Json:
        home = f"{self.base}/{tenant}"
        return {
            "issuer": f"{self.base}/{self._tenant}/v2.0",
            "authorization_endpoint": f"{home}/oauth2/v2.0/authorize",
            "token_endpoint": f"{home}/oauth2/v2.0/token",
            "device_authorization_endpoint": f"{home}/oauth2/v2.0/devicecode",
            "jwks_uri": f"{home}/discovery/v2.0/keys",
            "response_types_supported": ["code", "id_token"],
            "subject_types_supported": ["pairwise"],
            "tenant_region_scope": "EU",
        }

    def _instance(self) -> Json:
        host = self.base.split("//", 1)[-1]
        return {
            "tenant_discovery_endpoint": f"{self.base}/{self._tenant}/v2.0/.well-known/openid-configuration",
            "api-version": "1.1",
            "metadata": [{"preferred_network": host, "preferred_cache": host, "aliases": [host]}],
        }

    def _metadata(self) -> Json:
        """Name the endpoints, for tools that register a cloud by its ARM endpoint."""
        return {
            "name": "Lab",
            "portal": self.base,
            "resourceManager": self.base,
            "graph": self.base,
            "graphAudience": self.base,
            "gallery": self.base,
            "batch": self.base,
            "media": self.base,
            "authentication": {
                "loginEndpoint": self.base,
                "audiences": [self.base],
                "tenant": self._tenant,
                "identityProvider": "AAD",
            },
            "suffixes": {"storage": "blobs.lab", "keyVaultDns": "vault.lab"},
        }


def _part(data: Json) -> str:
    raw = json.dumps(data, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(raw).decode("ascii").rstrip("=")


def missing(path: str) -> Answer:
    """Refuse a path of the lab's own that is not there."""
    return gateway(404, refusal("NotFound", f"The lab has nothing at {path}."))


def wrong_secret() -> Answer:
    """Refuse a secret (documented: AADSTS7000215)."""
    text = (
        "AADSTS7000215: Invalid client secret provided. Ensure the secret being sent in the request is the client "
        "secret value, not the client secret ID, for a secret added to the app. "
        "Trace ID: 0 Correlation ID: 0 Timestamp: 2025-01-01 00:00:00Z"
    )
    return gateway(401, {"error": "invalid_client", "error_description": text, "error_codes": [7000215]})
