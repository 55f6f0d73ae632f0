"""vm-policy.toml(5): what is understood, what is allowed, and what is said of the rest.

`test_threat_NN_...` is row NN of threats.md, part 2.
"""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vm_init import policy as policies
from vm_init.caller import Caller
from vm_init.errors import InitError
from vm_init.inspect import explain
from vm_init.links import get_port
from vm_init.policy import DEFAULTS, FILE, Granted, Policy, base36, find_grant, judge
from vm_init.request import Request, RequestError, parse_line
from vm_spec import Context, loads, select

CHECKOUT = Path(__file__).parent.parent.parent
SAMPLE = CHECKOUT / "etc" / "policy.toml"
PAGE = CHECKOUT / "man" / "vm-policy.toml.5"

ALICE = Caller(1000, 1000, "alice", (1000, 2000), ("alice", "vm"), "/home/alice")
BOB = Caller(1001, 1001, "bob", (1001,), ("bob",), "/home/bob")
NOTHING = Policy(FILE, found=False)


def read(text: str) -> Policy:
    return policies.parse(text.encode(), FILE)


def granting(lines: str, who: str = '"alice"') -> Policy:
    return read(f"[[grant]]\nwho = [{who}]\n{lines}\n")


def grant(line: str, policy: Policy, caller: Caller = ALICE, total: int = 1) -> Granted | None:
    """The grant for a line of the grammar; none for what is no line of it."""
    try:
        request = parse_line(line.replace("vmrs-", f"vm{base36(caller.uid)}-"))
    except RequestError:
        return None
    return find_grant(caller, request, policy, total)


def verdict(line: str, policy: Policy, caller: Caller = ALICE, total: int = 1) -> bool:
    return grant(line, policy, caller, total) is not None


def why(line: str, policy: Policy, caller: Caller = ALICE, total: int = 1) -> str:
    assert not verdict(line, policy, caller, total)
    return explain(caller, parse_line(line), policy, total)


def refusal(text: str | bytes) -> str:
    """What is said of a policy that is not understood."""
    with pytest.raises(InitError) as told:
        policies.parse(text.encode() if isinstance(text, str) else text, FILE)
    assert told.value.status == 78
    assert all(line.startswith(FILE) for line in str(told.value).split("\n"))
    return str(told.value)


# --- the file ------------------------------------------------------------------------------------

HALF = "[[grant]]\nwho = ['*']\n"

