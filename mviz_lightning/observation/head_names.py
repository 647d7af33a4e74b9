"""Names of heads: the key or the attribute under which the model returned the scores, else the submodule's name."""

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from mviz_lightning.engine.named_outputs import distinct_keys, name_of_keys
from mviz_lightning.errors import ConfigurationError
from mviz_lightning.observation.heads import ObservedHead, single_line
from mviz_lightning.observation.provenance import Node


@dataclass(frozen=True)
class HeadChoice:
    """The heads that the user chose by ``heads=``.

    Attributes:
        names: Their names; None for all.
        reserved: First parts of logged keys; no head may have one of these names.
    """

    names: Sequence[str] | None = None
    reserved: Container[str] = ()

    def takes(self, name: str) -> bool:
        """Return whether a head is monitored."""
        return self.names is None or name in self.names

    def require(self, known: Iterable[str]) -> None:
        """Check the names that the user chose.

        Raises:
            ConfigurationError: There is no such head.
        """
        there = list(known)
        unknown = [name for name in self.names or () if name not in there]
        if unknown:
            raise ConfigurationError(
                f"heads={list(self.names or ())}: there is no head {unknown[0]!r}; the heads that your step compares "
                f"with labels are {there}. Choose among them: heads={there[:2]}, or leave heads= out to monitor all."
            )

    def named(self, heads: Sequence[ObservedHead]) -> dict[str, ObservedHead]:
        """Return all heads by name.

        Raises:
            ConfigurationError: There is no head of a name that the user chose.
        """
        found = dict(zip(head_names(heads, self.reserved), heads, strict=True))
        if found:
            self.require(found)
        return found

    def main(self, heads: Mapping[str, ObservedHead], best: Sequence[ObservedHead]) -> str | None:
        """Return the name of the main head: the likeliest if it is chosen, else the first that is chosen.

        Args:
            heads: All heads by name.
            best: The likeliest; several if nothing distinguishes them.
        """
        likeliest = [name for name, head in heads.items() if any(head is one for one in best)]
        if self.names is None:
            return likeliest[0] if len(likeliest) == 1 else None
        return next((name for name in self.names if name in likeliest), self.names[0])


ANY_HEAD = HeadChoice()
"""No choice: all heads are monitored."""


def head_names(heads: Sequence[ObservedHead], reserved: Container[str] = ()) -> list[str]:
    """Return the name of each head; no two are equal.

    Args:
        heads: The heads, in the order of the step.
        reserved: First parts of logged keys; no head may have one of these names.
    """
    return distinct_keys([_name(head) for head in heads], reserved)


def _name(head: ObservedHead) -> str:
    if head.pair is not None:
        return "_".join(head.pair.modalities)
    return next(filter(None, _told(head.root)), f"head{head.position}")


def _told(root: Node) -> Iterator[str]:
    """Yield names of the scores, then of tensors from which alone they were made; the outermost call's comes first."""
    for node in (root, *single_line(root)):
        for call, keys in reversed(node.results):
            yield name_of_keys(keys) if keys else _last_word(call.name or "")


def _last_word(module: str) -> str:
    """Return the last part of a submodule's name; ``""`` if that is a number."""
    last = module.rpartition(".")[2]
    return "" if last.isdigit() else last
