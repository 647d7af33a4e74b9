"""Using the model leaves no trace; and every trace that is looked for would otherwise be there."""

import random
import warnings
import weakref
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from helpers.batches import floats, seeded
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torchmetrics import MeanMetric
from torchmetrics.aggregation import CatMetric

from mviz_lightning.engine import isolated, reach
from mviz_lightning.engine.snapshots import restore_at_exit
from mviz_lightning.errors import ConfigurationError

LOGGED: list[str] = []


class Encoder(nn.Module):
    """A submodule with state of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.lin = nn.Linear(4, 4)
        self.norm = nn.BatchNorm1d(4)
        self.frozen = nn.BatchNorm1d(4)
        self.register_buffer("steps", torch.zeros(2))
        self.register_buffer("cache", None)
        self.calls = 0


class ProbeContext(LightningModule):
    """Holds one of everything that a forward might change."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder()
        self.head = nn.Linear(4, 2)
        self.register_buffer("ema", torch.ones(4))
        self.metric = MeanMetric()
        self.collected = CatMetric()
        self.counter = 0
        self.list: list[Any] = [1, 2]
        self.dict: dict[str, Any] = {"a": 1}
        self.ordered = OrderedDict(a=1, b=2)
        self.default: defaultdict[str, list[int]] = defaultdict(list)
        self.counts = Counter("ab")
        self.deque = deque([1, 2, 3], maxlen=3)
        self.set = {1}
        self.tensor = torch.arange(3.0)
        self.tensors = [torch.zeros(2)]
        self.cached: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        encoder = self.encoder
        return self.head(encoder.frozen(encoder.norm(encoder.lin(x))))

    def log(self, name: str, *_: Any, **__: Any) -> None:
        LOGGED.append(name)

    def log_dict(self, values: dict[str, Any], *_: Any, **__: Any) -> None:
        LOGGED.extend(values)


def probe_context() -> ProbeContext:
    """Build one in the middle of a training: gradients, mixed modes, a frozen layer, metrics under way."""
    module = seeded(ProbeContext)
    module.train()
    module.encoder.frozen.eval()
    module.head.bias.requires_grad_(False)
    module(torch.ones(3, 4) * torch.arange(3.0)[:, None]).square().sum().backward()
    module.metric.update(2.0)
    module.collected.update(torch.tensor([1.0, 2.0]))
    return module


def train_step(module: ProbeContext) -> None:
    module.train()
    module(torch.randn(5, 4))


def backward(module: ProbeContext) -> None:
    with torch.enable_grad():
        module(torch.randn(5, 4)).sum().backward()


def rebind_buffer(module: ProbeContext) -> None:
    module.ema = torch.zeros(4)


def rebind_none_buffer(module: ProbeContext) -> None:
    module.encoder.cache = torch.ones(3)


def register_buffer(module: ProbeContext) -> None:
    module.encoder.register_buffer("late", torch.ones(1))


def replace_submodule(module: ProbeContext) -> None:
    module.head = nn.Linear(4, 2)


def replace_parameter(module: ProbeContext) -> None:
    module.head.weight = nn.Parameter(torch.zeros(2, 4))


def unfreeze(module: ProbeContext) -> None:
    module.requires_grad_(requires_grad=True)


def grow_list(module: ProbeContext) -> None:
    module.list.append(3)


def rebind_list(module: ProbeContext) -> None:
    module.list = []


def new_attribute(module: ProbeContext) -> None:
    module.encoder.hidden = torch.ones(1)


def delete_attribute(module: ProbeContext) -> None:
    del module.counter


def count_calls(module: ProbeContext) -> None:
    module.counter += 1
    module.encoder.calls += 1


def add_hooks(module: ProbeContext) -> None:
    module.encoder.register_forward_hook(lambda *_: None)
    module.head.register_forward_pre_hook(lambda *_: None)
    module.register_full_backward_hook(lambda *_: None)