BAD = [
    ("grants = 1", "'grants': is not a known key: grant, deny, networks"),
    ("grant = 1", "grant: must be tables, [[grant]]"),
    ("[grant]\nwho = ['*']", "grant: must be tables, [[grant]]"),
    ("grant = [1]", "grant 1: must be a name, and a table with any of who"),
    ("deny = 'x'", "deny: must be tables"),
    ("[[grant]]\nbridges = ['br0']", "grant 1.who: must be a list, each of it"),
    ("[[grant]]\nwho = []", "grant 1.who: must be a list, each of it"),
    ("[[grant]]\nwho = 'alice'", "grant 1.who: must be a list, each of it"),
    (f"{HALF}bridge = ['br0']", "grant 1.'bridge': is not a known key: who, bridges,"),
    (f"{HALF}bridges = 'br0'", "grant 1.bridges: must be a list, each of it a bridge's whole name"),
    (f"{HALF}bridges = ['br0', 1]", "grant 1.bridges: must be a list"),
    (f"{HALF}bridges = ['br*']", "grant 1.bridges: must be a list"),
    (f"{HALF}bridges = ['br0 ']", "grant 1.bridges: must be a list"),
    (f"{HALF}host-interfaces = ['']", "grant 1.host-interfaces: must be a list"),
    (f"{HALF}networks = ['lab']", "grant 1.networks: there is no [networks.lab]"),
    (f"{HALF}interfaces = ['*']", "grant 1.interfaces: must be a list"),
    (f"{HALF}interfaces = ['vm[0-9]']", "grant 1.interfaces: must be a list"),
    (f"{HALF}interfaces = ['vm%d']", "grant 1.interfaces: must be a list"),
    (f"{HALF}macs = ['52:']", "grant 1.macs: must be a list"),
    (f"{HALF}macs = ['52:AB:*']", "grant 1.macs: must be a list"),
    (f"{HALF}macs = ['52:54']", "grant 1.macs: must be a list"),
    (f"{HALF}macs = ['5*:54:*']", "grant 1.macs: must be a list"),
    (f"{HALF}most-interfaces = '4'", "grant 1.most-interfaces: must be a whole number"),
    (f"{HALF}most-interfaces = true", "grant 1.most-interfaces: must be a whole number"),
    (f"{HALF}most-interfaces = -1", "grant 1.most-interfaces: must be a whole number"),
    (f"{HALF}most-interfaces = nan", "grant 1.most-interfaces: must be a whole number"),
    (f"{HALF}unbridged = 1", "grant 1.unbridged: must be true or false"),
    (f"{HALF}pci = ['0000:01:00.0']", "grant 1.pci: must be a list, each of it an address and"),
    (f"{HALF}pci = ['01:00.0 10de:1b80']", "grant 1.pci: must be a list"),
    (f"{HALF}pci = ['0000:01:00.0 10DE:1b80']", "grant 1.pci: must be a list"),
    (
        f"{HALF}pci = ['0000:01:00.0 10de:1b80', '0000:01:00.0 10de:1b81']",
        "grant 1.pci: 0000:01:00.0 is pinned to 10de:1b80 too",
    ),
    (f"{HALF}nodes = ['/dev/*']", "grant 1.nodes: must be a list"),
    (f"{HALF}nodes = ['/dev/**/x']", "grant 1.nodes: must be a list"),
    (f"{HALF}nodes = ['/dev/input/../sda']", "grant 1.nodes: must be a list"),
    (f"{HALF}nodes = ['/dev//input']", "grant 1.nodes: must be a list"),
    (f"{HALF}nodes = ['/etc/shadow']", "grant 1.nodes: must be a list"),
    (f"{HALF}nodes = ['/dev/input/event[0-9]']", "grant 1.nodes: must be a list"),
    ("[[deny]]\nwho = ['*']\nbridges = []", "deny 1.bridges: denies nothing"),
    ("[[deny]]\nwho = ['*']\nunbridged = false", "deny 1.unbridged: denies nothing"),
    ("[[deny]]\nwho = ['*']\nmost-interfaces = 1", "deny 1.'most-interfaces': is not a known key"),
    ("[[deny]]\nwho = ['*']\npci = ['0000:01:00.0 10de:1b80']", "deny 1.pci: must be a list"),
    ("networks = 1", "networks: must be tables"),
    ("[networks.lab]", "networks.lab: must be a name, and a table with any of bridge"),
    ("[networks]\nlab = 'br0'", "networks.lab: must be a name, and a table with any of bridge"),
    ("[networks.'a b']\nbridge = 'br0'", "networks.'a b': must be a name"),
    ("[networks.lab]\nbridge = 1", "networks.lab.bridge: must be a whole name"),
    ("[networks.lab]\nbrigde = 'br0'", "networks.lab.'brigde': is not a known key: bridge, host"),
    ("who = [", "is not TOML"),
    ("a = 1" + "0" * 5000, "is not TOML"),
    ("x = " + 30_000 * "[", "is not TOML"),
    (b"\xff\xfe", "is not TOML"),
]


@pytest.mark.parametrize(("text", "said"), BAD, ids=range(len(BAD)))
def test_threat_65_what_is_not_understood_ends_the_run(text: str | bytes, said: str) -> None:
    assert said in refusal(text)


@pytest.mark.parametrize(
    "who",
    ["", "@", "*alice", "@*", "@@vm", "al ice ", " alice", "a,b", "a:b", "a\\nb", "#", "#1x", "-a"],
)
def test_threat_65_a_misspelt_who_is_no_rule_for_nobody(who: str) -> None:
    assert "grant 1.who" in refusal(f'[[grant]]\nwho = ["{who}"]')


def test_threat_65_everything_wrong_is_told_at_once() -> None:
    told = refusal("[[grant]]\nbridge = 1\nmacs = 1\n[[deny]]\nwho = [1]\n")
    assert re.findall(r": (\w+ 1\.[^:]*): ", told) == [
        "grant 1.'bridge'",
        "grant 1.macs",
        "grant 1.who",
        "deny 1.who",
    ]


@pytest.mark.parametrize("text", ["", "\n# nothing\n"])
def test_threat_65_an_empty_policy_refuses(text: str) -> None:
    assert not any(verdict(request, read(text)) for request in ASKED)


def test_threat_65_a_missing_policy_refuses_and_is_named() -> None:
    missing = policies.load("/etc/vmman-is-not-here/policy.toml")
    assert not missing.found
    assert "/etc/vmman-is-not-here/policy.toml does not exist" in why(ASKED[0], missing)
    assert not any(verdict(request, missing) for request in ASKED)


@given(st.binary(max_size=300))
def test_threat_65_any_bytes_are_a_policy_or_a_refusal(data: bytes) -> None:
    try:
        policies.parse(data, FILE)
    except InitError as error:
        assert error.status == 78


