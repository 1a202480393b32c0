"""The WSGI application of the processes under test: config's, with faults."""

from config.wsgi import application
from tests.system.chaos import faults

faults.install()
__all__ = ["application"]