ACTIONS: dict[str, Callable[[ProbeContext], Any]] = {
    "python's random numbers": lambda _: random.seed(random.random()),
    "NumPy's random numbers": lambda _: np.random.seed(np.random.randint(99)),
    "torch's random numbers": lambda _: torch.manual_seed(int(torch.randint(99, ()))),
    "a draw in a forward": lambda _: torch.rand(3),
    "a training forward": train_step,
    "a backward pass": backward,
    "gradients set to zero": lambda module: module.zero_grad(set_to_none=False),
    "gradients thrown away": lambda module: module.zero_grad(),
    "training mode": lambda module: module.train(),
    "evaluation mode": lambda module: module.eval(),
    "one frozen layer thawed": lambda module: module.encoder.frozen.train(),
    "everything frozen": lambda module: module.requires_grad_(False),
    "everything unfrozen": unfreeze,
    "a buffer in place": lambda module: module.encoder.steps.add_(1),
    "a buffer rebound": rebind_buffer,
    "a buffer that was None": rebind_none_buffer,
    "a new buffer": register_buffer,
    "a submodule replaced": replace_submodule,
    "a parameter replaced": replace_parameter,
    "counters": count_calls,
    "a list": grow_list,
    "a list rebound": rebind_list,
    "a dict": lambda module: module.dict.update(b=2),
    "a dict emptied": lambda module: module.dict.clear(),
    "an ordered dict": lambda module: module.ordered.move_to_end("a"),
    "a defaultdict": lambda module: module.default["a"].append(1),
    "a Counter": lambda module: module.counts.update("a"),
    "a deque": lambda module: module.deque.append(4),
    "a set": lambda module: module.set.add(2),
    "a plain tensor": lambda module: module.tensor.add_(1),
    "a plain tensor rebound": lambda module: setattr(module, "tensor", torch.zeros(3)),
    "a cache": lambda module: setattr(module, "cached", torch.zeros(3)),
    "a new attribute": new_attribute,
    "an attribute deleted": delete_attribute,
    "a metric": lambda module: module.metric.update(5.0),
    "a metric computed": lambda module: module.metric.compute(),
    "a metric reset": lambda module: module.metric.reset(),
    "a metric with a list": lambda module: module.collected.update(torch.ones(2)),
    "a metric's forward": lambda module: module.metric(torch.tensor(3.0)),
    "hooks": add_hooks,
    "a logged value": lambda module: module.log("loss", 1.0),
    "logged values": lambda module: module.log_dict({"a": 1.0, "b": 2.0}),
    "attention's fast path": lambda _: torch.backends.mha.set_fastpath_enabled(False),
}

every_action = pytest.mark.parametrize("action", ACTIONS.values(), ids=ACTIONS.keys())


def frozen(value: Any) -> Any:
    """Return something comparable that a later change in place does not touch; identity where it matters."""
    if isinstance(value, Tensor):
        return id(value), value.detach().tolist(), value.requires_grad
    if isinstance(value, dict):
        return id(value), [(key, frozen(entry)) for key, entry in value.items()]
    if isinstance(value, list | tuple | set | deque):
        return id(value), [frozen(entry) for entry in value]
    return id(value) if not isinstance(value, int | float | str | bool | None) else value


def gradient(parameter: nn.Parameter) -> Any:
    return None if parameter.grad is None else (id(parameter.grad), parameter.grad.tolist())


def traces(module: ProbeContext) -> dict[str, Any]:
    """Return everything that an evaluation may leave changed, by name."""
    found: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": [part.tolist() if isinstance(part, np.ndarray) else part for part in np.random.get_state()],
        "torch": torch.get_rng_state().tolist(),
        "fast path": torch.backends.mha.get_fastpath_enabled(),
        "modes": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "logged": list(LOGGED),
        "log": [getattr(method, "__func__", method) for method in (module.log, module.log_dict)],
    }
    for name, child in module.named_modules():
        found |= {f"{name}.{key}": frozen(value) for key, value in vars(child).items()}
    found |= {f"{name}.grad": gradient(parameter) for name, parameter in module.named_parameters()}
    return found


