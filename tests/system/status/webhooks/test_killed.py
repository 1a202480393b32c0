"""Publishers and deliverers are killed at random: everything arrives, signed, and always as the same message."""

import os
import random
import subprocess
import sys
import time
from collections import defaultdict

import pytest
from django.db.models import F
from standardwebhooks import WebhookVerificationError

from status.models import LEASE, WebhookDelivery, WebhookEndpoint
from status.webhooks import session_secret
from tests.support.database import database_url
from tests.support.factories import SessionFactory, UploadFactory
from tests.support.installation import wait_for
from tests.support.receiver import Message, Receiver, Request
from uploads.models import OutboxEntry
from uploads.stages import Stage

KILLS = 10
JOBS_BETWEEN = 8


class Outgoing:
    def __init__(self, work: str) -> None:
        self.work = work
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.system.status.webhooks.outgoing", self.work],
            env=os.environ | {"DATABASE_URL": database_url(), "WEBHOOK_ALLOW_PRIVATE": "1"},
            stdout=subprocess.PIPE,
        )

    def begun(self) -> None:
        assert self._process.stdout
        assert self._process.stdout.readline() == b"begins\n"

    def kill(self) -> None:
        assert self._process.poll() is None, f"{self.work} has ended by itself"
        self._process.kill()
        self._process.communicate()


@pytest.mark.django_db(transaction=True)
def test_everything_arrives_whoever_is_killed(hook: Receiver) -> None:
    chance = random.Random(1)

    def dawdles(request: Request) -> None:
        """So that a kill finds messages under way; some were taken and never answered."""
        time.sleep(chance.random() / 50)
        request.answer(200)

    hook.behaviour = dawdles
    endpoint = WebhookEndpoint.objects.create(url=hook.url)
    session = SessionFactory.create()
    everybody = [Outgoing("publish"), Outgoing("publish"), Outgoing("deliver"), Outgoing("deliver")]
    try:
        for _ in range(KILLS):
            for number in range(JOBS_BETWEEN):
                own = {"webhook_url": hook.url} if number % 2 else {}
                job = UploadFactory.create(session=session, **own)
                job.update_stage(Stage.GENERATING, 40)
                job.update_stage(chance.choice([Stage.COMPLETE, Stage.FAILED]))
            victim = chance.choice(everybody)
            victim.begun()
            time.sleep(chance.random() / 10)
            victim.kill()
            victim.start()
        wait_for(_everything_is_delivered, every=0.5)
    finally:
        for process in everybody:
            process.kill()
    bodies = defaultdict(set)
    for message in hook.messages:
        bodies[message.id].add(message.body)
    assert WebhookDelivery.objects.filter(endpoint=endpoint).count() == 2 * KILLS * JOBS_BETWEEN
    assert WebhookDelivery.objects.filter(endpoint=None).count() == KILLS * JOBS_BETWEEN
    assert set(bodies) == set(WebhookDelivery.objects.values_list("message_id", flat=True))
    assert all(len(each) == 1 for each in bodies.values())
    secrets = [endpoint.secret(), session_secret(session.pk)]
    assert all(_verified(message, secrets) for message in hook.messages)


def _everything_is_delivered() -> bool:
    # As if the leases of those that were killed were over.
    pending = WebhookDelivery.objects.filter(status=WebhookDelivery.PENDING, attempts__gt=0)
    pending.update(due_at=F("due_at") - LEASE / 4)
    if OutboxEntry.objects.exists():
        return False
    return not WebhookDelivery.objects.filter(status=WebhookDelivery.PENDING).exists()


def _verified(message: Message, secrets: list[str]) -> bool:
    for secret in secrets:
        try:
            message.verified(secret)
        except WebhookVerificationError:
            continue
        return True
    return False
