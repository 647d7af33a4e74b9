"""Recipes: functions of a batch that compute a part of the recorded graph again, for other examples."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from torch import Tensor, nn

from mviz_lightning.batch import tree
from mviz_lightning.engine.isolation import isolated
from mviz_lightning.observation.provenance import BatchPart, Call, Computed, Held, Leaf, Node
from mviz_lightning.observation.step_record import StepRecord

MOST_OPERATIONS = 12
"""Largest number of operations outside modules that a recipe repeats; with more, the step itself is replayed."""

SIZED = {"view", "reshape", "expand", "repeat", "arange", "zeros", "ones", "full", "new_zeros", "new_ones", "new_full"}
"""Operations that may take the number of examples as an argument."""


class NotRepeatableError(Exception):
    """A part of the step cannot be repeated on other examples from what was recorded."""


@dataclass
class Evaluation:
    """One evaluation of a recipe; what is needed twice is computed once.

    Attributes:
        module: The user's model.
        batch: The batch.
        count: Number of examples in the batch.
    """

    module: nn.Module
    batch: Any
    count: int
    done: dict[int, Any] = field(default_factory=dict)


RecipeStep: TypeAlias = Callable[[Evaluation], Any]
"""One step of a recipe."""


@dataclass(frozen=True)
class Recipe:
    """Computes a recorded tensor for another batch.

    Attributes:
        step: Computes it.
        call: The outermost module call whose result it is; None if operations follow, or there is none.
        size: ``batch -> number of examples``.
    """

    step: RecipeStep
    call: Call | None
    size: Callable[[Any], int]

    def __call__(self, module: nn.Module, batch: Any) -> Tensor:
        """Return the tensor for the examples of a batch."""
        return self.step(Evaluation(module, batch, self.size(batch)))  # type: ignore[no-any-return]


@dataclass
class RecipeWriter:
    """Writes recipes for one record of the step.

    Attributes:
        record: What the step showed.
        numbers: Numbers that the user's modules hold, which a schedule may change: no recipe repeats them.
        learned: Whether recipes may use weights and modules; recipes of targets may not.
    """

    record: StepRecord
    numbers: frozenset[float] = frozenset()
    learned: bool = True
    _operations: int = 0

    def recipes(self, node: Node) -> Iterator[Recipe]:
        """Yield the recipes of a tensor, the outermost module call first."""
        for call, keys in reversed(node.results if self.learned else []):
            step = self._tried(lambda call=call, keys=keys: self._result(call, keys))  # type: ignore[misc]
            if step is not None:
                yield Recipe(step, call, self._size)
        step = self._tried(lambda: self._made(node))
        if step is not None:
            yield Recipe(step, None, self._size)

    def arguments(
        self, given: Mapping[str, Any], after: int, size: Callable[[Any], int]
    ) -> Callable[[nn.Module, Any], Mapping[str, Any]] | None:
        """Return a function that makes named arguments of a call for a batch; None where they cannot be repeated.

        Args:
            given: The arguments, with nodes in place of tensors.
            after: Number of values that had left PyTorch before the call.
            size: ``batch -> number of examples``.
        """
        step = self._tried(lambda: _Arguments(self, after)(dict(given)))
        if step is None:
            return None
        return lambda module, batch: step(Evaluation(module, batch, size(batch)))

    def _tried(self, write: Callable[[], RecipeStep]) -> RecipeStep | None:
        self._operations = 0
        try:
            return write()
        except (NotRepeatableError, RecursionError):
            return None

    def _size(self, batch: Any) -> int:
        return self.record.schema.size(self.record.schema.leaves(batch))

    def _node(self, node: Node) -> RecipeStep:
        """Return the step that computes a tensor: the outermost call that can be repeated, else its operation."""
        for call, keys in reversed(node.results if self.learned else []):
            try:
                return self._result(call, keys)
            except NotRepeatableError:
                continue
        return self._made(node)

    def _made(self, node: Node) -> RecipeStep:
        if isinstance(node, Leaf):
            keys = node.keys
            if self.record.schema.is_of_one_example(keys):
                raise NotRepeatableError(f"{self.record.code(keys)} belongs to one example alone")
            return lambda run: tree.get(run.batch, keys)
        if isinstance(node, Held) and self.learned:
            owner, attribute = node.owner, node.attribute
            return lambda run: getattr(run.module.get_submodule(owner), attribute)
        if isinstance(node, Computed):
            return self._operation(node)
        raise NotRepeatableError("a tensor of the step was made outside PyTorch or before the step")

    def _operation(self, node: Computed) -> RecipeStep:
        self._operations += 1
        if self._operations > MOST_OPERATIONS:
            raise NotRepeatableError(f"more than {MOST_OPERATIONS} operations are outside modules")
        write = _Arguments(self, node.after, sized=node.name in SIZED)
        function, keys, (positional, named) = node.function, node.keys, node.arguments
        usual = {name: value for name, value in named.items() if _is_default(function, name, value)}
        given = write((positional, {name: value for name, value in named.items() if name not in usual}))
        changes = node.name.endswith("_") and (not node.name.startswith("__") or node.name == "__setitem__")

        def operate(run: Evaluation) -> Any:
            args, kwargs = given(run)
            if not changes:
                return tree.get(function(*args, **kwargs, **usual), keys)
            target = args[0].clone()  # in place, it would change a tensor that others read
            function(target, *args[1:], **kwargs, **usual)
            return target

        return _Once(node, operate)

    def _result(self, call: Call, keys: tree.Keys) -> RecipeStep:
        """Return the step that calls a module and takes a tensor from what it returns."""
        given = _Arguments(self, call.after)(call.arguments)
        name, module, direct = call.name, call.module, call.direct

        def called(run: Evaluation) -> Any:
            target = module if name is None else run.module.get_submodule(name)
            args, kwargs = given(run)
            if name is not None:
                return target.forward(*args, **kwargs) if direct else target(*args, **kwargs)
            with isolated(target, seed=None):  # no other code isolates a module that the model does not hold
                return target(*args, **kwargs)

        results = _Once(call, called)
        return lambda run: tree.get(results(run), keys)


@dataclass(frozen=True)
class _Once:
    """A step that computes its value once per evaluation.

    Attributes:
        owner: The recorded operation or call that the step repeats.
        compute: The step.
    """

    owner: object
    compute: RecipeStep

    def __call__(self, run: Evaluation) -> Any:
        """Return the value."""
        key = id(self.owner)
        if key not in run.done:
            run.done[key] = self.compute(run)
        return run.done[key]


@dataclass(frozen=True)
class _Arguments:
    """Turns a template of arguments into a step.

    Attributes:
        writer: Writes the steps of tensors.
        after: Number of values that had left PyTorch before; if any, numbers may come from them.
        sized: Whether a number may be the number of examples.
    """

    writer: RecipeWriter
    after: int
    sized: bool = False

    def __call__(self, template: Any) -> RecipeStep:
        """Return a step that returns the arguments."""
        if isinstance(template, Node):
            return self._tensor(template)
        if isinstance(template, BatchPart):
            return lambda run: tree.get(run.batch, template.keys)
        children = tree.children(template)
        if children:
            steps = {(key,): self(child) for key, child in children}
            return lambda run: tree.replace(template, {keys: step(run) for keys, step in steps.items()})
        return self._constant(template)

    def _tensor(self, node: Node) -> RecipeStep:
        if self.after and isinstance(node, Computed) and not node.learned:
            raise NotRepeatableError(
                "values were converted from tensors before the call, and may be among its arguments"
            )
        return self.writer._node(node)

    def _constant(self, value: Any) -> RecipeStep:
        if isinstance(value, list | tuple) and value:
            if len(value) == self.writer.record.count > 1:
                raise NotRepeatableError("a list has one entry for each example")
            steps = [self._constant(one) for one in value]
            return lambda run: type(value)(step(run) for step in steps)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return self._number(value)
        return lambda _: value

    def _number(self, value: float) -> RecipeStep:
        if isinstance(value, float) and (value in self.writer.numbers or self.after):
            raise NotRepeatableError(f"the number {value:g} may change at the next validation")
        if self.sized and value == self.writer.record.count:
            return lambda run: run.count
        return lambda _: value


def _is_default(function: Callable[..., Any], name: str, value: Any) -> bool:
    """Return whether a number is the default of a function's parameter; then no schedule has set it."""
    if not isinstance(value, int | float):
        return False
    try:
        known = inspect.signature(function).parameters.get(name)
    except (TypeError, ValueError):  # a function written in C
        return False
    return known is not None and type(known.default) is type(value) and known.default == value


def numbers_of(module: nn.Module) -> frozenset[float]:
    """Return the floating-point numbers among the attributes of a model and its submodules."""
    held = (value for child in module.modules() for value in vars(child).values())
    return frozenset(value for value in held if isinstance(value, float))
