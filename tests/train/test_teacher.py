import copy
import dataclasses
import warnings
from collections.abc import Callable, Iterator

import pytest
import torch
import torch.nn.functional as F
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.func import functional_call

from ndtool.train.models import MODELS, ModelSpec, build
from ndtool.train.teacher import Sharing, Widened, embed, widen


def conv(inputs: int, outputs: int, kernel: int = 3, **options) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, **options), nn.BatchNorm2d(outputs), nn.LeakyReLU(0.2)
    )


class Net(nn.Module):
    """A network from its modules, its forward and the shape of its input."""

    def __init__(self, forward: Callable, shape: tuple[int, ...] = (3, 8, 8), **modules: nn.Module | nn.Parameter):
        super().__init__()
        for name, module in modules.items():
            setattr(self, name, module)
        self._run, self.shape = forward, shape

    def forward(self, x):
        return self._run(self, x)


def _head(channels: int, outputs: int = 5) -> nn.Sequential:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, outputs))


def _shuffle(x, groups: int):
    batch, channels, height, width = x.size()
    x = x.view(batch, groups, channels // groups, height, width)
    return torch.transpose(x, 1, 2).contiguous().view(batch, -1, height, width)


def _chain(n, x):
    return n.head(n.b(n.a(x)))


def _residual(n, x):
    x = n.a(x)
    y = n.b(x)
    y += x
    return n.head(F.relu(y))


def _residual_from_the_input(n, x):
    return n.head(torch.cat([x + n.a(x), n.b(x)], 1))


def _cat_with_the_input(n, x):
    x = torch.cat((n.a(x), x, n.b(x)), dim=1)
    x = n.c(F.max_pool2d(x, 2))
    return n.head(x)


def _dense(n, x):
    features = [n.a(x)]
    features.append(n.b(torch.cat(features, 1)))
    features.append(n.c(torch.cat(features, 1)))
    return n.head(torch.cat(features, -3))


def _squeeze_excite(n, x):
    x = n.a(x)
    gate = F.adaptive_avg_pool2d(x, 1)
    gate = n.up(F.silu(n.down(gate.flatten(1)))).sigmoid().unsqueeze(-1).unsqueeze(-1)
    return n.head(x * gate.expand_as(x) + x.mean((2, 3), keepdim=True))


def _flatten_linear(n, x):
    x = n.b(F.avg_pool2d(n.a(x), 2))
    return n.head(n.hidden(x.view(x.size(0), -1)))


def _shuffled(n, x):
    x = _shuffle(torch.cat([n.a(x), n.b(x)], 1), 2)
    left, right = x.chunk(2, dim=1)
    x = _shuffle(torch.cat([left, n.c(right)], 1), 2)
    first, second, third = torch.split(x, [3, 4, 7], 1)
    return n.head(torch.cat([third, n.d(second), first], 1))


def _shuffle_by_permute(n, x):
    x = n.a(x)
    x = x.reshape(-1, 3, 5, x.shape[2], x.shape[3]).permute(0, 2, 1, 3, 4).flatten(1, 2)
    return n.head(n.b(x))


def _slices(n, x):
    x = n.a(x)
    x = torch.cat([x[:, 1::2], x[:, :3], x[:, -2:, ...], x.narrow(1, 2, 2)], 1)
    return n.head(n.b(x[:, :, ::2, 1:]))


def _padded_shortcut(n, x):
    x = n.a(x)
    return n.head(n.b(x) + F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 2, 3)))


def _scaled(n, x):
    x = n.a(x)
    return n.head(x + n.gamma.view(1, -1, 1, 1) * n.b(x) / x.size(1) + n.offset * 2)


def _autoencoder(n, x):
    batch = x.shape[0]
    x = n.latent(n.encoder(x).reshape(batch, -1))
    x = n.wide(x).view(batch, 6, 4, 4)
    return n.out(F.interpolate(n.decoder(x), scale_factor=2))


def _twice(n, x):
    x = n.a(x)
    return n.head(n.b(n.b(x)) + n.prelu(x))


def _over_time(n, x):
    batch, time, features = x.shape
    x = n.frame(x.reshape(batch * time, features)).view(batch, time, -1)
    x = n.mix(x.transpose(1, 2)).softmax(-1)
    return n.head(x[..., 1])


def _gated(n, x):
    a, b = n.a(x).chunk(2, 1)
    return n.head(a * torch.tanh(b))


