"""Many processes call `update_stage` on one upload, as fast as they can, while somebody reads."""

import itertools
import os
import subprocess
import sys

import pytest

from tests.support.database import database_url
from tests.support.factories import UploadFactory
from uploads.models import Upload
from uploads.stages import Stage

RACERS = 6


@pytest.mark.django_db(transaction=True)
def test_a_race_only_ever_goes_forward_and_loses_nothing() -> None:
    upload = UploadFactory.create()
    barrier, start = os.pipe()
    racers = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.system.uploads.racer", str(upload.pk), str(seed)],
            env=os.environ | {"DATABASE_URL": database_url()},
            stdin=barrier,
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in range(RACERS)
    ]
    for racer in racers:
        assert racer.stdout
        assert racer.stdout.readline() == "ready\n"
    # Its end is what they wait for: all hear of it at once, however busy this machine is.
    os.close(start)
    os.close(barrier)
    seen = []
    while any(racer.poll() is None for racer in racers):
        row = Upload.objects.get(pk=upload.pk)
        seen.append(([None, *Stage].index(row.current_stage), row.progress, row.version, row.event_count))
    accepted = [int(racer.communicate()[0]) for racer in racers]
    assert all(racer.returncode == 0 for racer in racers)
    assert sum(count > 0 for count in accepted) > 1, "no race: one process had it all"
    for before, after in itertools.pairwise(seen):
        assert all(new >= old for old, new in zip(before, after, strict=True))
    upload.refresh_from_db()
    assert upload.version == 1 + sum(accepted)
    numbers = list(upload.events.order_by("seq").values_list("seq", flat=True))
    assert numbers == list(range(1, upload.event_count + 1))