KEYS = [*Policy._fields, "who", "bridges", "nodes", "pci", "macs", "interfaces"]
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=6)
    | st.sampled_from(["*", "alice", "br0", "vm*", "/dev/kvm", "0000:01:00.0 10de:1b80"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["grant", "deny", "networks", "x"]), VALUES))
def test_threat_65_any_shape_is_a_policy_or_a_refusal(tree: dict[str, Any]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tomllib, "loads", lambda _text: tree)  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]
        try:
            policies.parse(b"", FILE)
        except InitError as error:
            assert error.status == 78


def commented() -> str:
    """The sample with everything switched on that it shows: `# ` is prose."""
    return re.sub(r"(?m)^#(?! )", "", SAMPLE.read_text())


PORT = {"bpdu-guard", "isolated", "learning", "pin"}


def test_the_sample_grants_nothing_as_installed() -> None:
    sample = read(SAMPLE.read_text())
    assert (sample.grants, sample.denies, sample.networks, sample.bridges) == ((), (), {}, {})


def test_the_sample_shows_each_key() -> None:
    assert read(commented()).networks["lab"] == {"bridge": "br0", "host-interface": "eno3"}
    assert set(tomllib.loads(commented())["bridges"]["br0"]) == PORT
    shown = tomllib.loads(commented())["grant"][0]
    known = re.search(r"known key: (.*)", refusal("[[grant]]\nwho = ['*']\nx = 1"))
    assert known
    assert list(shown) != []
    assert set(shown) == set(known[1].split(", "))


def test_the_sample_tells_the_defaults() -> None:
    bare, tree = granting(""), tomllib.loads(commented())
    shown = tree["grant"][0]
    told = dict(re.findall(r"(?m)^#([a-z-]+) = .* # default: (.*)$", SAMPLE.read_text()))
    of_ports = {key: tomllib.loads(f"x = {told.pop(key)}")["x"] for key in PORT}
    assert of_ports == tree["bridges"]["br0"]
    assert set(told) == set(shown) - {"who", "interfaces"}
    for key, default in told.items():
        value: Any = bare.grants[0][key]
        value = [*value] if isinstance(value, tuple) else value
        assert tomllib.loads(f"x = {default}")["x"] == value == shown[key]


def examples() -> list[str]:
    blocks = re.findall(r"^\.Bd -literal.*\n((?:.*\n)*?)\.Ed$", PAGE.read_text(), re.MULTILINE)
    return [block for block in blocks if block.startswith("# example\n")]


def test_the_page_has_examples() -> None:
    assert len(examples()) == 4


@pytest.mark.parametrize("example", examples(), ids=range(len(examples())))
def test_each_example_of_the_page_is_a_policy(example: str) -> None:
    assert read(example).grants


def test_each_key_is_in_the_page() -> None:
    shown = set(re.findall(r"^\.It Va (\S+)$", PAGE.read_text(), re.MULTILINE))
    assert shown == {*tomllib.loads(commented())["grant"][0], "bridge", "host-interface"} | PORT


# --- grants --------------------------------------------------------------------------------------

TAP = "tap vmrs-01234 bridge br0"
LOOSE = "tap vmrs-01234 bridge -"
NET = "tap vmrs-01234 network lab"
MACVTAP = "macvtap vmrs-01234 on eno3 mac 52:54:00:12:34:56"
MACNET = "macvtap vmrs-01234 network lab mac 52:54:00:12:34:56"
PCI = "pci 0000:01:00.0"
NODE = "node /dev/input/event3"
ASKED: tuple[str, ...] = (TAP, LOOSE, NET, MACVTAP, MACNET, PCI, NODE)

ALL = """
bridges = ["br0"]
host-interfaces = ["eno3"]
networks = ["lab"]
unbridged = true
pci = ["0000:01:00.0 10de:1b80"]
nodes = ["/dev/input/event*"]
"""
LAB = '\n[networks.lab]\nbridge = "br1"\nhost-interface = "eno4"\n'
OPEN = granting(ALL + LAB)

GRANTED = [
    (TAP, "policy.toml: grant 1 (bridges)", "br0", ""),
    (LOOSE, "policy.toml: grant 1 (unbridged)", "", ""),
    (NET, "policy.toml: grant 1 (networks)", "br1", ""),
    (MACVTAP, "policy.toml: grant 1 (host-interfaces)", "eno3", ""),
    (MACNET, "policy.toml: grant 1 (networks)", "eno4", ""),
    (PCI, "policy.toml: grant 1 (pci)", "", "10de:1b80"),
    (NODE, "policy.toml: grant 1 (nodes)", "", ""),
]