def changes(before: dict[str, Any], after: dict[str, Any]) -> set[str]:
    return {key for key in before.keys() | after.keys() if before.get(key, "absent") != after.get(key, "absent")}


@pytest.fixture(autouse=True)
def surroundings() -> Iterator[None]:
    """Put back what the meta-tests change on purpose."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    LOGGED.clear()
    yield
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.set_rng_state(states[2])
    torch.backends.mha.set_fastpath_enabled(True)


@every_action
def test_an_action_leaves_no_trace(action: Callable[[ProbeContext], None]) -> None:
    module = probe_context()
    before = traces(module)
    with isolated(module):
        action(module)
    assert changes(before, traces(module)) == set()


@every_action
def test_an_action_that_fails_leaves_no_trace(action: Callable[[ProbeContext], None]) -> None:
    module = probe_context()
    before = traces(module)
    with pytest.raises(ZeroDivisionError), isolated(module):  # noqa: PT012 - fails after it has acted
        action(module)
        _ = 1 / 0
    assert changes(before, traces(module)) == set()


@every_action
def test_an_action_in_inference_mode_leaves_no_trace(action: Callable[[ProbeContext], None]) -> None:
    module = probe_context()
    with torch.inference_mode():
        before = traces(module)
        with isolated(module):
            action(module)
        assert changes(before, traces(module)) == set()
    backward(module)


@every_action
def test_without_isolation_an_action_leaves_a_trace(action: Callable[[ProbeContext], None]) -> None:
    module = probe_context()
    before = traces(module)
    action(module)
    assert changes(before, traces(module)) != set()


@contextmanager
def forgetful(module: nn.Module) -> Iterator[None]:
    """Isolate nothing but the weights' gradients."""
    gradients = {parameter: parameter.grad for parameter in module.parameters()}
    yield
    for parameter, kept in gradients.items():
        parameter.grad = kept


@pytest.mark.parametrize("action", [train_step, count_calls, add_hooks, grow_list])
def test_a_weaker_isolation_would_be_noticed(action: Callable[[ProbeContext], None]) -> None:
    module = probe_context()
    before = traces(module)
    with forgetful(module):
        action(module)
    assert changes(before, traces(module)) != set()


def test_a_gradient_is_the_same_object_with_the_same_content() -> None:
    module = probe_context()
    weight = module.head.weight
    held, content = weight.grad, weight.grad.clone()
    with isolated(module):
        assert weight.grad is None
        backward(module)
        assert weight.grad is not None
    assert weight.grad is held
    assert torch.equal(held, content)


def test_a_backward_pass_without_isolation_adds_to_the_same_object() -> None:
    module = probe_context()
    held, content = module.head.weight.grad, module.head.weight.grad.clone()
    backward(module)
    assert module.head.weight.grad is held
    assert not torch.equal(held, content)


def test_inside_there_is_evaluation_mode_without_gradients() -> None:
    module = probe_context()
    with isolated(module):
        assert not any(child.training for child in module.modules())
        assert not torch.is_grad_enabled()
        assert not torch.is_inference_mode_enabled()
        assert not torch.backends.mha.get_fastpath_enabled()


@pytest.mark.parametrize("context", [nullcontext, torch.no_grad, torch.inference_mode])
def test_gradients_can_be_asked_for_inside(context: Callable[[], Any]) -> None:
    module = probe_context()
    with context(), isolated(module), torch.enable_grad():
        x = torch.ones(3, 4, requires_grad=True)
        (found,) = torch.autograd.grad(module(x).sum(), x)
        assert found.shape == (3, 4)


