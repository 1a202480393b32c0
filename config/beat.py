"""Beat's scheduler: sends what is due when it is due."""

import logging
from typing import Any

from celery.beat import PersistentScheduler, ScheduleEntry, SchedulingError

logger = logging.getLogger(__name__)


class Scheduler(PersistentScheduler):
    def apply_entry(self, entry: ScheduleEntry, producer: Any = None) -> None:
        """A broker that is away is one line, not two tracebacks every few seconds for as long as it is."""
        try:
            self.apply_async(entry, producer=producer, advance=False)
        except SchedulingError as error:
            logger.error("%s was not sent, and will be when it is due again: %s", entry.name, error)  # noqa: TRY400
