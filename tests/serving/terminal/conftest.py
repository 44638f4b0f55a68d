"""What every test of the simulated terminal starts from."""

import pytest

from tests.serving.terminal.simulated_fixture import f1


@pytest.fixture
def handle():
    with f1() as handle:
        yield handle


@pytest.fixture
def mt5(handle):
    return handle.module
