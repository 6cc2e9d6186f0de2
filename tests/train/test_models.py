"""Models by name, the user's own, and weights read from files."""

import collections
import pickle
import sys

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from ndtool.errors import NdtoolError
from ndtool.train.models import MODELS, ModelSpec, build, default_input_shape, default_task, load_weights


def spec(name: str, shape=(3, 8, 8), classes=4, **arguments) -> ModelSpec:
    return ModelSpec(name=name, input_shape=shape, classes=classes, arguments=arguments)


@pytest.fixture
def write(tmp_path):
    def write(body: str, name: str = "net.py") -> str:
        path = tmp_path / name
        path.write_text(f"import torch\nfrom torch import nn\n{body}\n")
        return f"{path}:make"

    return write


LINEAR = "return nn.Sequential(nn.Flatten(), nn.Linear({inputs}, {outputs}))"


class TestZoo:
    @pytest.mark.parametrize("name", MODELS)
    def test_every_model_is_built_for_its_own_input(self, name):
        classes = 0 if default_task(name) else 3
        assert isinstance(build(spec(name, default_input_shape(name), classes)), nn.Module)

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("mobilenetv4", "did you mean mobilenetv"),
            ("resnet", "did you mean resnet8"),
            ("xyz", "choose from resnet8, dscnn"),
            ("net.py", "names no model in the file: write net.py:callable"),
            ("runs/none", "runs/none does not exist: give a name"),
        ],
    )
    def test_unknown_names_suggest_others(self, name, message):
        with pytest.raises(NdtoolError, match=message):
            build(spec(name))

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"widht": 0.5}, "no argument 'widht': it takes width"),
            ({"width": "wide"}, "width is 'wide': give a value like 0.35"),
            ({"width": True}, "width is True"),
            ({"width": 0}, "width is 0: give a value above 0"),
            ({"width": -1.0}, "above 0"),
        ],
    )
    def test_wrong_arguments_are_named(self, arguments, message):
        with pytest.raises(NdtoolError, match=message):
            build(spec("mobilenetv2", **arguments))

    def test_whole_numbers_serve_for_parts_but_not_the_other_way(self):
        build(spec("mobilenetv2", width=1))
        with pytest.raises(NdtoolError, match=r"hidden is 1\.5"):
            build(spec("mlp", hidden=1.5))

    def test_architecture_of_mcunet_is_an_argument(self):
        assert len(build(spec("mcunet", architecture="in3"))) > len(build(spec("mcunet")))
        with pytest.raises(NdtoolError, match="no architecture is called 'in9': choose from vww1, in3"):
            build(spec("mcunet", architecture="in9"))

    def test_inputs_that_are_no_images_are_refused_with_a_remedy(self):
        with pytest.raises(NdtoolError, match="the data's is 49x10: give the input shape 1x49x10, or use mlp"):
            build(spec("dscnn", (49, 10)))
        with pytest.raises(NdtoolError, match="the data's is 640: use mlp"):
            build(spec("resnet8", (640,)))

    def test_tasks_do_not_mix(self):
        with pytest.raises(NdtoolError, match="has no classes"):
            build(spec("autoencoder", (640,), classes=3))
        with pytest.raises(NdtoolError, match="use autoencoder"):
            build(spec("resnet8", classes=0))
        assert (default_task("autoencoder"), default_task("resnet8"), default_task("own.py:net")) == (
            "reconstruction",
            None,
            None,
        )
        assert default_input_shape("own.py:net") is None


