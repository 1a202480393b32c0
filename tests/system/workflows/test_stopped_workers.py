"""A deployment while the model draws: workers are asked to stop, and what is being bought is not bought again."""

import signal
import threading
from pathlib import Path

from tests.support import gemini as server
from tests.support import pictures
from tests.support.gemini import KEY, gemini_server
from tests.support.installation import installation, wait_for
from tests.support.standstill import WORKER


def test_a_worker_that_is_asked_to_stop_stays_for_the_call_that_it_has_made(tmp_path: Path) -> None:
    """However short its grace is."""
    drawn = threading.Event()
    with gemini_server() as gemini:
        own = {"GENERATOR": "gemini", "GEMINI_API_KEY": KEY, "GEMINI_BASE_URL": gemini.url}
        with installation(tmp_path, SHUTDOWN_GRACE_SECONDS="1", **own) as darkroom:
            gemini.then(server.waiting_for(drawn))
            job = darkroom.send(pictures.encoded(pictures.landscape(320, 240), "JPEG")).json["jobId"]
            wait_for(lambda: gemini.requests)
            worker = darkroom.processes(WORKER)[0]
            worker.send_signal(signal.SIGTERM)
            wait_for(lambda: "this worker has to end" in darkroom.log.read_text())
            assert darkroom.status(job)["stage"] == "generating"
            drawn.set()
            worker.wait(120)
            told = list(darkroom.watch(job))[-1]
            assert (told["status"], told["costUsd"], len(gemini.requests)) == ("completed", 0.07814, 1)
            assert "step.retrying" not in [event["type"] for event in darkroom.events(job)]