@pytest.mark.parametrize(("request_", "line", "target", "pinned"), GRANTED)
def test_a_grant_allows_and_says_which_and_where(
    request_: str, line: str, target: str, pinned: str
) -> None:
    assert grant(request_, OPEN) == Granted(parse_line(request_), line, target, pinned)


def test_threat_50_a_port_is_of_its_bridge_and_of_taps_alone() -> None:
    ports = (
        "[bridges.br0]\nlearning = false\nisolated = true\nbpdu-guard = true\n"
        "[bridges.br1]\nisolated = false\n[bridges.eno3]\nisolated = true\n"
    )
    policy = read(f"[[grant]]\nwho = ['alice']\n{ALL}{LAB}{ports}")
    granted = [grant(one, policy) for one in (TAP, NET, LOOSE, MACVTAP)]
    assert [get_port(one) for one in granted if one] == [
        "bpdu-guard isolated no-learning", "", "", "",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "lines",
    [
        "bridges = 1",
        "[bridges]\nbr0 = 1",
        "[bridges.br0]",
        "[bridges.br0]\nisolated = 1",
        "[bridges.br0]\nisolated = 'true'",
        "[bridges.br0]\nbpdu_guard = true",
        "[bridges.'br 0']\nisolated = true",
    ],
)
def test_threat_65_what_is_no_port_is_refused_whole(lines: str) -> None:
    assert "bridges" in refusal(lines)


@pytest.mark.parametrize("request_", ASKED)
def test_no_rule_for_the_caller_refuses(request_: str) -> None:
    assert not verdict(request_, OPEN, BOB)
    assert not verdict(request_, NOTHING)


@pytest.mark.parametrize("request_", ASKED)
def test_what_a_refusal_says_would_allow_it_does(request_: str) -> None:
    """The text for the admin is TOML but for what only the host knows."""
    said = why(request_, granting("", who='"bob"') if request_ != NET else read(LAB), ALICE)
    rule = said[said.index("[[grant]]") :].replace("VENDOR:DEVICE", "10de:1b80")
    rule = re.sub(r'networks\.lab\.\S+ = "\.\.\."', "", rule)
    text = re.sub(r"(\]\]|[]\"e]) (?=[a-z-]+ =)", r"\1\n", rule)
    assert verdict(request_, read(text + LAB))


def test_a_refusal_tells_the_admin_what_the_nearest_grant_lacks() -> None:
    policy = granting('bridges = ["br0"]\n[[grant]]\nwho = ["alice"]\n')
    named = "tap web bridge br0"
    assert why(named, policy) == (
        "alice (uid 1000) may not have tap web bridge br0: "
        f'grant 1 of {FILE} would allow it with: interfaces = ["web"]'
    )


def test_one_grant_must_allow_all_of_a_request() -> None:
    halves = granting('bridges = ["br0"]\n[[grant]]\nwho = ["alice"]\ninterfaces = ["web"]')
    assert not verdict("tap web bridge br0", halves)


@pytest.mark.parametrize(
    ("who", "alice", "bob"),
    [
        ('"alice"', True, False),
        ('"*"', True, True),
        ('"@vm"', True, False),
        ('"@bob"', False, True),
        ('"vm"', False, False),
        ('"@alic"', False, False),
        ('"Alice"', False, False),
        ('"#1000"', True, False),
        ('"@#2000"', True, False),
        ('"#2000"', False, False),
        ('"#100"', False, False),
    ],
)
def test_who_is_a_user_a_group_or_everybody(who: str, alice: bool, bob: bool) -> None:
    policy = granting('bridges = ["br0"]', who)
    assert verdict(TAP, policy, ALICE) is alice
    assert verdict(TAP, policy, BOB) is bob


@pytest.mark.parametrize("name", ["@vm", "#1000", "@#2000", "*"])
def test_a_name_from_the_database_is_no_other_kind_of_name(name: str) -> None:
    odd = Caller(3000, 3000, name, (3000,), (name, "#2000"), "/")
    policy = granting('bridges = ["br0"]', '"@vm", "#1000", "@#2000"')
    assert not verdict(TAP, policy, odd)


def test_root_is_given_nothing() -> None:
    root = Caller(0, 0, "root", (0,), ("root",), "/root")
    assert not any(verdict(request, granting(ALL + LAB, '"*"'), root) for request in ASKED)


