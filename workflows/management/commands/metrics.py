import signal
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from prometheus_client import start_http_server

from workflows.gauges import registry


class Command(BaseCommand):
    help = "Serves /metrics for Prometheus on METRICS_PORT. One on each machine; never open to the internet."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--host", default="127.0.0.1", help="the address to listen on")

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.METRICS_PORT:
            raise CommandError("METRICS_PORT is not set; without it, processes do not count for others either.")
        ends = {signal.SIGTERM, signal.SIGINT}
        signal.pthread_sigmask(signal.SIG_BLOCK, ends)
        start_http_server(settings.METRICS_PORT, options["host"], registry())
        signal.sigwait(ends)
