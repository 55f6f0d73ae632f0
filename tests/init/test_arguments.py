"""The command line of vm-init."""

from __future__ import annotations

import pytest

from vm_init.__main__ import Arguments, parse_arguments
from vm_init.errors import InitError


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["web"], Arguments("give", "web", {})),
        (["web", "--dry-run"], Arguments("--dry-run", "web", {})),
        (["--release", "web"], Arguments("--release", "web", {})),
        (["--grants"], Arguments("--grants", "", {})),
        (["--self-check"], Arguments("--self-check", "", {})),
        (["-h"], Arguments("-h", "", {})),
        (["--version"], Arguments("--version", "", {})),
        (["--for-user", "a", "--job", "7", "--", "web"],
         Arguments("give", "web", {"--for-user": "a", "--job": "7"})),
        (["--release", "--job", "7"], Arguments("--release", "", {"--job": "7"})),
        (["--release", "--force", "--job", "7"],
         Arguments("--release", "", {"--force": "--force", "--job": "7"})),
        (["--release", "--for-user", "#1000", "web"],
         Arguments("--release", "web", {"--for-user": "#1000"})),
        (["--grants", "--for-user", "a"], Arguments("--grants", "", {"--for-user": "a"})),
    ],
)  # fmt: skip
def test_what_the_words_mean(words: list[str], meant: Arguments) -> None:
    assert parse_arguments(words) == meant


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["web", "mail"],
        ["--release"],
        ["--release", "--release", "web"],
        ["--grants", "web"],
        ["--dry-run", "--check", "web"],
        ["--for-user"],
        ["--for-user", "a", "--for-user", "b", "web"],
        ["-x"],
        ["--unknown", "web"],
        ["--job", "7", "--", "--release"],
        ["--for-user", "#0", "web"],
        ["--for-user", "#a", "web"],
        ["--force", "web"],
        ["--force", "--grants"],
        ["--dry-run", "--job", "7", "web"],
        ["--check", "--force", "web"],
        ["--dry-run", "--for-user", "a", "web"],
        ["--version", "web"],
        ["--grants", "--job", "7"],
        ["--self-check", "--for-user", "a"],
        ["--help", "--job", "7"],
        ["--release", "--for-user", "a", "--job", "7"],
        ["../x"],
        ["a\n"],
        ["a" * 65],
        ["a" * 100_000],
    ],
)
def test_threat_30_anything_else_is_a_usage_error(words: list[str]) -> None:
    with pytest.raises(InitError) as caught:
        parse_arguments(words)
    assert caught.value.status == 64
