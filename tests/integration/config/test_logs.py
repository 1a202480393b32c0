"""What a traceback in the log shows: where it happened, never what was in the variables there."""

import json
import logging
import logging.config
from io import StringIO

import pytest

from config.logs import configuration


def fail_with_a_secret() -> None:
    token = "the-" + "-".join(["secret", "token"])
    raise RuntimeError(f"a token of {len(token)} letters")


@pytest.mark.parametrize("form", ["console", "json"])
def test_a_traceback_tells_the_place_and_no_variables(form: str) -> None:
    formatter = logging.config.DictConfigurator(configuration(form)).configure_formatter(
        configuration(form)["formatters"]["line"]
    )
    stream = StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    logger = logging.Logger("made for this test")
    logger.addHandler(handler)
    try:
        fail_with_a_secret()
    except RuntimeError:
        logger.exception("it failed")
    line = stream.getvalue()
    assert "fail_with_a_secret" in line
    assert "a token of 16 letters" in line
    assert "the-secret-token" not in line
    if form == "json":
        assert json.loads(line)["event"] == "it failed"