@pytest.mark.parametrize(
    ("patterns", "name", "allowed"),
    [
        ("'vm*'", "vm", True),
        ("'vm*'", "vmx", True),
        ("'vm*'", "xvm", False),
        ("'vm*'", "VM0", False),
        ("'%u-*'", "alice-web", True),
        ("'%u-*'", "alice", False),
        ("'%u-*'", "bob-web", False),
        ("'%u-*'", "alice2-web", False),
        ("'a.b'", "axb", False),
        ("'l*'", "lo", False),
        ("'l*'", "lo0", False),
        ("'l*'", "lot", True),
    ],
)
def test_names_of_interfaces_are_patterns(patterns: str, name: str, allowed: bool) -> None:
    policy = granting(f"bridges = ['br0']\ninterfaces = [{patterns}]")
    assert verdict(f"tap {name} bridge br0", policy) is allowed


@pytest.mark.parametrize("user", ["*", "[a-z]*", "a*", "?"])
def test_a_users_name_is_never_a_pattern(user: str) -> None:
    odd = Caller(1000, 1000, user, (1000,), (), "/")
    policy = granting("bridges = ['br0']\ninterfaces = ['%u-*']", '"#1000"')
    assert not verdict("tap alice-web bridge br0", policy, odd)


@pytest.mark.parametrize("name", ["vm0", "vm0123abc", "vm0123ABCD", "tap0", "web"])
def test_without_a_pattern_only_made_names_are_given(name: str) -> None:
    assert not verdict(f"tap {name} bridge br0", OPEN)


def test_the_made_name_and_address_are_given_without_a_pattern() -> None:
    text = '[net.lan]\nhost-interface = "eno3"\n'
    machine = select(loads(text, Context(name="web", user="alice", uid=1000, home="/")), "default")
    card: Any = machine.emulations[0]
    assert verdict(f"macvtap {card.name} on eno3 mac {card.mac}", OPEN)


@pytest.mark.parametrize(("total", "allowed"), [(1, True), (2, True), (3, False), (64, False)])
def test_threat_63_the_quota_is_of_all_that_a_user_holds(total: int, allowed: bool) -> None:
    policy = granting('bridges = ["br0"]\nmost-interfaces = 2')
    assert verdict(TAP, policy, total=total) is allowed
    if not allowed:
        assert f"most-interfaces = {total}" in why(TAP, policy, total=total)


def test_threat_63_a_frame_that_goes_over_the_quota_is_refused_whole() -> None:
    policy = granting('bridges = ["br0"]\ninterfaces = ["vm*"]\nmost-interfaces = 2')
    frame = [parse_line(f"tap vm{number} bridge br0") for number in range(2)]
    assert len(judge(ALICE, frame, policy)) == 2
    with pytest.raises(InitError) as refused:
        judge(ALICE, frame, policy, {"other"})
    assert len(str(refused.value).splitlines()) == 2
    assert len(judge(ALICE, frame, policy, {"vm0", "vm1"})) == 2  # a second run, for its own


def test_the_quota_is_not_of_nodes() -> None:
    policy = granting('nodes = ["/dev/input/event0"]\nmost-interfaces = 0')
    assert verdict("node /dev/input/event0", policy, total=9)


# --- denials -------------------------------------------------------------------------------------

EVERY = granting(ALL + '[[grant]]\nwho = ["*"]' + ALL + LAB)

DENIES = [
    ("", {*ASKED}),
    ('bridges = ["br0"]', {TAP}),
    ('bridges = ["br1"]', {NET}),
    ('networks = ["lab"]', {NET, MACNET}),
    ('host-interfaces = ["eno3"]', {MACVTAP}),
    ('host-interfaces = ["eno4"]', {MACNET}),
    ("unbridged = true", {LOOSE}),
    ('interfaces = ["vmrs-*"]', {TAP, LOOSE, NET, MACVTAP, MACNET}),
    ('interfaces = ["web"]', set[str]()),
    ('macs = ["*:54:*"]', {MACVTAP, MACNET}),
    ('pci = ["0000:01:00.0"]', {PCI}),
    ('nodes = ["/dev/*/*"]', {NODE}),
    ('nodes = ["/dev/*"]', set[str]()),
]


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize(("lines", "denied"), DENIES)
def test_threat_65_a_deny_wins_wherever_it_stands(
    lines: str, denied: set[str], first: bool
) -> None:
    deny, grant = f'[[deny]]\nwho = ["@vm"]\n{lines}\n', f'[[grant]]\nwho = ["*"]\n{ALL}'
    policy = read((deny + grant if first else grant + deny) + LAB)
    assert {request for request in ASKED if not verdict(request, policy)} == denied
    assert all(verdict(request, policy, BOB) for request in ASKED)
    assert all("deny 1 of " in why(request, policy) for request in denied)


