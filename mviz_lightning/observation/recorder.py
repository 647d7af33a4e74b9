"""Watch one call of the user's step: record where tensors come from and where the scores are used."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.module import (
    _global_forward_hooks_with_kwargs,
    register_module_forward_hook,
    register_module_forward_pre_hook,
)
from torch.nn.parameter import is_lazy
from torch.overrides import TorchFunctionMode
from torchmetrics import Metric

from mviz_lightning.batch import BatchSchema, tree
from mviz_lightning.engine.muted_step import StopStep
from mviz_lightning.observation.events import LOSSES, SELECTIONS, SMOOTHING, VIEWS, ChainWalk, Event, Given, passed
from mviz_lightning.observation.gathered_rows import GatheredRows, noticed
from mviz_lightning.observation.meetings import has_weights, meeting_of
from mviz_lightning.observation.pairs import are_towers, compared_embeddings, cosines, embeddings_given, noted_product
from mviz_lightning.observation.position_links import with_positions
from mviz_lightning.observation.provenance import (
    ESCAPES,
    SHAPED,
    BatchParts,
    Call,
    Computed,
    Held,
    Leaf,
    Node,
    Provenance,
    nodes_in,
    reached_by,
)
from mviz_lightning.observation.shadows import metrics_of, shadowed, weight_versions
from mviz_lightning.observation.step_record import StepRecord, Wanted, WantedEvents
from mviz_lightning.observation.views import views_of

T = TypeVar("T")

KEPT_ALIVE = passed("anything") | SMOOTHING
"""Operations whose operand is kept in memory as long as their result."""


class StepRecorder(TorchFunctionMode):
    """Records one call of the step while it is the current mode.

    An error in the recording ends only the recording: the step runs on as it would without it.

    Args:
        module: The user's model.
        batch: The batch that the step is given.
        schema: Where the modalities are in the batch.
        wanted: The step is stopped after the last of these events; without any, it runs to its end.

    Attributes:
        record: What was recorded.
        events: The wanted events, with scores and target of those that occurred.
    """

    def __init__(self, module: nn.Module, batch: Any, schema: BatchSchema, wanted: Sequence[Wanted] = ()) -> None:
        super().__init__()
        self.record = StepRecord(schema, schema.size(schema.leaves(batch)))
        self.events = WantedEvents(wanted)
        self._module, self._parts = module, BatchParts(batch)
        self._provenance, self._seen = Provenance(), Counter[tuple[str, str]]()
        self._gathered = GatheredRows(self._provenance)
        self._open: list[Call] = []
        self._calls = Counter[tuple[int, bool]]()
        self._escapes, self._paused, self._failed = 0, False, False
        self._names = {id(child): name for name, child in module.named_modules()}
        self._know(module, batch)

    def _know(self, module: nn.Module, batch: Any) -> None:
        """Note the origin of the tensors that exist before the step."""
        for owner, child in module.named_modules():
            held = {**vars(child), **child._parameters, **child._buffers}
            for attribute, value in held.items():
                if isinstance(value, Tensor) and not is_lazy(value):
                    learned = isinstance(value, nn.Parameter)
                    node = Held(0, learned, tuple(value.shape), owner=owner, attribute=attribute)
                    self._provenance.put(value, node)
        for keys, value in tree.nodes(batch):
            if isinstance(value, Tensor):
                tags = self.record.note_leaf(keys, tuple(value.shape))
                self._provenance.put(value, Leaf(tags, shape=tuple(value.shape), keys=keys))

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Record what runs in the block; nothing stays on any module after it."""
        with ExitStack() as stack:
            self._recorded(self._enter, stack)
            yield
            self._recorded(self.record.note_end)

    def _enter(self, stack: ExitStack) -> None:
        stack.callback(register_module_forward_pre_hook(self._enter_call).remove)
        leave = register_module_forward_hook(self._leave_call, with_kwargs=True, always_call=True)
        stack.callback(leave.remove)
        # Removing the hook leaves this entry behind, and torch.compile would warn about it from then on.
        stack.callback(_global_forward_hooks_with_kwargs.pop, leave.id, None)
        stack.enter_context(shadowed(self._module, "forward", self._direct_forward))
        stack.enter_context(noticed(partial(self._recorded, self._saw_gathered)))
        for metric in metrics_of(self._module):
            stack.enter_context(shadowed(metric, "update", partial(self._updated, metric)))
        stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(self)
        stack.callback(self._recorded, self._note_weights, weight_versions(self._module))

    def _note_weights(self, before: list[tuple[int, int]]) -> None:
        self.record.note_weights(rewritten=weight_versions(self._module) != before)

    def _recorded(self, record: Callable[..., T], *given: Any) -> T | None:
        """Call a recording function, unless recording is paused or has failed; a failure is stored, never raised."""
        if self._paused or self._failed:
            return None
        self._paused = True  # operations of the recording do not belong to the step
        try:
            return record(*given)
        except Exception as error:
            self._failed = True
            with suppress(Exception):
                self.record.fail(error)
            return None
        finally:
            self._paused = False

    # -- Operations ----------------------------------------------------------------------------------------------------

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and record where its results come from."""
        kwargs = kwargs or {}
        changed = self._recorded(self._before, func, args, kwargs)
        outputs = func(*args, **kwargs)
        self._recorded(self._after, func, args, kwargs, changed, outputs)
        return outputs

    def _before(self, func: Any, args: Any, kwargs: Any) -> tuple[Any, Any] | None:
        """Record an event; return the template of the arguments that the operation is about to change."""
        if func in LOSSES:
            self._saw("loss", func.__name__, Given.to_loss(func, args, kwargs))
        self._compared(compared_embeddings(func, args))
        name = str(getattr(func, "__name__", ""))
        changes = (name.endswith("_") and not name.startswith("__")) or name == "__setitem__" or "out" in kwargs
        return self._template(args, kwargs) if changes else None

    def _compared(self, embeddings: tuple[Tensor, Tensor] | None) -> None:
        """Record the scores of all pairs of embeddings, where the step compares only the matching ones."""
        if embeddings is not None and are_towers(list(map(self._provenance.of, embeddings)), self.record):
            with torch.no_grad():
                found = cosines(*embeddings)
            self._made(cosines, cosines.__name__, embeddings, self._template(embeddings, {}), found, changes=False)

    def _saw_gathered(self, outputs: Any, tensor: Tensor) -> None:
        for pair in self._gathered.pairs(outputs, tensor):
            self._compared(pair)

    def _after(self, func: Any, args: Any, kwargs: Any, changed: tuple[Any, Any] | None, outputs: Any) -> None:
        name = str(getattr(func, "__name__", ""))
        if changed is not None or _holds_tensor(outputs):
            template = changed or self._template(args, kwargs)
            self._made(func, name, args, template, outputs, changes=changed is not None)
        elif name in ESCAPES:
            self._escapes += bool(reached_by([self._provenance.of(one) for one in args if isinstance(one, Tensor)])[0])

    def _template(self, args: Any, kwargs: Any) -> tuple[Any, Any]:
        return self._provenance.template((tuple(args), dict(kwargs)), self._parts)  # type: ignore[no-any-return]

    def _made(self, func: Any, name: str, args: Any, template: Any, outputs: Any, *, changes: bool) -> None:
        given = [value for value in args if isinstance(value, Tensor)]
        outputs = args[0] if name == "__setitem__" else outputs
        within = self._open[-1] if self._open else None
        operands = list(nodes_in(template))
        tags, learned = (0, False) if name in SHAPED else reached_by(operands)
        for keys, tensor in tree.nodes(outputs):
            if not isinstance(tensor, Tensor) or (not changes and any(tensor is one for one in given)):
                continue
            node = Computed(tags, learned, tuple(tensor.shape), [], func, template, keys, within, self._escapes)
            self._provenance.put(tensor, node)
            if name in KEPT_ALIVE and given and not changes:
                self._provenance.keep(tensor, given[0])
            self._met(node, operands, args)
            self._paired(node, tensor, args)
            if tensor.is_floating_point() and not self._open:
                self.record.note_rows(node)

    def _paired(self, node: Computed, tensor: Tensor, args: Any) -> None:
        """Record scores of all pairs, and the embeddings of which they are the product."""
        product = noted_product(node, self.record)
        for rows in embeddings_given(product, node, args, self._provenance):
            self._saw("tower", node.name, Given(rows))
        if product is not None:
            self._saw("pair", node.name, Given(tensor))

    # -- Modules -------------------------------------------------------------------------------------------------------

    def _enter_call(self, module: nn.Module, args: Any) -> None:
        self._recorded(self._begin, module, args, {})

    def _begin(self, module: nn.Module, args: Any, kwargs: Any, direct: bool = False) -> Call:  # noqa: FBT001, FBT002
        within = self._open[-1] if self._open else None
        name = self._names.get(id(module))
        place, self._calls[id(module), direct] = self._calls[id(module), direct], self._calls[id(module), direct] + 1
        call = Call(module, name, self._template(args, kwargs), within, self._escapes, direct, place)
        self.record.note_call(name)
        self._open.append(call)
        return call

    def _leave_call(self, module: nn.Module, args: Any, *rest: Any) -> None:
        # For a forward that raised, PyTorch passes no named arguments.
        *named, outputs = rest
        self._recorded(self._end, module, named[0] if named else {}, outputs)

    def _end(self, module: nn.Module, kwargs: Any, outputs: Any) -> None:
        if self._open and self._open[-1].module is module:
            call = self._open.pop()
            call.give_named(self._template((), kwargs)[1])
            self._returned(call, outputs)

    def _returned(self, call: Call, outputs: Any) -> None:
        tags, _ = reached_by(list(nodes_in(call.arguments)))
        for keys, tensor in tree.nodes(outputs):
            if isinstance(tensor, Tensor):
                if not self._provenance.known(tensor):  # from a scripted module, whose operations no mode intercepts
                    self._provenance.put(tensor, Node(tags, has_weights(call.module), tuple(tensor.shape)))
                node = self._provenance.of(tensor)
                learned = isinstance(node, Computed) and has_weights(call.module)
                node.returned_by(call, keys, learned=learned)
                self.record.note_tokens(node)
                if tensor.is_floating_point() and not self._open:
                    self.record.note_rows(node)

    def _direct_forward(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        """Return the model's ``forward``, recorded if the step calls it directly and not the model."""

        def recorded(*args: Any, **kwargs: Any) -> Any:
            if self._open and self._open[-1].module is self._module:
                return forward(*args, **kwargs)
            call = self._recorded(self._begin, self._module, args, kwargs, True)
            try:
                outputs = forward(*args, **kwargs)
                self._recorded(self._returned, call, outputs)
            finally:
                self._recorded(self._open.remove, call)
            return outputs

        return recorded

    # -- Events --------------------------------------------------------------------------------------------------------

    def _updated(self, metric: Metric, update: Callable[..., Any]) -> Callable[..., Any]:
        """Return a metric's ``update`` that records what it is given."""

        def recorded(*args: Any, **kwargs: Any) -> Any:
            self._recorded(self._saw_update, metric, args, kwargs)
            before, self._paused = self._paused, True
            try:
                return update(*args, **kwargs)
            finally:
                self._paused = before

        return recorded

    def _saw_update(self, metric: Metric, args: Any, kwargs: Any) -> None:
        self._saw("metric", type(metric).__name__, Given.to_metric(metric, args, kwargs))

    def _met(self, node: Computed, operands: list[Node], args: Any) -> None:
        """Record a first meeting of scores and labels."""
        found = meeting_of(node, operands, self.record, self._open)
        if found is not None:
            tensors = [value for _, value in tree.nodes(args) if isinstance(value, Tensor)]
            scores, target = ([one for one in tensors if self._provenance.of(one) is wanted] for wanted in found)
            if scores and target:
                self._saw("meeting", node.name, Given(scores[0], target[0], "anything"))

    def _saw(self, kind: Any, name: str, given: Given) -> None:
        scores, target = given.scores, given.target
        if not isinstance(scores, Tensor) or self._gathered.reach(scores):
            return
        self._seen[kind, name] += 1
        views, within = views_of(scores, target, self.record.count), self._open[-1] if self._open else None
        walk = ChainWalk(self._provenance, self._open, self.record.count, views)
        links, tensors = walk.links(scores, passed(given.takes)), walk.tensors
        targets = walk.links(target, VIEWS | SELECTIONS) if isinstance(target, Tensor) else ()
        of_event = kind, name, self._seen[kind, name], links, targets, given.takes, given.metric, within, views
        event = Event(*of_event, ignored=given.ignored)
        self.record.events.append(with_positions(event, tensors, walk.tensors if targets else [], self.record))
        if self.events.catch(event, tensors, walk.tensors if targets else []):
            raise StopStep


def _holds_tensor(outputs: Any) -> bool:
    return isinstance(outputs, Tensor) or (
        isinstance(outputs, tuple | list) and any(isinstance(one, Tensor) for one in outputs)
    )