def _joined_chunks(n, x):
    return n.head(torch.cat(n.a(x).chunk(3, 1)[1:], 1))


def _spatial_gate(n, x):
    x = n.a(x)
    return n.head(x * n.gate(x).sigmoid())


def _pool_by_size(n, x):
    x = n.a(x)
    return n.head(F.avg_pool2d(x, x.size()[2:]).squeeze(-1).squeeze(-1))


def _drop_path(n, x):
    x = n.a(x)
    return n.head(x + n.drop(n.b(x)))


def _dropout(n, x):
    return n.head(F.dropout(n.a(x), 0.5, n.training))


def _networks() -> dict[str, Net]:
    tied = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6))
    tied[2].weight = tied[0].weight
    return {
        "chain": Net(_chain, a=conv(3, 4), b=conv(4, 6, stride=2), head=_head(6)),
        "residual": Net(_residual, a=conv(3, 4), b=conv(4, 4), head=_head(4)),
        "residual from the input": Net(_residual_from_the_input, a=conv(3, 3), b=conv(3, 4), head=_head(7)),
        "cat with the input": Net(_cat_with_the_input, a=conv(3, 2), b=conv(3, 4), c=conv(9, 5), head=_head(5)),
        "dense": Net(_dense, a=conv(3, 4), b=conv(4, 3), c=conv(7, 5), head=_head(12)),
        "grouped": Net(_chain, a=conv(3, 8), b=conv(8, 12, groups=4), head=_head(12)),
        "grouped after cat": Net(
            lambda n, x: n.head(n.c(torch.cat([n.a(x), n.b(x)], 1))),
            **{"a": conv(3, 4), "b": conv(3, 4), "c": conv(8, 4, groups=2), "head": _head(4)},
        ),
        "depthwise": Net(_chain, a=conv(3, 4), b=conv(4, 4, groups=4), head=_head(4)),
        "depthwise multiplier": Net(_chain, a=conv(3, 4), b=conv(4, 8, groups=4), head=_head(8)),
        "depthwise on the input": Net(_chain, a=conv(3, 6, groups=3), b=conv(6, 4), head=_head(4)),
        "squeeze-excite": Net(_squeeze_excite, a=conv(3, 6), down=nn.Linear(6, 2), up=nn.Linear(2, 6), head=_head(6)),
        "flatten and linear": Net(
            _flatten_linear, a=conv(3, 4), b=conv(4, 5), hidden=nn.Linear(5 * 16, 7), head=nn.Linear(7, 5)
        ),
        "shuffle": Net(_shuffled, a=conv(3, 7), b=conv(3, 7), c=conv(7, 7, groups=7), d=conv(4, 3), head=_head(13)),
        "shuffle by a module": Net(
            _chain, a=nn.Sequential(conv(3, 15), nn.ChannelShuffle(3)), b=conv(15, 6, groups=3), head=_head(6)
        ),
        "shuffle by permute": Net(_shuffle_by_permute, a=conv(3, 15), b=conv(15, 6, groups=3), head=_head(6)),
        "shuffle with the input": Net(
            lambda n, x: n.head(n.b(_shuffle(torch.cat([n.a(x), x], 1), 2))), a=conv(3, 3), b=conv(6, 4), head=_head(4)
        ),
        "slices": Net(_slices, a=conv(3, 7), b=conv(10, 4), head=_head(4)),
        "padded shortcut": Net(_padded_shortcut, a=conv(3, 4), b=conv(4, 9, stride=2), head=_head(9)),
        "scaled": Net(
            _scaled,
            a=conv(3, 4),
            b=conv(4, 4),
            gamma=nn.Parameter(torch.ones(4)),
            offset=nn.Parameter(torch.ones(4, 1, 1)),
            head=_head(4),
        ),
        "convolutional autoencoder": Net(
            _autoencoder,
            encoder=conv(3, 4, stride=2),
            latent=nn.Linear(64, 5),
            wide=nn.Linear(5, 96),
            decoder=nn.ConvTranspose2d(6, 4, 1),
            out=nn.Conv2d(4, 3, 1),
        ),
        "module called twice": Net(_twice, a=conv(3, 4), b=conv(4, 4), prelu=nn.PReLU(4), head=_head(4)),
        "tied weights": Net(
            lambda n, x: n.last(n.tied(n.first(x))), (3,), first=nn.Linear(3, 6), tied=tied, last=nn.Linear(6, 2)
        ),
        "1-D": Net(
            lambda n, x: n.head(F.hardswish(n.norm(n.b(F.leaky_relu(n.a(x))))).mean(-1)),
            (2, 16),
            a=nn.Conv1d(2, 4, 3),
            b=nn.Conv1d(4, 6, 3, groups=2),
            norm=nn.BatchNorm1d(6),
            head=nn.Linear(6, 3),
        ),
        "over time": Net(
            _over_time,
            (4, 6),
            frame=nn.Linear(6, 5),
            mix=nn.Sequential(nn.Linear(4, 7), nn.GELU()),
            head=nn.Linear(5, 3),
        ),
        "MLP": Net(
            lambda n, x: n.body(x),
            (10,),
            body=nn.Sequential(
                nn.Linear(10, 8), nn.BatchNorm1d(8), nn.ELU(), nn.Linear(8, 3), nn.Tanh(), nn.Linear(3, 10)
            ),
        ),
        "gated": Net(_gated, a=conv(3, 6), head=_head(3)),
        "joined chunks": Net(_joined_chunks, a=conv(3, 9), head=_head(6)),
        "spatial gate": Net(_spatial_gate, a=conv(3, 4), gate=nn.Conv2d(4, 1, 3, padding=1), head=_head(4)),
        "pool by size": Net(_pool_by_size, a=conv(3, 4), head=nn.Linear(4, 2)),
        "one hidden channel": Net(_chain, a=conv(3, 1), b=conv(1, 4), head=_head(4)),
        "stochastic depth": Net(
            _drop_path, a=conv(3, 4), b=conv(4, 4), drop=torchvision.ops.StochasticDepth(0.5, "row"), head=_head(4)
        ),
        "dropout": Net(_dropout, a=conv(3, 4), head=nn.Sequential(nn.Dropout2d(0.2), *_head(4))),
    }


