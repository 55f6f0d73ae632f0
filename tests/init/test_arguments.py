"""The words that vm-init is called with."""

from __future__ import annotations

import pytest
from vm_init.arguments import Arguments, read

from vm_init.errors import InitError


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["web"], Arguments("give", "web")),
        (["web", "--dry-run"], Arguments("--dry-run", "web")),
        (["--release", "web"], Arguments("--release", "web")),
        (["--grants"], Arguments("--grants")),
        (["--self-check"], Arguments("--self-check")),
        (["--for-user", "a", "--job", "7", "--", "web"], Arguments("give", "web", "a", "7")),
        (["--release", "--job", "7"], Arguments("--release", "", "", "7")),
        (["--release", "--force", "--job", "7"], Arguments("--release", "", "", "7", "--force")),
        (["--release", "--for-user", "#1000", "web"], Arguments("--release", "web", "#1000")),
        (["--grants", "--for-user", "a"], Arguments("--grants", "", "a")),
    ],
)
def test_what_the_words_mean(words: list[str], meant: Arguments) -> None:
    assert read(words) == meant


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
        read(words)
    assert caught.value.status == 64
