"""What the tests of vm-console share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.run import home as homes
from tests.run.vm import Vm

home = pytest.fixture(homes.home)


@pytest.fixture
def vm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vm]:
    """A VM with folders of its own; what it leaves running is ended."""
    folder: Path = tmp_path_factory.mktemp("v")
    made = Vm(folder)
    yield made
    made.close()