NETWORKS = _networks()
TORCHVISION: dict[str, Callable[..., nn.Module]] = {
    "mobilenet_v2": torchvision.models.mobilenet_v2,
    "mobilenet_v3_small": torchvision.models.mobilenet_v3_small,
    "shufflenet_v2_x0_5": torchvision.models.shufflenet_v2_x0_5,
    "squeezenet1_1": torchvision.models.squeezenet1_1,
    "densenet": lambda num_classes: torchvision.models.DenseNet(8, (2, 2), 16, num_classes=num_classes),
    "resnet18": torchvision.models.resnet18,
    "mnasnet0_5": torchvision.models.mnasnet0_5,
    "efficientnet_b0": torchvision.models.efficientnet_b0,
}


def small_network(name: str) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    net = copy.deepcopy(NETWORKS[name]).double()
    return net, torch.randn(3, *net.shape, dtype=torch.float64)


def torchvision_network(name: str) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the classes announce changes of their defaults
        return TORCHVISION[name](num_classes=7).double(), torch.randn(2, 3, 64, 64, dtype=torch.float64)


def zoo_network(name: str) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    entry = MODELS[name]
    shape = entry.input_shape
    if len(shape) == 3:
        shape = (shape[0], min(64, shape[1]), min(64, shape[2]))
    net = build(ModelSpec(name=name, input_shape=shape, classes=0 if entry.task == "reconstruction" else 7))
    return net.double(), torch.randn(2, *shape, dtype=torch.float64)


@torch.no_grad()
def randomise(module: nn.Module) -> None:
    """Weights and BatchNorm statistics such that signals neither vanish nor explode."""
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5)
        elif tensor.is_floating_point():
            fan_in = tensor[0].numel() if tensor.dim() > 1 else 4
            tensor.normal_(std=(2 / fan_in) ** 0.5)
            if tensor.dim() == 1 and name.endswith("weight"):
                tensor.add_(1)


def extracted_output(student: nn.Module, teacher: nn.Module, sharing: Sharing, x: Tensor) -> Tensor:
    weights = {name: sharing.student_part(name, p) for name, p in teacher.named_parameters() if name in sharing.index}
    with torch.no_grad():
        return functional_call(student.eval(), weights, (x,))


