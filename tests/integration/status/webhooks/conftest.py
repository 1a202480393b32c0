import pytest


@pytest.fixture(autouse=True)
def _ready(private_receivers: None, idle_deliverer: None) -> None:
    """Every test here may send to this machine and starts with no attempt under way."""
