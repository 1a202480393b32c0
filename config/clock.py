"""Beat as a thread of a worker: a process of its own costs as much memory as that worker.

`--clock` starts it. Not Celery's `--beat`, whose process is not missed when it dies.
"""

import logging
import os
import signal
from threading import Thread
from typing import Any

from celery import bootsteps
from celery.beat import Service

logger = logging.getLogger(__name__)

STOP_SECONDS = 3


class Clock(bootsteps.StartStopStep):
    def __init__(self, worker: Any, clock: bool = False, **options: Any) -> None:
        super().__init__(worker, **options)
        self.enabled = clock

    def start(self, parent: Any) -> None:
        # It looks around each second, so that it can be stopped.
        self._service = Service(parent.app, max_interval=1, scheduler_cls=parent.app.conf.beat_scheduler)
        self._thread = Thread(target=self._run, name="clock", daemon=True)
        self._thread.start()

    def stop(self, parent: Any) -> None:
        self._service.stop()
        self._thread.join(STOP_SECONDS)

    terminate = stop

    def _run(self) -> None:
        try:
            self._service.start()
        except BaseException:
            # Without sweeps a worker looks alive and is not: what started it starts another one.
            logger.critical("The clock has stopped; this worker ends.", exc_info=True)
            os.kill(os.getpid(), signal.SIGTERM)
