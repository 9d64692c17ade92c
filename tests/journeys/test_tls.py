"""TLS on the public port, and the origins whose pages may call: one house with both settings."""

from __future__ import annotations

import json
import ssl
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from installation import Installation
from raw import Raw

ORIGIN = "https://pages.example"
CHAT = "/v1/chat/completions"
BODY = {"model": "echo", "messages": [{"role": "user", "content": "one"}], "user": "echo:tokens=4"}


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for localhost that signs itself, and its key, as PEM files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    chain, secret = folder / "chain.pem", folder / "key.pem"
    chain.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return chain, secret


#: What the JavaScript SDKs of OpenAI and Anthropic ask to send from a browser.
SDK_HEADERS = (
    "anthropic-dangerous-direct-browser-access,anthropic-version,authorization,content-type,idempotency-key,x-api-key,"
    "x-stainless-arch,x-stainless-lang,x-stainless-os,x-stainless-package-version,x-stainless-retry-count,"
    "x-stainless-runtime,x-stainless-runtime-version,x-stainless-timeout"
)


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Installation, ssl.SSLContext]]:
    """A house behind TLS that lets the pages of ``ORIGIN`` call, and what a client trusts."""
    folder = tmp_path_factory.mktemp("tls")
    chain, secret = certificate(folder)
    house = Installation(
        folder / "data", tls_certificate=str(chain), tls_key=str(secret), cors_origins=f"https://other.example,{ORIGIN}"
    )
    house.start()
    trust = ssl.create_default_context(cafile=str(chain))
    while True:
        with Raw(house, trust) as client:
            client.ask("GET", "/readyz")
            if client.answer()[0] == 200:
                break
    yield house, trust
    house.end()


def test_a_client_that_trusts_the_certificate_is_served(secure: tuple[Installation, ssl.SSLContext]) -> None:
    house, trust = secure
    with Raw(house, trust) as client:
        for stream in (False, True):
            client.ask("POST", CHAT, {**BODY, "stream": stream})
            status, _, body = client.answer()
            assert status == 200
            assert b"tok3" in body
        client.ask("GET", "/openapi.json")  # through to the control plane, on the same connection
        assert client.answer()[0] == 200


def test_large_bodies_pass_both_ways(secure: tuple[Installation, ssl.SSLContext]) -> None:
    house, trust = secure
    words = 300_000
    body = {**BODY, "messages": [{"role": "user", "content": "x " * words}], "user": "echo:tokens=100,big=20000"}
    with Raw(house, trust) as client:
        client.ask("POST", CHAT, {**body, "max_tokens": 100, "model": "echo"})
        status, _, answer = client.answer()
    assert status == 200
    assert len(answer) > 2_000_000
    assert b'"prompt_tokens":%d,' % words in answer


def test_a_client_that_leaves_is_noticed_through_tls(secure: tuple[Installation, ssl.SSLContext]) -> None:
    house, trust = secure
    with Raw(house, trust) as client:
        client.ask("POST", CHAT, {**BODY, "stream": True, "user": "echo:tokens=2000,pace_ms=5"})
        _, headers = client.head()
        client.until(b"tok5 ")
    while True:
        with Raw(house, trust) as client:
            client.ask("GET", f"/v1/receipts/{headers['x-request-id']}")
            status, _, body = client.answer()
        assert status == 200
        if b'"open"' not in body:
            break
    assert b'"client_closed"' in body


def test_who_speaks_plainly_or_an_old_protocol_gets_nothing(secure: tuple[Installation, ssl.SSLContext]) -> None:
    house, trust = secure
    with Raw(house) as client:
        client.ask("GET", "/healthz")
        assert b"200" not in client.rest()
    with pytest.raises(ssl.SSLCertVerificationError):
        Raw(house, ssl.create_default_context())
    old = ssl.create_default_context(cafile=str(house.data.parent / "chain.pem"))
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # that it is old is the point
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError, match=r"PROTOCOL_VERSION|EOF"):  # the server ends it
        Raw(house, old)
    with Raw(house, trust) as client:
        client.ask("GET", "/healthz")
        assert client.answer()[0] == 200


