"""Certificates that are not accepted: what is wrong is told apart, and each has its own next step."""

from __future__ import annotations

import datetime
import ssl
from pathlib import Path

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from fleet.azure.advice import hint_for
from fleet.azure.credentials import StaticTokens
from fleet.azure.reading import Unread, read
from fleet.azure.transport import Transport
from fleet.azure.wire import compute
from fleet.azure.wire.certificates import fault_of
from tests.wire.replay import arm

NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)


def certificate(folder: Path, host: str, begins: datetime.timedelta, ends: datetime.timedelta) -> Path:
    """Make a certificate that is signed by itself, and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(NOW + begins)
        .not_valid_after(NOW + ends)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, none = serialization.Encoding.PEM, serialization.NoEncryption()
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, none)
    file = folder / f"{host}-{begins.days}.pem"
    file.write_bytes(made.public_bytes(pem) + secret)
    return file


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("host", "days", "trusted", "words", "hint"),
    [
        ("localhost", (-1, 1), False, "self-signed certificate", "azure.ca_file to a PEM file that holds this"),
        ("other.example", (-1, 1), True, "mismatch", "the certificate names other hosts"),
        ("localhost", (-3, -1), True, "expired", "check this machine's clock"),
        ("localhost", (1, 3), True, "not yet valid", "check this machine's clock"),
    ],
)
async def test_each_fault_of_a_certificate_has_its_own_hint(
    tmp_path: Path, host: str, days: tuple[int, int], trusted: bool, words: str, hint: str
) -> None:
    """Only an unknown issuer is a matter of azure.ca_file; none of them is tried again."""
    file = certificate(tmp_path, host, days[0] * DAY, days[1] * DAY)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)

    async def serve(request: web.BaseRequest) -> web.Response:
        return arm(200, {"value": []})

    async def pause(seconds: float) -> None:
        raise AssertionError("a certificate does not become good by waiting")

    runner = web.ServerRunner(web.Server(serve), shutdown_timeout=0.1)
    await runner.setup()
    await (site := web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)).start()
    try:
        base = f"https://localhost:{runner.addresses[0][1]}"
        async with Transport(base, StaticTokens("t"), ca_file=str(file) if trusted else None) as transport:
            found = await read(transport, compute.list_subscriptions(), pause)
    finally:
        await site.stop()
        await runner.cleanup()
    assert isinstance(found, Unread)
    assert words in found.message
    assert hint in hint_for(found)


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ("unable to get local issuer certificate", "is of an authority that is not trusted here"),
        ("self-signed certificate in certificate chain", "is of an authority that is not trusted here"),
        ("self signed certificate", "is signed by itself and not trusted here"),
        ("IP address mismatch, certificate is not valid for '10.0.0.1'", "is for another host name"),
        ("certificate revoked", "was revoked"),
        ("words that nobody knows", "is of an authority that is not trusted here"),
    ],
)
def test_openssls_words_are_told_apart(words: str, what: str) -> None:
    """The texts of OpenSSL, as both HTTP libraries hand them on."""
    fault = fault_of(f"[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: {words} (_ssl.c:1018)")
    assert fault is not None and fault.what == what


def test_another_failure_is_no_fault_of_a_certificate() -> None:
    """A refused connection says nothing of certificates."""
    assert fault_of("Cannot connect to host 127.0.0.1:1 ssl:default [Connect call failed ('127.0.0.1', 1)]") is None
