"""The language: what a virtual machine is.

`load` reads a file, `loads` a text, `select` takes one target of a description. Names are loaded
when they are first used: `import vm_spec` alone loads nothing.
"""

from vm_spec.frozen import TYPE_CHECKING

if TYPE_CHECKING:
    from vm_spec.decode import loads
    from vm_spec.fault import Fault, VmError
    from vm_spec.library import load
    from vm_spec.machine import Description, Machine
    from vm_spec.syntax import Context
    from vm_spec.targets import select

__all__ = ["Context", "Description", "Fault", "Machine", "VmError", "load", "loads", "select"]

_HOME = {
    "Context": "syntax",
    "Description": "machine",
    "Fault": "fault",
    "Machine": "machine",
    "VmError": "fault",
    "load": "library",
    "loads": "decode",
    "select": "targets",
}


def __getattr__(name: str) -> object:
    """A name of the library, loaded now."""
    if name not in _HOME:
        msg = f"module {__name__} has no attribute {name}"
        raise AttributeError(msg)
    from importlib import import_module

    return getattr(import_module(f"vm_spec.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    """The names of the library, loaded or not."""
    return __all__
