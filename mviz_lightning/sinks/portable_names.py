"""Logged keys and file names that every logger and every file system accepts."""

import re
import zlib

UNSAFE_CHARACTERS = re.compile(r"[^\w .,+=()@~-]")
"""Characters that some file systems do not allow in a name."""

RESERVED = re.compile(r"\A(con|prn|aux|nul|(?:com|lpt)[0-9¹²³])(?=[ .]|\Z)", re.IGNORECASE)
"""Names of devices: Windows opens the device for ``con``, and also for ``con.png``."""

MAX_NAME_LENGTH = 50
"""Largest number of characters of a file name: up to 200 bytes (4 per character) of the 255 that file systems allow.

The rest is for the checksum, the step, the ending, and the ending of an unfinished file.
"""


def portable_key(key: str) -> str:
    """Return a key in ASCII: other characters become their codes, for example ``ö`` becomes ``-xf6``.

    Lightning deletes such letters for MLflow: then several keys become one, or a key ends with a slash, which MLflow
    refuses. Lightning's CSV file has the encoding of the machine. Either would end the training.

    Example:
        >>> portable_key("mviz/total/größe"), portable_key("mviz/total/image")
        ('mviz/total/gr-xf6-xdfe', 'mviz/total/image')
    """
    return key.encode("ascii", "backslashreplace").decode().replace("\\", "-") if not key.isascii() else key


def portable_name(given: str) -> str:
    """Return a name that every file system allows for a file or a folder, before its ending.

    Example:
        >>> portable_name("a/b?"), portable_name(".."), portable_name("NUL.txt")
        ('a_b_', '_', 'NUL_.txt')
    """
    name = RESERVED.sub(r"\1_", UNSAFE_CHARACTERS.sub("_", given).strip(" .") or "_")
    return name if len(name) <= MAX_NAME_LENGTH else told_apart(name[:MAX_NAME_LENGTH], given)


def told_apart(name: str, given: str) -> str:
    """Return a name with a checksum of the given name, so that different given names get different names."""
    return f"{name}-{zlib.crc32(given.encode('utf-8', 'backslashreplace')):08x}"