def test_random_numbers_inside_follow_the_seed() -> None:
    module = probe_context()
    drawn = []
    for seed in (3, 3, 4):
        with isolated(module, seed=seed):
            drawn.append(torch.rand(4).tolist())
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.parametrize("draw", [random.random, np.random.random], ids=["python", "numpy"])
def test_random_numbers_of_other_libraries_inside_follow_the_seed_too(draw: Callable[[], float]) -> None:
    module = probe_context()
    drawn = []
    for seed in (3, 3, 4):
        draw()
        with isolated(module, seed=seed):
            drawn.append(draw())
    assert drawn[0] == drawn[1] != drawn[2]


def test_isolation_can_be_nested() -> None:
    module = probe_context()
    before = traces(module)
    with isolated(module):
        inside = traces(module)
        with isolated(module):
            train_step(module)
            module.log("a", 1)
        assert changes(inside, traces(module)) == set()
        count_calls(module)
    assert changes(before, traces(module)) == set()


class Manifold(nn.Module):
    """A module whose ``log`` is a logarithm."""

    def log(self, x: Tensor) -> Tensor:
        return x.log()

    def forward(self, x: Tensor) -> Tensor:
        return self.log(x)


@pytest.mark.parametrize("module", [Manifold(), nn.Sequential(Manifold())], ids=["root", "inner"])
def test_a_logarithm_is_no_logging(module: nn.Module) -> None:
    with isolated(module):
        assert torch.equal(module(torch.ones(2)), torch.zeros(2))


def holding(**buffers: Tensor) -> nn.Module:
    module = nn.Module()
    for name, buffer in buffers.items():
        module.register_buffer(name, buffer)
    return module


def test_a_buffer_that_is_an_expanded_view_is_kept() -> None:
    module = holding(positions=torch.arange(3.0).expand(4, 3))
    with isolated(module):
        pass
    assert torch.equal(module.positions, torch.arange(3.0).expand(4, 3))


def test_a_buffer_that_was_resized_in_place_is_put_back() -> None:
    # As the observers of quantization-aware training do in their first forward.
    module = holding(history=torch.arange(3.0))
    with isolated(module):
        module.history.resize_(5).fill_(7)
    assert torch.equal(module.history, torch.arange(3.0))


@pytest.mark.parametrize(
    "buffer",
    [
        torch.tensor(True),
        torch.empty(0),
        torch.arange(3),
        torch.tensor([1j, 2]),
        torch.ones(2, dtype=torch.bfloat16),
        torch.ones(3, 2).T,
    ],
    ids=["scalar", "empty", "integers", "complex", "bfloat16", "transposed"],
)
def test_buffers_of_every_kind_are_kept(buffer: Tensor) -> None:
    module, before = holding(buffer=buffer), buffer.clone()
    with isolated(module):
        module.buffer.zero_()
    assert module.buffer is buffer
    assert torch.equal(buffer, before)


def test_a_sparse_buffer_is_kept() -> None:
    module = holding(adjacency=torch.eye(3).to_sparse())
    with isolated(module):
        pass
    assert torch.equal(module.adjacency.to_dense(), torch.eye(3))


def test_a_graph_that_holds_a_buffer_can_still_be_differentiated() -> None:
    module = holding(scale=torch.ones(3))
    weight = torch.ones(3, requires_grad=True)
    loss = (weight * module.scale).sum()
    with isolated(module):
        pass
    loss.backward()
    assert torch.equal(weight.grad, torch.ones(3))


def test_a_graph_that_holds_a_plain_tensor_can_still_be_differentiated() -> None:
    module, weight = probe_context(), torch.ones(3, requires_grad=True)
    loss = (weight * module.tensor).sum()
    with isolated(module):
        pass
    loss.backward()


def test_buffers_that_two_modules_share_stay_shared() -> None:
    shared = torch.ones(2)
    module = nn.Sequential(holding(a=shared), holding(b=shared))
    with isolated(module):
        module[0].a.zero_()
    assert module[0].a is module[1].b is shared
    assert torch.equal(shared, torch.ones(2))


