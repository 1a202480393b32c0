import socket
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import LazySettings

from status import deliverer
from tests.support.receiver import Receiver, receiver

Names = dict[str, list[list[str]]]


@pytest.fixture
def private_receivers(settings: LazySettings) -> None:
    """Webhooks may go to this machine."""
    settings.WEBHOOK_ALLOW_PRIVATE = True


@pytest.fixture
def idle_deliverer(monkeypatch: pytest.MonkeyPatch) -> None:
    """No attempt of an earlier test is under way in this process."""
    monkeypatch.setattr(deliverer, "_deliverer", deliverer._Deliverer())


@pytest.fixture
def hook() -> Iterator[Receiver]:
    with receiver() as server:
        yield server


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    """What a name leads to: one list of addresses for each look-up, and the last for all that follow."""
    answers: Names = {}
    really = socket.getaddrinfo

    def look_up(host: Any, port: Any, *args: Any, **more: Any) -> Any:
        if host not in answers:
            return really(host, port, *args, **more)
        addresses = answers[host].pop(0) if len(answers[host]) > 1 else answers[host][0]
        if not addresses:
            raise socket.gaierror(socket.EAI_NONAME, "nobody knows it")
        return [entry for address in addresses for entry in really(address, port, *args, **more)]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return answers
