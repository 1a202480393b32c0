#!/usr/bin/env python
import os
import sys

from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line
from django.db import OperationalError, ProgrammingError

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        sys.exit(f"mend  configuration: {error}")
    except (KeyboardInterrupt, EOFError):  # at a question: Ctrl-C, Ctrl-D
        sys.exit(130)
    except (OperationalError, ProgrammingError) as error:
        if "--traceback" in sys.argv:
            raise
        from config import startup  # reads the settings, which the command has by now

        startup.refuse_without_migrations()  # what lacks a table, or a column, most often lacks a migration
        if isinstance(error, ProgrammingError):
            raise
        sys.exit(f"mend  database: Look at DATABASE_URL, and for SQLite at DATA_DIR. ({' '.join(str(error).split())})")