class TestUsersModels:
    @pytest.mark.parametrize(
        "signature",
        [
            "input_shape, classes",
            "input_shape, num_classes",
            "num_classes=1000, *, input_shape",
            "input_shape, **options",
        ],
    )
    def test_gets_what_its_signature_names(self, write, signature):
        outputs = next((name for name in ("num_classes", "classes") if name in signature), "options['num_classes']")
        body = f"def make({signature}):\n    size = input_shape[0] * input_shape[1] * input_shape[2]\n    "
        model = build(spec(write(body + LINEAR.format(inputs="size", outputs=outputs))))
        assert model[1].out_features == 4

    def test_in_channels_and_own_arguments(self, write):
        body = "def make(in_channels, num_classes, hidden=3, act='relu'):\n    "
        body += "return nn.Sequential(nn.Conv2d(in_channels, hidden, 8), nn.Flatten(), nn.Linear(hidden, num_classes))"
        assert build(spec(write(body), hidden=5))[0].out_channels == 5
        with pytest.raises(NdtoolError, match="no argument 'hiden': it takes in_channels, num_classes, hidden, act"):
            build(spec(write(body), hiden=5))

    def test_class_and_finished_model(self, write):
        body = "class Net(nn.Module):\n    def __init__(self): super().__init__(); self.fc = nn.Linear(192, 4)\n"
        body += "    def forward(self, x): return self.fc(x.flatten(1))\nmake = Net()"
        name = write(body)
        first, second = build(spec(name)), build(spec(name.replace(":make", ":Net")))
        assert type(first).__name__ == type(second).__name__ == "Net"
        with pytest.raises(NdtoolError, match="takes no arguments"):
            build(spec(name, width=3))

    def test_module_by_its_dotted_name(self):
        model = build(spec("torchvision.models:mobilenet_v3_small", (3, 32, 32), 5))
        assert model.classifier[-1].out_features == 5

    def test_file_relative_to_the_working_directory(self, write, tmp_path, monkeypatch):
        write("def make(): " + LINEAR.format(inputs=192, outputs=4))
        monkeypatch.chdir(tmp_path)
        assert isinstance(build(spec("net.py:make")), nn.Sequential)
        assert isinstance(build(spec("net:make")), nn.Sequential)
        sys.modules.pop("net")

    def test_files_beside_it_are_found_and_forgotten(self, write, tmp_path):
        for folder, size in (("one", 4), ("two", 6)):
            (tmp_path / folder).mkdir()
            (tmp_path / folder / "parts.py").write_text(f"SIZE = {size}")
            body = "import parts\ndef make():\n    import parts\n    "
            name = write(body + LINEAR.format(inputs=192, outputs="parts.SIZE"), f"{folder}/net.py")
            path, modules = list(sys.path), set(sys.modules)
            assert build(spec(name, classes=size))[1].out_features == size
            assert sys.path == path
            assert {module for module in set(sys.modules) - modules if "ndtool_user" not in module} == set()

    def test_module_of_the_same_name_elsewhere_is_put_back(self, write, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "parts", other := type(sys)("parts"))
        (tmp_path / "parts.py").write_text("SIZE = 4")
        body = "import parts\ndef make(): " + LINEAR.format(inputs=192, outputs="parts.SIZE")
        assert build(spec(write(body)))[1].out_features == 4
        assert sys.modules["parts"] is other

    @pytest.mark.parametrize(
        ("body", "message"),
        [
            ("make = 3", "make is int: name a function or class that makes an nn.Module"),
            ("def make(): return 3", "returned int: return an nn.Module"),
            ("def make(depth): return nn.Identity()", "needs depth: give it as an argument of the model"),
            ("def other(): pass", "has no 'make'"),
            ("def make(): raise ValueError('bad\\nnews')", r"failed \(net.py, line 3\): ValueError: bad$"),
            ("import nothing_like_this", "ModuleNotFoundError: No module named 'nothing_like_this'"),
            ("def make(:", "SyntaxError"),
            ("raise SystemExit", "failed .*: SystemExit"),
            (
                "def make(): " + LINEAR.format(inputs=192, outputs=9),
                r"its output is \(1, 9\) and the data need \(1, 4\)",
            ),
            (
                "def make(): " + LINEAR.format(inputs=191, outputs=4),
                r"run on an input of \(3, 8, 8\), failed.*: RuntimeError",
            ),
            ("def make(): return nn.LSTM(8, 4)", "failed|output is tuple"),
        ],
    )
    def test_what_is_wrong_is_said_in_one_line(self, write, body, message):
        with pytest.raises(NdtoolError, match=message) as error:
            build(spec(write(body)))
        assert "\n" not in str(error.value)

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("missing.py:make", "missing.py does not exist"),
            ("no_such_package.inner:make", "there is no module 'no_such_package'"),
            ("torchvision.models:resnet8", "has no 'resnet8': did you mean resnet"),
        ],
    )
    def test_what_is_missing_is_named(self, name, message):
        with pytest.raises(NdtoolError, match=message):
            build(spec(name))

    def test_reconstruction_must_return_its_input_shape(self, write):
        assert isinstance(build(spec(write("make = nn.Identity"), (6,), 0)), nn.Identity)
        with pytest.raises(NdtoolError, match=r"its output is \(1, 3\) and the data need \(1, 6\)"):
            build(spec(write("def make(): return nn.Linear(6, 3)"), (6,), 0))

    def test_trial_run_changes_nothing(self, write):
        body = "def make(): return nn.Sequential(nn.Flatten(), nn.BatchNorm1d(192), nn.Dropout(), nn.Linear(192, 4))"
        model = build(spec(write(body)))
        assert model.training
        assert model[1].num_batches_tracked == 0


