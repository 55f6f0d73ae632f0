"""The language: what a virtual machine is.

`load` reads a file, `loads` a text, `select` takes one target of a description.
"""

from vm_spec.decode import Context, loads
from vm_spec.fault import Fault, VmError
from vm_spec.library import load
from vm_spec.machine import Description, Machine
from vm_spec.targets import select

__all__ = ["Context", "Description", "Fault", "Machine", "VmError", "load", "loads", "select"]
