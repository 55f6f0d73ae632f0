"""What the tests of TPMs are written with: commands of TPM 2.0 in their bytes."""

from __future__ import annotations

from vm_state.process import started_at

VALUE = b"it is me"
_INDEX = 0x01500001  # of non-volatile memory, the owner's
_OWNER = 0x40000001
_PASSWORD = bytes.fromhex("00000009 40000009 0000 00 0000")  # an empty one, for the session


def runs(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    return started_at(pid) != 0


def _number(value: int, size: int = 4) -> bytes:
    return value.to_bytes(size, "big")


def _command(code: int, handles: tuple[int, ...], rest: bytes, *, session: bool) -> bytes:
    """TPM 2.0 library specification, part 1, 18.

    A session's command has another tag, and the session between handles and parameters.
    """
    body = b"".join(map(_number, handles)) + (_PASSWORD if session else b"") + rest
    tag = b"\x80\x02" if session else b"\x80\x01"
    return tag + _number(10 + len(body)) + _number(code) + body


RANDOM = _command(0x17B, (), _number(8, 2), session=False)
STARTUP = _command(0x144, (), _number(0, 2), session=False)
_ONE = _number(1) + _number(0x0B, 2)  # one bank: SHA-256
READ_PCR = _command(0x17E, (), _ONE + b"\x03\x00\x00\x01", session=False)  # number 16
EXTEND_PCR = _command(0x182, (16,), _ONE + VALUE * 4, session=True)
_PUBLIC = _number(_INDEX) + _number(0x0B, 2) + _number(0x02060006) + b"\0\0" + _number(8, 2)
DEFINE = _command(0x12A, (_OWNER,), b"\0\0" + _number(len(_PUBLIC), 2) + _PUBLIC, session=True)
WRITE = _command(
    0x137, (_OWNER, _INDEX), _number(len(VALUE), 2) + VALUE + _number(0, 2), session=True
)
READ = _command(0x14E, (_OWNER, _INDEX), _number(8, 2) + _number(0, 2), session=True)


def result(answer: bytes) -> int:
    """What a TPM's answer says of its command: 0 is success."""
    assert len(answer) == int.from_bytes(answer[2:6], "big")
    return int.from_bytes(answer[6:10], "big")
