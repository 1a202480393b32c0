"""The way to receivers of the internet, with real TLS: to the host that the URL names, or not at all.

Its name leads to a public address, which is this machine for the time being; its certificate is of an own authority.
"""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests.adapters
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from django.conf import LazySettings

from status import deliverer, outbox
from status.models import WebhookDelivery, WebhookEndpoint
from status.posting import Answer, post
from tests.support.factories import UploadFactory
from tests.support.receiver import Receiver
from tests.support.webhook_fixtures import Names
from uploads.stages import Stage

HOST, OTHER = "good.example.com", "other.example.com"
PUBLIC = "93.184.215.14"
UNTRUSTED = "There is no trusted secure connection to the host: its certificate, or TLS, failed."


def _key_usage(**granted: bool) -> x509.KeyUsage:
    uses = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(**(dict.fromkeys(uses, False) | granted))


class Authority:
    """Signs certificates; trusted by whoever is given its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "an authority of tests")])
        is_authority = x509.BasicConstraints(ca=True, path_length=0)
        anchor = self._certificate(self._name, self._key.public_key(), is_authority, _key_usage(key_cert_sign=True))
        self.certificate = folder / "authority.pem"
        self.certificate.write_bytes(anchor.public_bytes(serialization.Encoding.PEM))

    def _certificate(self, subject: x509.Name, key: ec.EllipticCurvePublicKey, *extensions: Any) -> x509.Certificate:
        """Sign a certificate with all that RFC 5280 demands: Python 3.13 and newer verify strictly."""
        now = datetime.now(UTC)
        made = x509.CertificateBuilder(self._name, subject, key, x509.random_serial_number())
        made = made.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
        for extension in extensions:
            made = made.add_extension(extension, critical=True)
        own = x509.SubjectKeyIdentifier.from_public_key(key)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        made = made.add_extension(own, critical=False).add_extension(issuer, critical=False)
        return made.sign(self._key, hashes.SHA256())

    def serving(self, host: str) -> ssl.SSLContext:
        """What a server needs that answers under this name."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        names = x509.SubjectAlternativeName([x509.DNSName(host)])
        usage = _key_usage(digital_signature=True)
        chain = self._certificate(subject, key.public_key(), names, usage).public_bytes(serialization.Encoding.PEM)
        form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        file = self._folder / f"{host}.pem"
        file.write_bytes(key.private_bytes(*form) + chain)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    """The one that is trusted."""
    made = Authority(tmp_path)
    monkeypatch.setattr(requests.adapters, "DEFAULT_CA_BUNDLE_PATH", str(made.certificate))
    return made


class Secure(Receiver):
    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__(lambda request: request.answer(200, b"thanks"))
        self.asked_for: list[str | None] = []
        """The name that each client has asked for before there was a certificate (SNI)."""
        context.sni_callback = lambda _, name, __: self.asked_for.append(name)
        self.socket = context.wrap_socket(self.socket, server_side=True)


@contextmanager
def serving(context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch) -> Iterator[Secure]:
    """Whatever is connected to is this server."""
    connect = socket.socket.connect
    with Secure(context) as server:
        monkeypatch.setattr(socket.socket, "connect", lambda sock, _: connect(sock, ("127.0.0.1", server.server_port)))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def secure(authority: Authority, names: Names, monkeypatch: pytest.MonkeyPatch) -> Iterator[Secure]:
    names[HOST] = names[OTHER] = [[PUBLIC]]
    with serving(authority.serving(HOST), monkeypatch) as server:
        yield server


def send(url: str) -> Answer:
    return post(url, {"webhook-id": "evt_1"}, "{}")


@pytest.mark.parametrize(
    ("url", "host"), [(f"https://{HOST}/hook", HOST), (f"https://{HOST}:8443/hook", f"{HOST}:8443")]
)
def test_the_host_is_asked_for_by_its_name_though_its_address_is_pinned(secure: Secure, url: str, host: str) -> None:
    answer = send(url)
    assert (answer.status, answer.error, answer.body) == (200, "", "thanks")
    assert secure.asked_for == [HOST]
    assert [message.headers["host"] for message in secure.messages] == [host]


def test_a_certificate_of_another_name_is_refused(secure: Secure) -> None:
    answer = send(f"https://{OTHER}/hook")
    assert (answer.status, answer.error) == (None, UNTRUSTED)
    assert secure.asked_for == [OTHER]
    assert secure.messages == []


def test_a_certificate_of_nobody_known_is_refused(
    authority: Authority, names: Names, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names[HOST] = [[PUBLIC]]
    (tmp_path / "elsewhere").mkdir()
    with serving(Authority(tmp_path / "elsewhere").serving(HOST), monkeypatch) as server:
        answer = send(f"https://{HOST}/hook")
        assert (answer.status, answer.error) == (None, UNTRUSTED)
        assert server.messages == []


def test_a_redirect_to_another_host_is_not_followed(secure: Secure) -> None:
    secure.behaviour = lambda request: request.answer(307, Location=f"https://{HOST}/elsewhere")
    answer = send(f"https://{HOST}/hook")
    assert (answer.status, answer.error) == (307, "It answered 307, a redirect; those are not followed.")
    assert len(secure.messages) == 1


@pytest.mark.django_db
def test_a_message_comes_to_an_endpoint_of_the_internet(secure: Secure, settings: LazySettings) -> None:
    settings.WEBHOOK_ALLOW_PRIVATE = False
    endpoint = WebhookEndpoint.objects.create(url=f"https://{HOST}/hook")
    UploadFactory.create().update_stage(Stage.COMPLETE)
    outbox.publish()
    assert deliverer.deliver() == 1
    assert WebhookDelivery.objects.get().status == "delivered"
    assert secure.messages[0].verified(endpoint.secret())["type"] == "job.completed"