@torch.no_grad()
def masked_output(student: nn.Module, teacher: nn.Module, sharing: Sharing, x: Tensor) -> Tensor:
    """Of the teacher without any weight outside the student's part, with the student's BatchNorm on its channels."""
    masked = copy.deepcopy(teacher).eval()
    parameters = dict(masked.named_parameters())
    tensors = parameters | dict(masked.named_buffers())
    own = dict(student.named_parameters()) | dict(student.named_buffers())
    for name in sharing.index:
        mask = torch.zeros_like(tensors[name])
        sharing.set_part(name, mask, torch.ones_like(own[name]))
        tensors[name].mul_(mask)
    for name in sharing.own_index:
        if name in parameters:
            tensors[name].zero_()
        sharing.set_part(name, tensors[name], own[name])
    return masked(x)


def relative_difference(student: nn.Module, teacher: nn.Module, sharing: Sharing, x: Tensor) -> float:
    expected = extracted_output(student, teacher, sharing, x)
    assert expected.isfinite().all()
    assert (expected - expected.mean(0)).abs().max() > 1e-6 * expected.abs().max(), "the output ignores the input"
    difference = masked_output(student, teacher, sharing, x) - expected
    return float(difference.abs().max() / expected.abs().max())


def mutations(widened: Widened) -> Iterator[tuple[str, int, Sharing]]:
    """The sharing with one axis of one tensor rolled by one, for every axis that is not whole."""
    sharing = widened.sharing
    teacher = dict(widened.teacher.named_parameters()) | dict(widened.teacher.named_buffers())
    for field in ("index", "own_index"):
        places = getattr(sharing, field)
        for name, index in places.items():
            for axis, positions in enumerate(index):
                if positions is not None:
                    rolled = (positions + 1) % teacher[name].shape[axis]
                    wrong = (*index[:axis], rolled, *index[axis + 1 :])
                    yield name, axis, dataclasses.replace(sharing, **{field: {**places, name: wrong}})


def assert_shared(student: nn.Module, x: Tensor, expand: int, mutants: int | None = None) -> Widened:
    """The proof of the sharing, and that a wrong index anywhere (or in so many places) would fail it."""
    widened = widen(student.eval(), x, expand)
    randomise(widened.teacher)
    randomise(student)
    assert relative_difference(student, widened.teacher, widened.sharing, x) < 1e-10
    wrong = list(mutations(widened))
    for name, axis, sharing in wrong if mutants is None else wrong[:: max(1, len(wrong) // mutants)]:
        difference = relative_difference(student, widened.teacher, sharing, x)
        assert difference > 1e-7, f"axis {axis} of {name} may be wrong unnoticed"
    return widened


@pytest.mark.parametrize("expand", [2, 3])
@pytest.mark.parametrize("name", NETWORKS)
def test_students_part_of_the_teacher_is_the_student(name: str, expand: int) -> None:
    assert_shared(*small_network(name), expand, mutants=None if expand == 3 else 2)


@pytest.mark.parametrize("name", MODELS)
def test_every_network_of_the_zoo_lies_in_its_teacher(name: str) -> None:
    assert_shared(*zoo_network(name), expand=3, mutants=6)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * name.startswith(("mnas", "eff"))) for name in TORCHVISION]
)
def test_torchvision_networks_lie_in_their_teachers(name: str) -> None:
    assert_shared(*torchvision_network(name), expand=2, mutants=2)


OPERATIONS = ("conv", "grouped", "depthwise", "residual", "cat", "shuffle", "swap", "slice", "gate", "fold", "turn")


