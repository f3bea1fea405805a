"""Is it torchvision's VGG-16, and do narrower ones keep its build?"""

import pytest
import torch
import torchvision

from sparsity import config
from sparsity.models.vgg import vgg16

NARROW = {"layers": [4, "M", 8, "M"], "classifier_width": 16, "num_classes": 3}


def test_vgg16_has_the_papers_138357544_parameters() -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in vgg16().parameters()) == 138_357_544


def test_the_configured_vgg16_is_the_default_one() -> None:
    node = config.compose(["experiment=lenet5_mnist", "scale=smoke", "model=vgg16"]).model
    with torch.device("meta"):
        configured = vgg16(**{key: value for key, value in node.items() if key != "_target_"})
        assert str(configured) == str(vgg16())


def test_parameters_have_torchvisions_names_and_shapes() -> None:
    with torch.device("meta"):
        ours, theirs = vgg16().state_dict(), torchvision.models.vgg16().state_dict()
    assert {name: value.shape for name, value in ours.items()} == {name: value.shape for name, value in theirs.items()}


@pytest.mark.slow
def test_weights_and_scores_are_torchvisions_at_the_same_seed() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        ours = vgg16().eval()
        torch.manual_seed(0)
        theirs = torchvision.models.vgg16().eval()
    images = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.equal(ours(images), theirs(images))


def test_a_narrow_one_scores_images_of_seven_pixels_doubled_by_each_pooling() -> None:
    assert vgg16(**NARROW)(torch.zeros(2, 3, 28, 28)).shape == (2, 3)


def test_dropout_is_off_unless_it_is_asked_for() -> None:
    def probabilities(model: torch.nn.Module) -> list[float]:
        return [module.p for module in model.modules() if isinstance(module, torch.nn.Dropout)]

    assert probabilities(vgg16(**NARROW)) == [0.0, 0.0]
    assert probabilities(vgg16(**NARROW, dropout=0.5)) == [0.5, 0.5]


def test_initial_weights_are_spread_as_torchvisions_and_biases_are_zero() -> None:
    model = vgg16(layers=[64, "M", 32, "M"], classifier_width=64)
    assert float(model.features[3].weight.detach().std()) == pytest.approx((2 / (32 * 9)) ** 0.5, rel=0.05)
    assert float(model.classifier[0].weight.detach().std()) == pytest.approx(0.01, rel=0.05)
    assert all(not p.any() for name, p in model.named_parameters() if name.endswith("bias"))