def test_pages_of_a_named_origin_may_ask_and_no_others(secure: tuple[Installation, ssl.SSLContext]) -> None:
    house, trust = secure
    with Raw(house, trust) as client:
        for path in (CHAT, "/v1/models", "/v1/usage", "/manage/v1/keys"):
            asked = f"access-control-request-method: POST\r\naccess-control-request-headers: {SDK_HEADERS}\r\n"
            client.ask("OPTIONS", path, headers=f"origin: {ORIGIN}\r\n{asked}")
            status, headers, _ = client.answer()
            assert status == 204
            assert headers["access-control-allow-origin"] == ORIGIN
            assert headers["vary"] == "origin"
            assert headers["access-control-allow-headers"] == SDK_HEADERS
            assert "POST" in headers["access-control-allow-methods"]
            for origin in ("https://evil.example", f"{ORIGIN}.evil.example", "null", "*"):
                client.ask("OPTIONS", path, headers=f"origin: {origin}\r\n{asked}")
                _, headers, _ = client.answer()
                assert not [name for name in headers if name.startswith("access-control-")]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", CHAT, BODY),
        ("POST", CHAT, {**BODY, "stream": True}),
        ("POST", CHAT, {**BODY, "model": "nope"}),
        ("GET", "/v1/receipts/req_none", None),
    ],
    ids=["plain", "stream", "refusal", "control"],
)
def test_pages_of_a_named_origin_may_read_the_answer(
    secure: tuple[Installation, ssl.SSLContext], method: str, path: str, body: object
) -> None:
    house, trust = secure
    with Raw(house, trust) as client:
        client.ask(method, path, body, headers=f"origin: {ORIGIN}\r\n")
        _, headers, _ = client.answer()
    assert headers["access-control-allow-origin"] == ORIGIN


def read_by_a_page(headers: dict[str, str]) -> set[str]:
    """The headers that a browser shows to a page which sends no cookies: what is named, and by ``*`` all of them
    (Fetch, "CORS-safelisted response-header name" and "HTTP fetch")."""
    always = {
        "cache-control",
        "content-language",
        "content-length",
        "content-type",
        "expires",
        "last-modified",
        "pragma",
    }
    named = {name.strip().lower() for name in headers.get("access-control-expose-headers", "").split(",")}
    return {name for name in headers if "*" in named or name in always | named}


def test_pages_of_a_named_origin_read_every_header_of_ours(secure: tuple[Installation, ssl.SSLContext]) -> None:
    house, trust = secure
    made = house.command("keys", "create", "--name", "page", "--json")
    key = json.loads(made.stdout)["key"]
    limited = house.command("limits", "set", "rpm", "1", "--key", key, "--json")
    assert limited.returncode == 0, limited.stderr
    repeat = "idempotency-key: of-a-page\r\n"
    with Raw(house, trust) as client:
        for replayed in (False, True):
            client.ask("POST", CHAT, BODY, headers=f"origin: {ORIGIN}\r\n{repeat}")
            _, headers, _ = client.answer()
            assert ("idempotent-replayed" in headers) is replayed
            assert read_by_a_page(headers) == {*headers}
        status = 200
        while status == 200:  # until the relay has heard of the limit
            client.ask("POST", CHAT, BODY, key=key, headers=f"origin: {ORIGIN}\r\n")
            status, headers, _ = client.answer()
            assert read_by_a_page(headers) == {*headers}
        assert status == 429
        rate = {f"x-ratelimit-{what}-requests" for what in ("limit", "remaining", "reset")}
        assert {"x-request-id", "retry-after", "retry-after-ms", *rate} <= read_by_a_page(headers)
        client.ask("POST", CHAT, BODY, key=key, headers="origin: https://evil.example\r\n")
        _, headers, _ = client.answer()
        assert not [name for name in headers if name.startswith("access-control-")]