class RandomNet(nn.Module):
    """A chain of operations drawn at random, over channels that a convolution made beside the input's own."""

    def __init__(self, operations: list[tuple[str, int]]):
        super().__init__()
        self.stem, self.layers, self.steps = nn.Conv2d(3, 4, 3, padding=1), nn.ModuleList(), []
        channels = 4
        for kind, number in operations:
            channels = self._add(kind, number, channels)
        self.head = nn.Sequential(nn.Linear(channels * 16, 4), nn.Tanh(), nn.Linear(4, 3))

    def _add(self, kind: str, number: int, channels: int) -> int:
        layer, outputs = nn.Identity(), channels
        if kind == "conv":
            layer, outputs = nn.Conv2d(channels, number + 1, 1), number + 1
        elif kind == "grouped" and channels % 2 == 0:
            layer, outputs = nn.Conv2d(channels, 2 * (number + 1), 3, padding=1, groups=2), 2 * (number + 1)
        elif kind == "depthwise":
            outputs = channels * (number % 2 + 1)
            layer = nn.Sequential(nn.Conv2d(channels, outputs, 1, groups=channels), nn.BatchNorm2d(outputs))
        elif kind in ("residual", "gate"):
            layer = nn.Conv2d(channels, channels if number % 2 else 1, 1)
        elif kind == "cat":
            outputs = channels + 3
        self.layers.append(layer)
        self.steps.append((kind, number, channels))
        return min(outputs, 8)

    def forward(self, x):
        image, x = x, self.stem(x)
        for (kind, number, channels), layer in zip(self.steps, self.layers, strict=True):
            y = layer(x)
            if kind == "residual":
                y = F.hardswish(x + y)
            elif kind == "gate":
                y = x * y.sigmoid().mean((2, 3), keepdim=True)
            elif kind == "cat":
                y = torch.cat([image, y] if number % 2 else [y, image], 1)
            elif kind == "shuffle" and channels % 2 == 0:
                y = _shuffle(y, 2)
            elif kind == "swap" and channels > 1:
                first, second = y.split([channels // 2, channels - channels // 2], 1)
                y = torch.cat([second, first], 1)
            elif kind == "slice":
                y = torch.cat([y[:, number % channels :], y[:, : number % channels]], 1)
            elif kind == "fold" and channels % 2 == 0:
                y = y.reshape(x.shape[0], channels // 2, 8, 4).tanh().view(-1, channels, 4, 4)
            elif kind == "turn":
                y = y.permute(0, 2, 3, 1).flatten(1, 2).transpose(1, 2).unflatten(-1, (4, 4))
            x = y[:, :8]
        return self.head(x.flatten(1))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(OPERATIONS), st.integers(0, 5)), min_size=1, max_size=6), st.integers(2, 4))
def test_any_combination_of_operators_keeps_the_student(operations: list[tuple[str, int]], expand: int) -> None:
    torch.manual_seed(0)
    student, x = RandomNet(operations).double().eval(), torch.randn(3, 3, 4, 4, dtype=torch.float64)
    widened = widen(student, x, expand)
    randomise(widened.teacher)
    randomise(student)
    expected = extracted_output(student, widened.teacher, widened.sharing, x)
    torch.testing.assert_close(masked_output(student, widened.teacher, widened.sharing, x), expected)


