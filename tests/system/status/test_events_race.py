"""Pollers of any cadence, while several processes write events of the same upload."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import Any

import pytest
from django.db import connection

from tests.support.api import Api
from tests.support.contract import ContractClient
from tests.support.database import database_url
from uploads.models import Upload

pytestmark = pytest.mark.django_db


def events(api: Api, upload: Upload, query: str = "") -> Any:
    response = api.get(f"/api/status/{upload.pk}/events{query}")
    assert response.status_code == 200, response.content
    return response.json()


WRITERS, LINES = 3, 60
CADENCES: dict[str, Callable[[Random], float]] = {
    "1 ms": lambda _: 0.001,
    "50 ms": lambda _: 0.05,
    "at random": lambda chance: chance.choice([0, 0.002, 0.02, 0.2]) * chance.random(),
}


@pytest.mark.django_db(transaction=True)
def test_pollers_of_any_cadence_see_every_event_once_while_many_write(api: Api) -> None:
    upload = api.accepted()
    writers = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.system.status.writer", str(upload.pk), str(LINES)],
            env=os.environ | {"DATABASE_URL": database_url()},
            stdin=subprocess.PIPE,
            text=True,
        )
        for _ in range(WRITERS)
    ]
    written = threading.Event()

    def poll(cadence: str) -> tuple[list[int], int]:
        """What it saw, and how many of its answers had something in them."""
        chance, seen, answers = Random(cadence), [0], 0
        mine = Api.__new__(Api)
        mine.client, mine.token = ContractClient(), api.token
        try:
            while True:
                done = written.is_set()
                page = events(mine, upload, f"?lastEventId={seen[-1]}&limit={chance.randint(1, 20)}")
                seen += [event["id"] for event in page["events"]]
                answers += bool(page["events"])
                if done and not page["hasMore"]:
                    return seen[1:], answers
                time.sleep(CADENCES[cadence](chance))
        finally:
            connection.close()

    with ThreadPoolExecutor(len(CADENCES)) as pool:
        polls = [pool.submit(poll, cadence) for cadence in CADENCES]
        for writer in writers:
            assert writer.stdin
            writer.stdin.write("go\n")
            writer.stdin.close()
        codes = [writer.wait() for writer in writers]
        written.set()
        results = [poll.result() for poll in polls]
    assert codes == [0] * WRITERS
    for seen, answers in results:
        assert seen == list(range(1, 1 + WRITERS * LINES + 1))
        assert answers > 9, "no race: everything was there at once"