def test_a_denied_network_denies_its_bridge_by_every_name() -> None:
    deny = '[[deny]]\nwho = ["*"]\nnetworks = ["lab"]\n'
    too = '[networks.too]\nbridge = "br1"\n'
    grant = '[[grant]]\nwho = ["*"]\nbridges = ["br1"]\nnetworks = ["too"]\n'
    policy = read(grant + deny + LAB + too)
    assert "deny 1" in why("tap vmrs-01234 bridge br1", policy)
    assert "deny 1" in why("tap vmrs-01234 network too", policy)


NEVER = """
mem kmsg sda sda1 nvme0n1 dm-0 mapper/root loop0 sr0 disk/by-id/x ada0 tty tty0 console ptmx pts/0
vcs1 uinput input/uinput input/mice watchdog tpm0 rtc0 fuse bpf uio0 vfio/12 net/tun tap0 vmm/web
null random shm/x fd/0 stdin kvm dri/renderD128 hidraw0 ttyv0 ttyprintk
""".split()  # noqa: SIM905  a table


@pytest.mark.parametrize("path", NEVER)
def test_threat_61_no_policy_gives_anything_but_input_devices_and_serial_ports(path: str) -> None:
    name, *rest = path.split("/")
    parts = [name[0] + "*", *("*" for _ in rest)]
    policy = granting(f'nodes = ["/dev/{path}", "/dev/{"/".join(parts)}"]')
    assert not verdict(f"node /dev/{path}", policy)


@pytest.mark.parametrize("path", ["input/event0", "ttyS1", "ttyUSB0", "ttyACM3", "cuaU0"])
def test_threat_61_what_a_description_can_name_can_be_given(path: str) -> None:
    assert verdict(f"node /dev/{path}", granting(f'nodes = ["/dev/{path}"]'))


# --- the rows ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("granted", "asked"),
    [("br10", "br1"), ("br1", "br10"), ("br0", "BR0"), ("br0", "br0 "), ("br0", "br0\n")],
)
def test_threat_41_a_bridge_is_its_whole_name(granted: str, asked: str) -> None:
    policy = granting(f'bridges = ["{granted}"]')
    assert not verdict(f"tap vmrs-01234 bridge {asked}", policy)
    assert verdict(f"tap vmrs-01234 bridge {granted}", policy)


WATCHED = """
import sys
from vm_init.caller import Caller
from vm_init.errors import InitError
from vm_init.policy import judge, parse
from vm_init.request import parse_line
policy = parse(b'[[grant]]\\nwho = ["*"]\\nbridges = ["br0"]', "/x")
alice = Caller(1000, 1000, "alice", (), (), "/")
seen = []
requests = [parse_line(f"tap vmrs-01234 bridge {name}") for name in ("br0", "br1", "br2")]
def judged():
    try: judge(alice, requests, policy)
    except InitError as error: return str(error)
judged()  # compiles its patterns
sys.addaudithook(lambda event, _: seen.append(event))
told = judged()
assert not seen, seen
assert len(told.splitlines()) == 2
"""


def test_threat_41_a_verdict_asks_nothing_of_the_host() -> None:
    """Python tells an audit hook of every file, socket and program."""
    subprocess.run([sys.executable, "-c", WATCHED], cwd=CHECKOUT, check=True, timeout=60)


@pytest.mark.parametrize(
    "mac",
    [
        "53:54:00:12:34:56",
        "02:54:00:12:34:56",
        "00:00:00:00:00:00",
        "52:54:00:12:34",
        "52:54:00:12:34:56:78",
        "52-54-00-12-34-56",
        "52:54:00:12:34:5\u0666",
        "52:54:00:12:34:56\n",
        "5:2:54:00:12:34",
    ],
)
def test_threat_43_an_address_is_unicast_and_of_the_policy(mac: str) -> None:
    policy = granting('host-interfaces = ["eno3"]')
    assert verdict(MACVTAP, policy)
    assert not verdict(f"macvtap vmrs-01234 on eno3 mac {mac}", policy)


@pytest.mark.parametrize(
    ("pattern", "allowed"),
    [
        ("52:54:00:12:34:56", True),
        ("52:54:00:*:*:*", True),
        ("52:54:*", True),
        ("*", True),
        ("*:54:*", True),
        ("52:54:01:*", False),
        ("52:54:00:12:34:57", False),
        ("*:55:*", False),
    ],
)
def test_threat_43_addresses_are_matched_by_octets(pattern: str, allowed: bool) -> None:
    assert (
        verdict(MACVTAP, granting(f'host-interfaces = ["eno3"]\nmacs = ["{pattern}"]')) is allowed
    )


