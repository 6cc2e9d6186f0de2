import pytest
import torch
from torch import nn

from ndtool.train.data import Data, Normalisation, Split, batches
from ndtool.train.evaluation import Score, evaluate, reestimate_batchnorm


def data_of(x, y=None, classes=("a", "b", "c"), normalisation=None):
    split = Split(x=x, y=y)
    return Data(
        name="made",
        task="classification" if y is not None else "reconstruction",
        train=split,
        validation=split,
        test=split,
        classes=classes if y is not None else (),
        input_shape=tuple(x.shape[1:]),
        normalisation=normalisation,
    )


def test_accuracy_and_loss_are_means_over_samples():
    x = torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0], [5.0, 0.0, 0.0]])
    data = data_of(x, torch.tensor([0, 1, 2]))
    score = evaluate(nn.Identity(), data.test, data, batch_size=2)
    assert score.accuracy == pytest.approx(2 / 3)
    assert score.loss == pytest.approx(nn.functional.cross_entropy(x, torch.tensor([0, 1, 2])).item())
    assert (score.mse, score.count) == (None, 3)


def test_a_function_that_returns_arrays_is_evaluated_as_well():
    x = torch.randn(5, 3)
    data = data_of(x, x.argmax(1))
    assert evaluate(lambda batch: batch.numpy(), data.test, data).accuracy == 1


def test_a_reconstruction_is_scored_by_its_squared_error():
    data = data_of(torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]))
    score = evaluate(lambda x: x + 2, data.test, data, batch_size=2)
    assert score == Score(accuracy=None, mse=4.0, loss=4.0, count=3)


def test_evaluation_leaves_the_model_in_its_mode():
    model = nn.Sequential(nn.BatchNorm1d(3).eval(), nn.Dropout(0.9)).train()
    model[0].eval()
    x = torch.randn(4, 3)
    data = data_of(x, x.argmax(1))
    assert evaluate(model, data.test, data).accuracy == 1
    assert [module.training for module in model.modules()] == [True, False, True]


def test_scores_are_compared_by_accuracy_then_loss_or_by_error():
    def classified(accuracy, loss):
        return Score(accuracy=accuracy, mse=None, loss=loss, count=1)

    assert classified(0.5, 1.0).better_than(None)
    assert classified(0.6, 2.0).better_than(classified(0.5, 1.0))
    assert classified(0.5, 0.9).better_than(classified(0.5, 1.0))
    assert not classified(0.5, 1.0).better_than(classified(0.5, 1.0))
    assert Score(accuracy=None, mse=1.0, loss=1.0, count=1).better_than(
        Score(accuracy=None, mse=2.0, loss=2.0, count=1)
    )


def test_batchnorm_gets_the_statistics_of_its_input_under_the_final_weights():
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (64, 2, 5, 5), generator=generator, dtype=torch.uint8)
    data = data_of(
        pixels, torch.zeros(64, dtype=torch.int64), normalisation=Normalisation(mean=(0.4, 0.5), std=(0.2, 0.3))
    )
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2))
    model[1].running_mean.fill_(100.0)
    model[4].running_var.fill_(100.0)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    reestimate_batchnorm(model, data, samples=64, batch_size=16, seed=0)

    x, _ = next(iter(batches(data.train, data, batch_size=64)))
    first = model[0](x)  # all batches have one size: the mean over batches is the mean over samples
    assert torch.allclose(model[1].running_mean, first.mean((0, 2, 3)), atol=1e-5)
    parts = [model[0](b) for b, _ in batches(data.train, data, batch_size=16, shuffle_seed=0, drop_last=True)]
    assert torch.allclose(model[1].running_var, torch.stack([p.var((0, 2, 3)) for p in parts]).mean(0), atol=1e-5)
    seconds = [
        model[3](nn.functional.batch_norm(p, None, None, model[1].weight, model[1].bias, True).relu()) for p in parts
    ]
    assert torch.allclose(model[4].running_mean, torch.stack([s.mean((0, 2, 3)) for s in seconds]).mean(0), atol=1e-5)
    assert torch.allclose(model[4].running_var, torch.stack([s.var((0, 2, 3)) for s in seconds]).mean(0), atol=1e-4)
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())
    assert not any(module.training for module in model.modules())
    assert model[1].momentum == 0.1


def test_reestimation_takes_a_random_choice_that_the_seed_fixes():
    x = torch.arange(100.0)[:, None]
    data = data_of(x, torch.zeros(100, dtype=torch.int64))
    means = []
    for seed in (0, 0, 1):
        model = nn.BatchNorm1d(1)
        reestimate_batchnorm(model, data, samples=20, batch_size=10, seed=seed)
        means.append(model.running_mean.item())
        assert model.num_batches_tracked == 2
    assert means[0] == means[1] != means[2]
