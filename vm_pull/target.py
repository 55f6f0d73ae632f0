"""Where a pull's results go, and whether anything is in the way."""

from __future__ import annotations

import os

from vm_pull.catalogs.source import default_name
from vm_pull.room import EXISTS
from vm_spec.fault import Fault, VmError
from vm_spec.frozen import TYPE_CHECKING, Value
from vm_spec.names import SYNTAXES, confdir
from vm_spec.types import VmName
from vm_state.lock import is_locked, lock_path

if TYPE_CHECKING:
    from vm_pull.catalogs.source import Source
    from vm_pull.cli import Call

__all__ = ["Target", "target"]

BUSY = 75
_IMAGES = (".img", ".qcow2", "-0.img", "-0.qcow2")


class Target(Value):
    """Where the results go.

    Attributes:
        folder: the folder of descriptions; with --image-only, the current one.
        name: the machine's; with --image-only, the stem of the image.
        described: whether there will be a description.
        force: whether what is there is replaced.
    """

    folder: str
    name: str
    described: bool
    force: bool

    def check(self) -> None:
        """Passes when nothing is in the way: asked before the long part, and again at its end.

        Raises:
            VmError: something is (73), or a machine that would be replaced is running (75).
        """
        stem = f"{self.folder}/{self.name}"
        for ending in SYNTAXES if self.described else ():
            if os.path.lexists(stem + ending):
                self._check_description(stem + ending)
        for ending in _IMAGES:
            if os.path.lexists(stem + ending) and not self.force:
                raise _exists(stem + ending, "another name: --name NAME; to overwrite it: --force")

    def _check_description(self, file: str) -> None:
        if not self.force:
            raise _exists(file, "another name: --name NAME; to overwrite it: --force")
        if not file.endswith(".toml"):
            raise _exists(file, f"remove it, or take another name: --name {self.name}-2")
        if is_locked(lock_path(file)):
            problem = f"{self.name} is running, and --force would replace its disk"
            raise VmError(Fault(problem=problem, hint=f"vm-stop {self.name}"), status=BUSY)


def _exists(file: str, hint: str) -> VmError:
    return VmError(Fault(problem=f"{file} exists already", hint=hint), status=EXISTS)


def target(call: Call, source: Source) -> Target:
    """Where the results of a call go.

    Raises:
        VmError: no name can be made, or --name is none (64).
    """
    return Target(
        folder=os.getcwd() if call.image_only else os.path.abspath(confdir()),
        name=_name(call, source),
        described=not call.image_only,
        force=call.force,
    )


def _name(call: Call, source: Source) -> str:
    """With --image-only it is vmman's: USER-BOX."""
    if call.name:
        try:
            return VmName(call.name)
        except ValueError as error:
            hint = "such as --name web-2"
            raise VmError(Fault(problem=f"--name {error}", hint=hint), status=64) from None
    if call.image_only and source.asked:
        return source.asked.replace("/", "-")
    return default_name(source)