@pytest.mark.parametrize("parent", ["eno30", "eno", "lo", "br0", "ENO3", "eno3.7"])
def test_threat_47_a_macvtap_is_put_on_a_named_interface_only(parent: str) -> None:
    policy = granting('host-interfaces = ["eno3"]\nbridges = ["br0"]')
    assert not verdict(f"macvtap vmrs-01234 on {parent} mac 52:54:00:12:34:56", policy)


@pytest.mark.parametrize(
    "address",
    ["0000:01:00.8", "1:0.0", "../../../x", "0000:01:00.0\n", "0000:0A:00.0", "0000:01:00.1", ""],
)
def test_threat_54_an_address_has_one_form(address: str) -> None:
    assert not verdict(f"pci {address}", OPEN)


def test_threat_55_an_address_is_granted_with_what_must_be_there() -> None:
    granted = grant(PCI, OPEN)
    assert granted
    assert granted.pinned == "10de:1b80"


@pytest.mark.parametrize(
    "path",
    [
        "/dev/input/event0/../../sda",
        "/dev/input/event0/..",
        "/dev/input/./event0",
        "/dev/input/event0/x",
        "/dev/input/event",
        "/dev/input/xevent0",
        "/dev//input/event0",
        "//dev/input/event0",
        "/dev/input/event0\n",
        "/dev/input/event0/",
        "/dev/input/event0\0",
        "/dev/input/event\u0660",
        "dev/input/event0",
        "/dev/input/event*",
        "/dev/input",
        "/dev/../dev/input/event0",
    ],
)
def test_threat_58_a_glob_is_of_one_part_of_a_plain_path(path: str) -> None:
    policy = granting('nodes = ["/dev/input/event*"]')
    assert verdict(NODE, policy)
    assert not verdict(f"node {path}", policy)


