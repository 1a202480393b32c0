import socket
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import LazySettings

from status import deliverer
from tests.webhooks.receiver import Receiver, receiver

Names = dict[str, list[list[str]]]


@pytest.fixture(autouse=True)
def _receivers_on_this_machine(settings: LazySettings) -> None:
    settings.WEBHOOK_ALLOW_PRIVATE = True


@pytest.fixture(autouse=True)
def _nothing_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """No attempt of a test before, in this process."""
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
