"""The PostHog client costs nothing where no key is set."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("given", ["", "phc_test"])
def test_the_client_is_only_imported_with_a_key(given: str) -> None:
    code = "import django, sys; django.setup(); import status.views, status.tasks; print('posthog' in sys.modules)"
    environment = os.environ | {"POSTHOG_API_KEY": given}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(bool(given))
