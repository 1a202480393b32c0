"""The list of faults fits the code and the tests as they are, so that `tests.tools.mutate` proves something."""

import ast
from collections import Counter

import pytest
from django.conf import settings

from tests.tools.faults import FAULTS, Fault
from tests.tools.mutate import is_there

ROOT = settings.BASE_DIR


def test_each_fault_has_a_name_of_its_own() -> None:
    assert [name for name, count in Counter(fault.name for fault in FAULTS).items() if count > 1] == []


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_fits_the_code_and_names_tests_that_are_there(fault: Fault) -> None:
    text = (ROOT / fault.file).read_text()
    assert text.count(fault.old) == 1, "the text must be there exactly once"
    if fault.file.endswith(".py"):
        ast.parse(text.replace(fault.old, fault.new))
    assert fault.tests
    assert [test for test in fault.tests if not is_there(ROOT, test)] == []
