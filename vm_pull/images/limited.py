"""A program under limits: run as a script, it takes them on and becomes the program.

`python limited.py CPU=60,FSIZE=4096 /bin/program word...`: the names are those of setrlimit(2).
It is a program of its own because Python may not set limits between fork and exec when there are
threads, and because prlimit(1) is not everywhere.
"""

import os
import resource
import sys

__all__ = ["limit"]


def limit(words: str) -> None:
    """Takes on limits, written `CPU=60,FSIZE=4096`; none is ever raised."""
    for word in words.split(","):
        name, _, most = word.partition("=")
        which: int = getattr(resource, f"RLIMIT_{name}")
        hard = resource.getrlimit(which)[1]
        # a second more on a processor, so that SIGXCPU comes first and tells why it ended
        values = [int(most), int(most) + (name == "CPU")]
        if hard != resource.RLIM_INFINITY:
            values = [min(value, hard) for value in values]
        resource.setrlimit(which, (values[0], values[1]))


if __name__ == "__main__":
    limit(sys.argv[1])
    os.execv(sys.argv[2], sys.argv[2:])  # noqa: S606 - the caller's words
