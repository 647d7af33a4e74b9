"""The oldest versions that pyproject.toml declares, one a line, as constraints for pip: ``tests/run_with.sh``."""

import re
from pathlib import Path

PROJECT = Path(__file__).parents[1] / "pyproject.toml"
USERS = re.compile(r"^(?:dependencies|superpixels) = \[(.*?)\]", re.MULTILINE | re.DOTALL)
"""What users install; the tools of the tests are the newest."""

FLOOR = re.compile(r'"([\w-]+)>=([\d.]+)"')


def floors() -> dict[str, str]:
    """Return the oldest declared version of each dependency. (Python 3.10 reads no TOML by itself.)"""
    return dict(FLOOR.findall("".join(USERS.findall(PROJECT.read_text("utf-8")))))


if __name__ == "__main__":
    print("\n".join(f"{name}=={version}" for name, version in floors().items()))  # noqa: T201