class Evil:
    def __reduce__(self):
        return print, ("executed",)

    def test_has_its_own_number_of_classes_where_none_is_known(self, tmp_path):
        (tmp_path / "own.py").write_text("from torch import nn\ndef net(classes=7): return nn.Linear(4, classes)\n")
        assert build(ModelSpec(name=f"{tmp_path / 'own.py'}:net", input_shape=(4,), classes=None)).out_features == 7
        with pytest.raises(NdtoolError, match="give --classes"):
            build(ModelSpec(name="mlp", input_shape=(4,), classes=None))


class TestWeights:
    def make(self, outputs=4) -> nn.Module:
        layers = {"conv": nn.Conv2d(1, 2, 3), "bn": nn.BatchNorm2d(2), "fc": nn.Linear(2, outputs)}
        return nn.Sequential(collections.OrderedDict(layers))

    @pytest.mark.parametrize("wrap", [None, "state_dict", "model_state_dict", "model"])
    @pytest.mark.parametrize("prefix", ["", "module."])
    def test_are_read_from_checkpoints(self, tmp_path, wrap, prefix):
        source, target = self.make(), self.make()
        weights = {f"{prefix}{name}": tensor for name, tensor in source.state_dict().items()}
        torch.save({wrap: weights, "epoch": 3} if wrap else weights, tmp_path / "w.pt")
        load_weights(target, tmp_path / "w.pt")
        assert all(
            torch.equal(a, b) for a, b in zip(source.state_dict().values(), target.state_dict().values(), strict=True)
        )

    def test_are_read_from_safetensors(self, tmp_path):
        source, target = self.make(), self.make()
        save_file(source.state_dict(), tmp_path / "w.safetensors")
        load_weights(target, tmp_path / "w.safetensors")
        assert torch.equal(source.fc.weight, target.fc.weight)

    def test_counters_of_batches_may_be_missing(self, tmp_path):
        source, target = self.make(), self.make()
        torch.save({k: v for k, v in source.state_dict().items() if "tracked" not in k}, tmp_path / "w.pt")
        load_weights(target, tmp_path / "w.pt")
        assert torch.equal(source.conv.weight, target.conv.weight)

    def test_differences_are_named_and_nothing_is_loaded(self, tmp_path):
        weights = self.make(outputs=5).state_dict()
        del weights["conv.bias"]
        weights |= {f"extra{index}": torch.ones(1) for index in range(5)}
        torch.save(weights, tmp_path / "w.pt")
        target = self.make()
        before = target.conv.weight.clone()
        with pytest.raises(NdtoolError) as error:
            load_weights(target, tmp_path / "w.pt")
        assert str(error.value) == (
            f"{tmp_path / 'w.pt'} does not fit the model: missing: conv.bias; "
            "not in the model: extra0, extra1, extra2 and 2 more; "
            "of another shape: fc.weight is (5, 2) and the model's (4, 2), fc.bias is (5,) and the model's (4,)"
        )
        assert torch.equal(target.conv.weight, before)

    def test_code_in_a_file_is_not_executed(self, tmp_path, capsys):
        torch.save({"state_dict": Evil()}, tmp_path / "w.pt")
        with pytest.raises(NdtoolError, match=r"tensors only: save model\.state_dict"):
            load_weights(self.make(), tmp_path / "w.pt")
        (tmp_path / "raw.pt").write_bytes(pickle.dumps(Evil()))
        with pytest.raises(NdtoolError, match="tensors only"):
            load_weights(self.make(), tmp_path / "raw.pt")
        assert capsys.readouterr().out == ""

    def test_whole_model_is_refused(self, tmp_path):
        torch.save(self.make(), tmp_path / "w.pt")
        with pytest.raises(NdtoolError, match=r"save model\.state_dict"):
            load_weights(self.make(), tmp_path / "w.pt")

    @pytest.mark.parametrize("content", [[1, 2], {}, {"epoch": 3}, {"state_dict": {"a": 1}}])
    def test_files_without_weights_are_refused(self, tmp_path, content):
        torch.save(content, tmp_path / "w.pt")
        with pytest.raises(NdtoolError, match="no weights by name"):
            load_weights(self.make(), tmp_path / "w.pt")

    @pytest.mark.parametrize("name", ["w.pt", "w.safetensors"])
    @pytest.mark.parametrize("content", [b"", b"no weights", bytes(100)])
    def test_other_files_are_refused(self, tmp_path, name, content):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(NdtoolError):
            load_weights(self.make(), tmp_path / name)

    def test_missing_file_is_named(self, tmp_path):
        with pytest.raises(NdtoolError, match=r"w\.pt does not exist"):
            load_weights(self.make(), tmp_path / "w.pt")
