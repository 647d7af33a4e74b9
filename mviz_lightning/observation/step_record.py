"""What one call of the user's step showed."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from mviz_lightning.batch import BatchSchema, tree
from mviz_lightning.engine.dependency_tags import Tags, union
from mviz_lightning.errors import describe_error
from mviz_lightning.observation.events import Event
from mviz_lightning.observation.provenance import Node, ancestors


@dataclass
class StepRecord:
    """What one call of the step showed.

    Attributes:
        schema: Where the modalities are in the batch.
        count: Number of examples in the batch.
        leaves: Keys of the batch's tensors -> their tags.
        shapes: Keys of the batch's tensors -> their shapes.
        events: Where the step used scores, in order.
        called: Names of the submodules that the step called.
        fused: Nodes of rows that depend on all modalities, on weights and on no other leaf, in order. They may be
            scores.
        by_token: What modules returned for each token from all modalities, in order: hidden states and logits.
        used: Products of two towers whose scores the step used further.
        ended: Whether the step came to its end.
        rewritten: Whether the step wrote into weights, as one that adapts or averages them does.
        failure: Why recording ended early; ``""`` if it did not.
    """

    schema: BatchSchema
    count: int
    leaves: dict[tree.Keys, Tags] = field(default_factory=dict)
    shapes: dict[tree.Keys, tuple[int, ...]] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    called: set[str] = field(default_factory=set)
    fused: list[Node] = field(default_factory=list)
    by_token: list[Node] = field(default_factory=list)
    used: set[Node] = field(default_factory=set)
    ended: bool = False
    rewritten: bool = False
    failure: str = ""

    def fail(self, error: Exception) -> None:
        """End the recording: the record of half a step may mislead."""
        self.events.clear()
        self.failure = describe_error(error)

    def note_leaf(self, keys: tree.Keys, shape: tuple[int, ...]) -> Tags:
        """Note a tensor of the batch and its shape; return its tag."""
        self.shapes[keys] = shape
        return self.leaves.setdefault(keys, 1 << len(self.leaves))

    def note_weights(self, *, rewritten: bool) -> None:
        """Note whether the step wrote into weights."""
        self.rewritten = rewritten

    def note_call(self, name: str | None) -> None:
        """Note that the step called a submodule; None for a module that is not part of the model."""
        if name is not None:
            self.called.add(name)

    def note_rows(self, node: Node) -> None:
        """Note a tensor that the step itself made, or got from a module, if it may be scores."""
        if self.is_fused(node):
            self.fused.append(node)

    def note_tokens(self, node: Node) -> None:
        """Note a tensor that a module returned, if it may be logits of each token of a text with placeholders."""
        found = self.schema.interleaving
        rows = None if found is None else self.shapes.get(self.schema.keys[found.ids])
        by_token = len(node.shape) == 3 and node.shape[:2] == rows and node.learned
        if by_token and all(node.tags & tags for tags in self.modalities.values()):
            self.by_token.append(node)

    def note_used(self, product: Node) -> None:
        """Note that the step used the scores of a product of two towers further."""
        self.used.add(product)

    def note_end(self) -> None:
        """Note that the step came to its end."""
        self.ended = True

    def tags_of(self, paths: Iterable[str]) -> Tags:
        """Return the tags of some leaves."""
        known = [path for path in paths if path in self.schema.owners]
        return union(tags for keys, tags in self.leaves.items() if any(self.schema.holds(path, keys) for path in known))

    def code(self, keys: tree.Keys) -> str:
        """Return Python code for a leaf of the batch: ``batch["image"]``."""
        return self.schema.code(keys)

    @property
    def modalities(self) -> dict[str, Tags]:
        """Modality -> the tags of its leaves."""
        return {name: self.tags_of(paths) for name, paths in self.schema.values.items()}

    def is_fused(self, node: Node) -> bool:
        """Return whether a tensor has one row per example and depends on all modalities, weights, and no other leaf."""
        rows = len(node.shape) in (1, 2) and node.shape[0] == self.count and node.learned
        return rows and not node.tags & self.others and all(node.tags & tags for tags in self.modalities.values())

    @property
    def last(self) -> list[Node]:
        """The nodes in ``fused`` from which no other node in ``fused`` was made, the latest first."""
        found: list[Node] = []
        before: set[int] = set()
        for node in reversed(self.fused):
            if id(node) not in before:
                found.append(node)
            before.update(map(id, ancestors(node)))
        return found

    @property
    def others(self) -> Tags:
        """The tags of the leaves of no modality."""
        return self.tags_of(self.schema.unowned)


@dataclass(frozen=True)
class Wanted:
    """An event of an earlier call of the step that a replay waits for.

    Attributes:
        kind: Kind of the event.
        name: Its name.
        ordinal: Its number among the events of this kind and name.
        scores: Number of links from its argument back to the scores.
        target: Number of links from its target back to the one that holds it.
    """

    kind: str
    name: str
    ordinal: int
    scores: int = 0
    target: int = 0


@dataclass
class WantedEvents:
    """The events that a replay waits for, and the tensors that they got.

    Attributes:
        wanted: The events; none if the step runs to its end.
        caught: Event -> its scores and its target.
    """

    wanted: Sequence[Wanted] = ()
    caught: dict[Wanted, tuple[Tensor, Tensor | None]] = field(default_factory=dict)

    def catch(self, event: Event, scores: Sequence[Tensor], targets: Sequence[Tensor]) -> bool:
        """Store the tensors of an event if it is wanted; return whether it was the last that was wanted.

        Args:
            event: The event.
            scores: The tensors on the way from its argument back to the scores.
            targets: The tensors on the way back from its target.
        """
        place = event.kind, event.name, event.ordinal
        found = [one for one in self.wanted if (one.kind, one.name, one.ordinal) == place]
        for one in found:
            target = targets[one.target] if one.target < len(targets) else None
            self.caught[one] = scores[one.scores], target
        last = bool(found) and len(self.caught) == len(set(self.wanted))
        if found and not last:  # the step goes on, and may change these tensors in place
            self.caught |= {one: (self.caught[one][0].clone(), self.caught[one][1]) for one in found}
        return last