def test_buffers_of_a_model_that_was_built_in_inference_mode_are_put_back() -> None:
    with torch.inference_mode():
        module = holding(steps=torch.ones(2))
        with isolated(module):
            module.steps = module.steps + 1
        assert torch.equal(module.steps, torch.ones(2))


def test_an_array_on_a_module_is_put_back() -> None:
    module = nn.Module()
    module.history = np.zeros(3)
    with isolated(module):
        module.history += 1
    assert module.history.tolist() == [0, 0, 0]


def test_the_fast_path_is_put_back_as_it_was() -> None:
    torch.backends.mha.set_fastpath_enabled(False)
    with isolated(nn.Module()):
        torch.backends.mha.set_fastpath_enabled(True)
    assert not torch.backends.mha.get_fastpath_enabled()


def attention(module: nn.Module) -> Tensor:
    padding = torch.tensor([[False, False, True]] * 2)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nested tensors are a prototype
        return module(floats(2, 3, 4), src_key_padding_mask=padding)


def test_attention_takes_the_path_of_training() -> None:
    layer = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True)
    module = seeded(lambda: nn.TransformerEncoder(layer, 1))
    expected = attention(module)
    with isolated(module):
        torch.testing.assert_close(attention(module), expected)


def test_the_fast_path_would_be_another_function() -> None:
    layer = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True)
    module = seeded(lambda: nn.TransformerEncoder(layer, 1))
    expected = attention(module)
    assert (attention(module.eval()) - expected).abs().max() > 1e-2


@pytest.mark.parametrize("layer", [lambda: nn.LazyLinear(2), nn.LazyBatchNorm1d], ids=["weights", "buffers"])
def test_a_lazy_layer_is_refused_and_works_afterwards(layer: Callable[[], nn.Module]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # lazy modules are a prototype
        module = nn.Sequential(layer())
    with pytest.raises(ConfigurationError, match="lazy layer of '0.* is not initialised yet; call the model once"):
        with isolated(module):
            pass
    assert module(floats(4, 3)).isfinite().all()


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_scripted_modules_are_put_back() -> None:
    child = torch.jit.script(nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 2)))
    module = nn.Sequential(child)
    before = {name: buffer.clone() for name, buffer in child.named_buffers()}
    with isolated(module):
        assert not child.training
        child.train()
        module(floats(4, 2))
        assert not torch.equal(dict(child.named_buffers())["0.running_mean"], before["0.running_mean"])
    assert child.training
    assert all(torch.equal(buffer, before[name]) for name, buffer in child.named_buffers())


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_traced_modules_are_put_back() -> None:
    child = torch.jit.trace(nn.Linear(2, 2), floats(4, 2))
    with isolated(nn.Sequential(child)):
        assert not child.training
    assert child.training


def test_containers_in_containers_are_put_back() -> None:
    module = nn.Identity()
    cached, ring = floats(3), {"turns": [1]}
    ring["self"] = ring
    module.cache = {"seen": [1, 2], "by": {"image": {3}}, "pair": ([4], cached), "ring": ring}
    expected = repr(module.cache)
    with isolated(module):
        module.cache["seen"].append(5)
        module.cache["by"]["image"].add(6)
        module.cache["pair"][0].clear()
        cached.zero_()
        ring["turns"] = []
    assert repr(module.cache) == expected


@pytest.mark.parametrize("layer", [nn.Embedding, nn.EmbeddingBag])
def test_embeddings_that_shorten_what_they_look_up_keep_their_weights(layer: Any) -> None:
    module = layer(5, 3, max_norm=0.1)
    before = module.weight.detach().clone()
    with isolated(module):
        module(torch.arange(4).view(2, 2))
        assert not torch.equal(module.weight, before)
    assert torch.equal(module.weight, before)