def test_threat_67_a_verdict_comes_of_one_reading(tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text('[[grant]]\nwho = ["*"]\nbridges = ["br0"]')
    policy = policies.parse(file.read_bytes(), str(file))
    file.write_text("")
    assert verdict(TAP, policy)


def test_threat_75_the_caller_is_told_the_same_whatever_is() -> None:
    bare = granting("")
    close = granting('interfaces = ["web"]\nbridges = ["br9"]')
    other = granting('bridges = ["br0"]', '"bob"')
    denied = read(f'[[deny]]\nwho = ["*"]\n[[grant]]\nwho = ["*"]\n{ALL}{LAB}')
    full = granting('most-interfaces = 0\nbridges = ["br0"]')
    told: set[str] = set()
    for policy in (NOTHING, bare, close, other, denied, full):
        with pytest.raises(InitError) as refused:
            judge(ALICE, [parse_line(TAP)], policy)
        told.add(str(refused.value))
    assert told == {
        f"alice may not have tap vmrs-01234 bridge br0: ask the administrator about {FILE}"
    }


@pytest.mark.parametrize("name", ["eve\nroot", "\x1b[2J", "\u202eeve", "\udcff"])
def test_threat_64_what_is_said_is_one_plain_line(name: str) -> None:
    odd = Caller(1000, 1000, name, (1000,), (name,), "/")
    with pytest.raises(InitError) as refused:
        judge(odd, [parse_line(TAP)], NOTHING)
    for message in (str(refused.value), why(TAP, NOTHING, odd)):
        assert message.isascii()
        assert message.isprintable()


# --- default names -------------------------------------------------------------------------------


def test_threat_78_a_default_name_is_granted_to_its_owner_alone_whatever_the_policy() -> None:
    policy = granting(
        'bridges = ["br0"]\ninterfaces = ["*m*", "vm*"]'.replace('"*m*", ', ""), '"*"'
    )
    request = parse_line(f"tap vm{base36(BOB.uid)}-01234 bridge br0")
    assert find_grant(BOB, request, policy, 1)
    assert not find_grant(ALICE, request, policy, 1)
    assert verdict("tap vmweb bridge br0", policy, ALICE)


@given(st.integers(0, 2**32 - 2), st.text(max_size=8), st.text(max_size=8))
def test_threat_78_the_language_makes_the_names_that_the_policy_knows(
    uid: int, user: str, label: str
) -> None:
    context = Context(name="web", user=user, uid=uid, home="/")
    nic: Any = select(loads('[net.lan]\nbridge = "br0"\n', context), "default").emulations[0]
    found = policies.DEFAULT_NAME.fullmatch(nic.name)
    assert found
    assert int(found[1], 36) == uid
    assert found[1] == base36(uid)
    assert len(nic.name) <= 15
    del label


# --- laws ----------------------------------------------------------------------------------------

NAMES = st.sampled_from(["vm0", "vmrs-01234", "alice-a", "bob-b", "web"])
PLACES = st.sampled_from(["br0", "br1", "eno3"])
NETS = st.sampled_from(["lab", "data"])
MACS = st.sampled_from(["52:54:00:00:00:01", "02:00:00:00:00:01"])
REQUESTS = st.one_of(
    st.builds("tap {} bridge {}".format, NAMES, PLACES | st.just("-")),
    st.builds("tap {} network {}".format, NAMES, NETS),
    st.builds("macvtap {} on {} mac {}".format, NAMES, PLACES, MACS),
    st.builds("macvtap {} network {} mac {}".format, NAMES, NETS, MACS),
    st.sampled_from(["pci 0000:01:00.0", "pci 0000:01:00.1"]),
    st.sampled_from(["node /dev/input/event0", "node /dev/ttyS1"]),
).map(parse_line)
WHO = st.sampled_from(["alice", "bob", "@vm", "*", "#1000"])
SHARED = {
    "bridges": st.sampled_from(["br0", "br1"]),
    "host-interfaces": st.just("eno3"),
    "networks": st.sampled_from(["lab", "data"]),
    "interfaces": st.sampled_from(["vm*", "%u-*", "%i*", "web"]),
    "macs": st.sampled_from(["52:*", "*"]),
    "nodes": st.sampled_from(["/dev/input/*", "/dev/t*"]),
}
Rule = dict[str, Any]


def rule_of(kind: str, who: st.SearchStrategy[str] = WHO) -> st.SearchStrategy[Rule]:
    def entries(words: st.SearchStrategy[str]) -> st.SearchStrategy[list[str]]:
        return st.lists(words, min_size=1, max_size=2)

    pin = "0000:01:00.0" if kind == "deny" else "0000:01:00.0 10de:1b80"
    more: dict[str, st.SearchStrategy[Any]] = {key: entries(words) for key, words in SHARED.items()}
    more |= {"pci": entries(st.just(pin)), "unbridged": st.booleans()}
    if kind == "grant":
        more["most-interfaces"] = st.integers(0, 3)
    rules = st.fixed_dictionaries({"who": entries(who)}, optional=more)
    return rules.map(lambda rule: DEFAULTS | rule if kind == "grant" else rule)


POLICIES = st.builds(
    Policy,
    st.just(FILE),
    st.lists(rule_of("grant"), max_size=3).map(tuple),
    st.lists(rule_of("deny"), max_size=2).map(tuple),
    st.just({"lab": {"bridge": "br0", "host-interface": "eno3"}, "data": {"bridge": "br1"}}),
    st.just({}),
    st.just(True),
)


def allows(request: Request, policy: Policy, total: int = 1) -> bool:
    return find_grant(ALICE, request, policy, total) is not None


@given(REQUESTS, POLICIES, st.integers(0, 5))
def test_law_a_verdict_is_total_and_explained(
    request_: Request, policy: Policy, total: int
) -> None:
    found = find_grant(ALICE, request_, policy, total)
    if found:
        assert found.request is request_
    else:
        assert explain(ALICE, request_, policy, total).isprintable()


@given(REQUESTS, POLICIES)
def test_law_without_a_grant_all_is_refused(request_: Request, policy: Policy) -> None:
    assert not allows(request_, policy._replace(grants=()))


@given(REQUESTS, POLICIES, rule_of("deny"), st.integers(1, 3))
def test_law_one_more_deny_never_grants(
    request_: Request, policy: Policy, deny: Rule, total: int
) -> None:
    more = policy._replace(denies=(*policy.denies, deny))
    assert allows(request_, more, total) <= allows(request_, policy, total)


@given(REQUESTS, POLICIES, rule_of("grant"), st.integers(1, 3))
def test_law_one_more_grant_never_refuses(
    request_: Request, policy: Policy, granted: Rule, total: int
) -> None:
    more = policy._replace(grants=(*policy.grants, granted))
    assert allows(request_, more, total) >= allows(request_, policy, total)


@given(REQUESTS, POLICIES, rule_of("grant", st.sampled_from(["bob", "@bob", "#1001", "@wheel"])))
def test_law_a_grant_for_another_user_never_helps(
    request_: Request, policy: Policy, granted: Rule
) -> None:
    more = policy._replace(grants=(*policy.grants, granted))
    assert allows(request_, more) == allows(request_, policy)


@given(REQUESTS, POLICIES, st.integers(1, 4))
def test_law_holding_more_never_grants(request_: Request, policy: Policy, total: int) -> None:
    assert allows(request_, policy, total + 1) <= allows(request_, policy, total)
