"""The boxes that the benchmark makes are ones that vm-pull takes; its figures are figures."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import boxes, fetchers
from bench.place import Place
from tests.pull.server import File, serve
from vm_pull.__main__ import main

DATA = 3 << 20


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> list[boxes.Box]:
    return boxes.make(tmp_path_factory.mktemp("boxes"), DATA, list(boxes.KINDS))


def test_every_kind_is_pulled(
    made: list[boxes.Box], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VMCONF_DIR", str(tmp_path))
    with serve() as server:
        for box in made:
            url = server.at(f"/{box.path.name}", File(box.path.read_bytes()))
            assert main([url, "--name", box.kind, "--quiet"]) == 0
    assert sorted(path.name for path in tmp_path.glob("*.toml")) == sorted(
        f"{kind}.toml" for kind in boxes.KINDS
    )


def test_boxes_that_are_there_are_kept(made: list[boxes.Box]) -> None:
    before = [box.path.stat().st_mtime_ns for box in made]
    again = boxes.make(made[0].path.parent, DATA, list(boxes.KINDS))
    assert [box.path.stat().st_mtime_ns for box in again] == before


def test_each_way_names_the_box_and_has_its_aims(made: list[boxes.Box], tmp_path: Path) -> None:
    place = Place(tmp_path, tmp_path)
    for box in made:
        timed = fetchers.timed(place, box, 80)
        names = {contender.name for contender in timed}
        assert timed[0].name == "vm-pull"
        assert names >= fetchers.AIMS[box.kind].keys()


@pytest.mark.parametrize("measure", ["timed", "watched"])
def test_what_is_measured_is_what_ran(tmp_path: Path, measure: str) -> None:
    place = Place(tmp_path, tmp_path)
    ways = {"a way": "sh -c 'head -c 5000000 /dev/zero >seen; :'"}
    how = fetchers._time if measure == "timed" else fetchers._watch  # pyright: ignore[reportPrivateUsage]
    (contender,) = fetchers._contenders(place, ways, how, {})  # pyright: ignore[reportPrivateUsage]
    assert contender.sample
    seen = contender.sample()
    if measure == "timed":
        assert 0 < seen["wall s"] < 60
    else:
        assert seen["disk MB"] == pytest.approx(5, rel=0.1)
    assert not (tmp_path / "fetched").exists()
