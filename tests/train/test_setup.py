import pytest

from ndtool.errors import NdtoolError
from ndtool.train.parse import parse_arguments, parse_shape
from ndtool.train.setup import absolute, free_folder, prepare


def test_shapes_are_read():
    assert parse_shape("3x32x32") == (3, 32, 32)
    assert parse_shape("640") == (640,)
    for text in ("3x", "0x3", "big", "-1x3"):
        with pytest.raises(NdtoolError, match="no shape"):
            parse_shape(text)


def test_arguments_take_the_type_they_look_like():
    assert parse_arguments(["width=0.35", "depth=3", "se=true", "act=relu"]) == {
        "width": 0.35,
        "depth": 3,
        "se": True,
        "act": "relu",
    }
    for text in ("width", "=3", "a b=1"):
        with pytest.raises(NdtoolError, match="name=value"):
            parse_arguments([text])


def test_paths_become_absolute_and_names_stay(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images").mkdir()
    assert absolute("images") == str(tmp_path / "images")
    assert absolute("net.py:Net") == f"{tmp_path / 'net.py'}:Net"
    assert absolute("digits") == "digits"
    assert absolute("torchvision.models:resnet18") == "torchvision.models:resnet18"


def test_a_model_is_its_name_whatever_lies_in_the_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NDTOOL_CACHE", str(tmp_path / "cache"))
    (tmp_path / "resnet8").mkdir()
    assert prepare("resnet8", "digits")[0].model.name == "resnet8"


def test_a_run_folder_is_never_taken_twice(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = free_folder("net.py:Net", "/data/cifar10.tar.xz", "vanilla")
    first.mkdir(parents=True)
    assert first.name == "Net-cifar10-vanilla"
    assert free_folder("net.py:Net", "/data/cifar10.tar.xz", "vanilla").name == "Net-cifar10-vanilla-2"


def test_what_is_trained_records_how_its_pixels_were_scaled():
    config, data = prepare("resnet8", "digits", epochs=3, lr=None)
    assert config.normalisation == data.normalisation is not None
    assert (config.epochs, config.lr) == (3, None)
    again, _ = prepare("resnet8", "digits", epochs=3)
    assert again == config
