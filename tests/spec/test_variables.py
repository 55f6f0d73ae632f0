"""Variables in texts."""

import pytest

from vm_spec import Context, VmError, loads

CONTEXT = Context(file="web.toml", name="web", user="u", home="/home/u", confdir="/home/u/vm")


def cmdline(text: str, variables: str = "") -> str:
    return loads(f'kernel = "k"\ncmdline = "{text}"\n[vars]\n{variables}', CONTEXT).machine.cmdline


def refusal(text: str, variables: str = "") -> str:
    with pytest.raises(VmError) as caught:
        cmdline(text, variables)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "variables", "meant"),
    [
        ("%(name) %(user) %(home) %(confdir)", "", "web u /home/u /home/u/vm"),
        ("%(a)%(a)", 'a = "x"', "xx"),
        ("%(a)", 'a = "%(b)!"\nb = "%(name)"', "web!"),
        ("100%%", "", "100%"),
        ("%%(name)", "", "%(name)"),
        ("%%%(name)", "", "%web"),
        ("%(a)", 'a = "%%"', "%"),
        ("%(name)", 'name = "mine"', "mine"),
    ],
)
def test_a_variable_stands_for_its_text(text: str, variables: str, meant: str) -> None:
    assert cmdline(text, variables) == meant


def test_the_name_that_the_description_gives_is_meant() -> None:
    found = loads('name = "mail"\n[disk.a]\npath = "/x/%(name).img"', CONTEXT)
    assert (
        found.machine.emulations
        == loads('[disk.a]\npath = "/x/mail.img"', CONTEXT).machine.emulations
    )


@pytest.mark.parametrize(
    ("text", "variables", "report"),
    [
        (
            "%(a)", 'a = "%(b)"\nb = "%(a)"',
            "web.toml:2: cmdline: uses a variable that stands for itself: a -> b -> a",
        ),
        (
            "%(a)", 'a = "%(a)"',
            "web.toml:2: cmdline: uses a variable that stands for itself: a -> a",
        ),
        (
            "%(hom)", "",
            "web.toml:2: cmdline: uses an unknown variable: %(hom)\n  hint: did you mean %(home)?",
        ),
        (
            "%(zzz)", "",
            "web.toml:2: cmdline: uses an unknown variable: %(zzz)\n"
            "  hint: variables are set in [vars]",
        ),
        (
            "50%", "",
            "web.toml:2: cmdline: has a lone %\n  hint: write %% for a percent sign",
        ),
        (
            "%(name", "",
            "web.toml:2: cmdline: has a lone %\n  hint: write %% for a percent sign",
        ),
        ("x", "a = 1", "web.toml:4: vars.a: must be a text"),
    ],
)  # fmt: skip
def test_a_wrong_variable_is_refused(text: str, variables: str, report: str) -> None:
    assert refusal(text, variables) == report


def test_a_text_that_would_grow_without_bound_is_refused() -> None:
    doubling = "\n".join(f'v{n} = "%(v{n + 1})%(v{n + 1})"' for n in range(60))
    found = refusal("%(v0)", f'{doubling}\nv60 = "{"x" * 1000}"')
    assert found.startswith("web.toml:2: cmdline: grows too long when its variables are replaced")


def test_a_long_chain_of_variables_is_read_or_refused() -> None:
    chain = "\n".join(f'v{n} = "%(v{n + 1})"' for n in range(2000))
    found = refusal("%(v0)", f'{chain}\nv2000 = "x"')
    assert found