class Bounded(nn.Linear):
    """Keeps its weights within bounds as it is called, as networks for EEG do."""

    def forward(self, values: Tensor) -> Tensor:
        self.weight.data = torch.renorm(self.weight.data, 2, 0, 0.1)
        return super().forward(values)


def test_weights_that_are_given_other_data_are_put_back() -> None:
    module = Bounded(3, 2)
    weight, before = module.weight, module.weight.detach().clone()
    address = weight.data_ptr()
    with isolated(module):
        module(floats(4, 3))
        assert not torch.equal(module.weight, before)
    assert module.weight is weight
    assert weight.data_ptr() == address
    assert torch.equal(weight, before)


def test_entries_of_a_long_list_are_put_back() -> None:
    module = nn.Linear(2, 2)
    module.seen = [[0] for _ in range(3000)]
    module.averages = [torch.zeros(1) for _ in range(3000)]
    with isolated(module):
        module.seen[2999].append(1)
        module.averages[2999].fill_(1)
    assert module.seen == [[0]] * 3000
    assert not any(module.averages)


def test_of_a_container_of_data_only_the_entries_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "LARGEST_STATE", 5)
    module = nn.Linear(2, 2)
    module.state, module.data = [torch.zeros(1) for _ in range(5)], [torch.zeros(1) for _ in range(6)]
    data = list(module.data)
    with isolated(module):
        module.state[4].fill_(1)
        module.data[4].fill_(1)
        module.data.pop()
    assert not any(module.state)
    assert [float(entry) for entry in module.data] == [0, 0, 0, 0, 1, 0]
    assert all(now is then for now, then in zip(module.data, data, strict=True))


def test_modules_inside_that_log_are_muted_too() -> None:
    outer = nn.Sequential(probe_context())
    with isolated(outer):
        outer[0].log("loss", 1.0)
    assert LOGGED == []
    outer[0].log("loss", 1.0)
    assert LOGGED == ["loss"]


def test_an_old_generator_of_numpy_on_a_module_is_put_back() -> None:
    module = nn.Module()
    module.draws = np.random.RandomState(0)
    with isolated(module):
        module.draws.rand()
    assert module.draws.rand() == np.random.RandomState(0).rand()


def test_a_source_of_randomness_without_a_state_is_no_hindrance() -> None:
    module = nn.Module()
    module.draws = random.SystemRandom()
    with isolated(module):
        assert 0 <= module.draws.random() < 1


def test_a_sparse_buffer_that_is_written_is_put_back() -> None:
    module = holding(adjacency=torch.eye(3).to_sparse())
    with isolated(module):
        module.adjacency.mul_(2)
    assert torch.equal(module.adjacency.to_dense(), torch.eye(3))


def test_a_module_of_another_class_is_put_back() -> None:
    module = nn.Sequential(nn.Linear(2, 2))
    weight = module[0].weight
    with isolated(module):
        nn.utils.parametrizations.weight_norm(module[0])
    assert type(module[0]) is nn.Linear
    assert module[0].weight is weight


def test_a_proxy_whose_object_is_gone_is_no_hindrance() -> None:
    module, gone = nn.Linear(2, 2), deque()
    module.parent = weakref.proxy(gone)
    module.parents = [module.parent]
    del gone
    with isolated(module):
        module.parents.clear()
    assert len(module.parents) == 1


class Failing:
    """Fails once, if at all, and then restores."""

    def __init__(self, error: type[BaseException] | None = None) -> None:
        self.error, self.calls = error, 0

    def __call__(self) -> None:
        self.calls += 1
        if self.error is not None and self.calls == 1:
            raise self.error


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt])
def test_what_could_not_be_put_back_at_once_is_put_back_later(error):
    before, failing, after = restores = [Failing(), Failing(error), Failing()]
    with pytest.raises(error), ExitStack() as stack:
        restore_at_exit(stack, list(restores))
    assert (before.calls, failing.calls, after.calls) == (1, 2, 1)
