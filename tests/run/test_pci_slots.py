"""Which slot each device sits in, and the two laws."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vm_run.pci_slots import BANDS, BUSES, place
from vm_spec import Context, Description, VmError, loads, select

KINDS = {
    "storage": {"device": "virtio-blk", "path": "a.img"},
    "network": {"device": "virtio-net"},
    "passthrough": {"device": "passthru", "src": "1:0:0"},
    "other": {"device": "virtio-rnd"},
}
CONTEXT = Context(file="web.json", name="web", syntax="json")


def described(devices: list[dict[str, Any]], **more: object) -> Description:
    return loads(json.dumps({"emulations": devices, **more}), CONTEXT)


def slots(description: Description, target: str = "default") -> dict[str, str]:
    placed = place(description, select(description, target))
    return {label: str(slot) for label, slot in placed.slots.items()}


def one(kind: str, label: str, **more: object) -> dict[str, Any]:
    return KINDS[kind] | {"label": label} | more


def refusal(description: Description, target: str = "default") -> str:
    with pytest.raises(VmError) as caught:
        slots(description, target)
    return str(caught.value)


def test_each_class_has_a_band_of_its_own() -> None:
    description = described([one(kind, kind) for kind in KINDS])
    assert slots(description) == {
        "storage": "0:2:0", "network": "0:10:0", "passthrough": "0:18:0", "other": "0:22:0",
    }  # fmt: skip


def test_bands_do_not_overlap() -> None:
    numbers = [slot for band in BANDS.values() for slot in band]
    assert len(numbers) == len(set(numbers))
    assert not {0, 28, 29, 30, 31} & set(numbers)


def test_the_screen_and_its_tablet_have_places_of_their_own() -> None:
    assert slots(described([], graphic={})) == {"graphic": "0:28:0", "tablet": "0:29:0"}
    assert slots(described([], graphic={"xhci_table": False, "slot": 5})) == {"graphic": "0:5:0"}


def test_explicit_slots_are_taken_first() -> None:
    devices = [one("storage", "a"), one("storage", "b", slot=2), one("network", "c", slot="3:4:1")]
    assert slots(described(devices)) == {"a": "0:3:0", "b": "0:2:0", "c": "3:4:1"}


def test_a_slot_of_which_a_function_is_taken_is_not_chosen() -> None:
    devices = [one("storage", "a"), one("other", "b", slot="0:2:3")]
    assert slots(described(devices)) == {"a": "0:3:0", "b": "0:2:3"}


def test_when_a_band_is_full_the_next_bus_is_used() -> None:
    found = slots(described([one("storage", f"d{number}") for number in range(17)]))
    assert [found[f"d{number}"] for number in (7, 8, 15, 16)] == [
        "0:9:0", "1:2:0", "1:9:0", "2:2:0",
    ]  # fmt: skip


def test_when_every_bus_is_full_it_is_said() -> None:
    most = BUSES * len(BANDS["passthrough"])
    devices = [one("passthrough", f"p{number}") for number in range(most + 1)]
    assert len(slots(described(devices[:-1]))) == most
    assert refusal(described(devices)) == (
        "passthru p36:\n"
        "  has no slot: all 36 slots for passthrough devices are taken\n"
        "    hint: take devices away, or give some a slot of their own"
    )


CONFLICTS: list[tuple[dict[str, Any], str, str]] = [
    (one("network", "net", slot=5), "virtio-net net", "0:5:0 is also claimed by virtio-blk disk"),
    (one("network", "net", slot=0), "virtio-net net", "0:0:0 is also claimed by hostbridge"),
    (one("network", "net", slot=31), "virtio-net net", "0:31:0 is also claimed by lpc"),
    (one("network", "lpc", slot=31), "virtio-net lpc", "0:31:0 is also claimed by lpc"),
    (one("network", "net", slot=28), "virtio-net net", "0:28:0 is also claimed by graphic"),
    (one("network", "net", slot=29), "virtio-net net", "0:29:0 is also claimed by tablet"),
]


@pytest.mark.parametrize(("device", "name", "claim"), CONFLICTS)
def test_two_claims_on_one_slot_name_both(device: dict[str, Any], name: str, claim: str) -> None:
    described_ = described([one("storage", "disk", slot=5), device], graphic={})
    assert refusal(described_) == (
        f"{name}:\n  slot {claim}\n"
        "    hint: give one of them another slot, or leave it out to have one chosen"
    )


def test_the_board_itself_cannot_claim_a_slot_twice() -> None:
    assert "0:31:0 is also claimed by lpc" in refusal(described([], graphic={"slot": 31}))
    assert "0:0:0 is also claimed by hostbridge" in refusal(described([], lpc_slot=0))


def test_the_slot_of_the_bridges_is_free_while_no_bus_is_used() -> None:
    """The usual place of a tablet on bhyve: -s 29,fbuf -s 30,xhci,tablet."""
    tablet = {"device": "xhci", "label": "t", "slot": 30}
    assert slots(described([tablet])) == {"t": "0:30:0"}
    behind = one("storage", "far", slot="1:2:0")
    assert "claimed by the bridge to bus 1" in refusal(described([tablet, behind]))
    assert slots(described([tablet, behind], hypervisor="bhyve")) == {"t": "0:30:0", "far": "1:2:0"}


def test_what_replaces_a_device_sits_where_it_sat() -> None:
    targets = {"t": {"emulations": [one("network", "a"), one("storage", "c")]}}
    description = described([one("storage", "a"), one("storage", "b")], targets=targets)
    assert slots(description, "t") == {"a": "0:2:0", "b": "0:3:0", "c": "0:4:0"}


def test_a_targets_explicit_slot_is_kept_free_in_the_base() -> None:
    targets = {"t": {"emulations": [one("storage", "cd", slot=2)]}}
    description = described([one("storage", "a")], targets=targets)
    assert slots(description) == {"a": "0:3:0"}
    assert slots(description, "t") == {"a": "0:3:0", "cd": "0:2:0"}


@pytest.mark.parametrize("change", [{"graphic": {"slot": 2}}, {"lpc_slot": 2}])
def test_a_targets_board_is_kept_free_in_the_base(change: dict[str, Any]) -> None:
    description = described([one("storage", "a")], targets={"t": change})
    assert slots(description)["a"] == slots(description, "t")["a"] == "0:3:0"


def test_what_a_target_adds_boots_before_the_base() -> None:
    targets = {"t": {"emulations": [one("storage", "cd")]}}
    description = described([one("storage", "a"), one("storage", "b")], targets=targets)
    assert place(description, select(description, "t")).boot == ("cd", "a", "b")


# --- the laws ------------------------------------------------------------------------------------

CLASSES = st.sampled_from(sorted(KINDS))
PINNED = st.none() | st.builds("{}:{}:0".format, st.integers(0, 2), st.integers(1, 27))
LISTS = st.lists(
    st.tuples(CLASSES, PINNED), max_size=30, unique_by=lambda pair: pair[1] or object()
)


def devices(pairs: list[tuple[str, str | None]], prefix: str = "d") -> list[dict[str, Any]]:
    return [
        one(kind, f"{prefix}{number}", **({"slot": slot} if slot else {}))
        for number, (kind, slot) in enumerate(pairs)
    ]


@settings(deadline=None)
@given(LISTS, CLASSES, st.integers(0, 30))
def test_adding_a_device_of_one_class_never_moves_another_class(
    pairs: list[tuple[str, str | None]], kind: str, at: int
) -> None:
    given_ = devices(pairs)
    before = slots(described(given_))
    more = [*given_[:at], one(kind, "new"), *given_[at:]]
    after = slots(described(more))
    others = [item["label"] for item in given_ if item["device"] != KINDS[kind]["device"]]
    assert [before[label] for label in others] == [after[label] for label in others]


@settings(deadline=None)
@given(LISTS, LISTS, LISTS, st.booleans())
def test_selecting_a_target_never_moves_a_device_of_the_base(
    base: list[tuple[str, str | None]],
    first: list[tuple[str, str | None]],
    second: list[tuple[str, str | None]],
    screen: bool,
) -> None:
    taken = {slot for _, slot in base if slot}
    first = [(kind, None if slot in taken else slot) for kind, slot in first]
    second = [(kind, None if slot in taken else slot) for kind, slot in second]
    targets: dict[str, dict[str, Any]] = {
        "a": {"emulations": devices(first, "a")},
        "b": {"emulations": devices(second, "b")},
    }
    if screen:
        targets["a"]["graphic"] = {}
    description = described(devices(base), targets=targets)
    alone = slots(description)
    for target in ("a", "b"):
        selected = slots(description, target)
        assert {label: selected[label] for label in alone} == alone


@settings(deadline=None)
@given(LISTS, LISTS)
def test_no_two_devices_share_a_slot(
    base: list[tuple[str, str | None]], added: list[tuple[str, str | None]]
) -> None:
    targets = {"t": {"emulations": devices(added, "t")}}
    description = described(devices(base), targets=targets)
    for target in ("default", "t"):
        try:
            found = slots(description, target)
        except VmError:
            continue
        assert len(set(found.values())) == len(found)