@pytest.mark.parametrize("name", ["shuffle", "squeeze-excite", "1-D", "convolutional autoencoder"])
def test_teacher_of_width_one_is_the_student(name: str) -> None:
    student, x = small_network(name)
    randomise(student)
    widened = widen(student.eval(), x, expand=1)
    torch.testing.assert_close(widened.teacher(x), student(x), rtol=0, atol=0)
    assert all(axis is None for index in widened.sharing.index.values() for axis in index)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_weight_of_the_teacher_gets_a_finite_gradient(name: str) -> None:
    student, x = small_network(name)
    teacher = widen(student.train(), x, expand=3).teacher
    assert teacher.training
    teacher(x).square().mean().backward()
    without = [name for name, p in teacher.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert without == []


def test_parameters_grow_with_the_square_of_the_width() -> None:
    student, x = torchvision_network("mobilenet_v2")
    widened = widen(student, x, expand=3)
    ours = dict(student.named_parameters())
    ratios = {name: p.numel() / ours[name].numel() for name, p in widened.teacher.named_parameters()}
    assert ratios["features.5.conv.2.weight"] == 9  # pointwise
    assert ratios["features.5.conv.1.0.weight"] == 3  # depthwise
    assert ratios["features.0.0.weight"] == ratios["classifier.1.weight"] == 3  # from the input, to the classes
    assert ratios["classifier.1.bias"] == 1
    total = sum(p.numel() for p in widened.teacher.parameters()) / sum(p.numel() for p in student.parameters())
    assert 8 < total < 9


def test_teacher_has_the_students_names_and_structure() -> None:
    student, x = small_network("shuffle")
    teacher = widen(student, x, expand=3).teacher
    assert teacher.state_dict().keys() == student.state_dict().keys()
    assert copy.deepcopy(teacher).state_dict().keys() == student.state_dict().keys()
    depthwise = teacher.get_submodule("c.0")
    assert (depthwise.in_channels, depthwise.out_channels, depthwise.groups) == (21, 21, 21)
    grouped = widen(*small_network("grouped"), expand=3).teacher.get_submodule("b.0")
    assert (grouped.in_channels, grouped.out_channels, grouped.groups) == (24, 36, 4)


def test_student_is_left_as_it_was() -> None:
    student, x = small_network("squeeze-excite")
    before = copy.deepcopy(student.train().state_dict())
    widen(student, x, expand=3)
    assert student.training
    assert all(torch.equal(before[name], tensor) for name, tensor in student.state_dict().items())


def test_channels_tied_to_the_input_stay_narrow() -> None:
    student, x = small_network("residual from the input")
    teacher = widen(student, x, expand=3).teacher
    assert teacher.get_submodule("a.0").out_channels == 3
    assert teacher.get_submodule("b.0").out_channels == 12


def test_padded_shortcut_is_widened() -> None:
    student, x = small_network("padded shortcut")
    assert widen(student, x, expand=3).teacher.get_submodule("b.0").out_channels == 27


def test_dropout_that_was_traced_follows_the_teachers_mode() -> None:
    for name in ("dropout", "stochastic depth"):
        student, x = small_network(name)
        teacher = widen(student.eval(), x, expand=2).teacher
        torch.testing.assert_close(teacher(x), teacher(x))
        teacher.get_submodule("head").train()  # Dropout2d of the head, if any, is not what is tested
        for module in teacher.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        for child, module in teacher.named_children():
            if child.startswith("dropout") or child == "drop":
                module.train()
        assert not torch.equal(teacher(x), teacher(x))


def test_embedded_student_is_found_again() -> None:
    student, x = small_network("cat with the input")
    randomise(student)
    widened = widen(student, x, expand=3)
    embed(widened, student)
    theirs = dict(widened.teacher.named_parameters()) | dict(widened.teacher.named_buffers())
    for name, tensor in [*student.named_parameters(), *student.named_buffers()]:
        torch.testing.assert_close(widened.sharing.student_part(name, theirs[name]), tensor)


def test_only_irregular_positions_are_copied() -> None:
    student, x = small_network("cat with the input")
    widened = widen(student, x, expand=3)
    copied = [name for name in widened.sharing.index if not widened.sharing.is_view(name)]
    assert copied == ["c.0.weight"]  # 2 widened channels, 3 of the input, 4 widened
    weight = widened.teacher.get_parameter("b.0.weight")
    part = widened.sharing.student_part("b.0.weight", weight)
    assert part.untyped_storage().data_ptr() == weight.untyped_storage().data_ptr()


@pytest.mark.parametrize("name", ["b.0.weight", "c.0.weight", "c.0.bias"])
def test_gradients_are_added_at_the_students_part_only(name: str) -> None:
    student, x = small_network("cat with the input")
    widened = widen(student, x, expand=3)
    gradient = torch.randn_like(widened.teacher.get_parameter(name))
    ours = torch.randn_like(student.get_parameter(name))
    index = [torch.arange(n) if i is None else i for n, i in zip(ours.shape, widened.sharing.index[name], strict=True)]
    expected = gradient.clone()
    expected[torch.meshgrid(*index, indexing="ij")] -= 2 * ours
    widened.sharing.add_part(name, gradient, ours, alpha=-2)
    torch.testing.assert_close(gradient, expected)


def test_batch_norm_and_unused_parameters_are_the_students_own() -> None:
    student = Net(_chain, a=conv(3, 4), b=conv(4, 6), head=_head(6), unused=nn.Linear(2, 2))
    sharing = widen(student, torch.randn(1, 3, 8, 8)).sharing
    norms = {f"{layer}.1.{name}" for layer in "ab" for name in ("weight", "bias")}
    assert sharing.own == norms | {"unused.weight", "unused.bias"}
    assert sharing.index.keys() == {name for name, _ in student.named_parameters()} - sharing.own
    statistics = {f"{layer}.1.{n}" for layer in "ab" for n in ("running_mean", "running_var", "num_batches_tracked")}
    assert sharing.own_index.keys() == norms | statistics


def test_layers_derived_without_change_are_layers() -> None:
    class Convolution(nn.Conv2d):
        pass

    student = Net(_chain, a=Convolution(3, 4, 1), b=conv(4, 6), head=_head(6))
    assert_shared(student.double(), torch.randn(3, 3, 8, 8, dtype=torch.float64), expand=3)
