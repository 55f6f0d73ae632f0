"""The user's half: one description -> one process.

`run` supervises a description, `qemu.argv` and `bhyve.argv` are the pure functions behind a dry
run. Names are loaded when they are first used: `import vm_run` alone loads nothing.
"""

from vm_spec.frozen import TYPE_CHECKING

if TYPE_CHECKING:
    from vm_run import bhyve, qemu
    from vm_run.options import Options
    from vm_run.pci_slots import place
    from vm_run.reboot import Ending
    from vm_run.session import run

__all__ = ["Ending", "Options", "bhyve", "place", "qemu", "run"]

_HOME = {"Ending": "reboot", "Options": "options", "run": "session", "place": "pci_slots"}


def __getattr__(name: str) -> object:
    """A name of the library, loaded now."""
    if name not in __all__:
        msg = f"module {__name__} has no attribute {name}"
        raise AttributeError(msg)
    from importlib import import_module

    module = import_module(f"vm_run.{_HOME.get(name, name)}")
    return getattr(module, name) if name in _HOME else module


def __dir__() -> list[str]:
    """The names of the library, loaded or not."""
    return __all__
