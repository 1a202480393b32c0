"""The Celery app of the processes under test: config's, with faults."""

import django

from config.celery import app

django.setup()

from tests.system.chaos import faults  # noqa: E402 - patches what django.setup() has loaded

faults.install()
__all__ = ["app"]
