import pytest
import torch

from stitchedit.errors import WeightsError
from stitchedit.nets.occlusion import OcclusionNet, load_occlusion_net, visible_logits
from tasks.runtime import networks


def test_it_reads_crops_of_any_working_size():
    network = networks.occlusion_net("cpu")
    for size in (128, 256, 512):
        assert network(torch.rand(1, 3, size, size) * 2 - 1).shape == (1, 1, 64, 64)


def test_a_crop_and_its_mirror_image_are_taken_for_the_same():
    crops = torch.rand(1, 3, 256, 256) * 2 - 1
    found, mirrored = (visible_logits(networks.occlusion_net("cpu"), images) for images in (crops, crops.flip(3)))
    torch.testing.assert_close(found.flip(3), mirrored, atol=1e-4, rtol=1e-4)


def test_other_weights_are_refused():
    with pytest.raises(WeightsError, match="not the weights of an occlusion network"):
        load_occlusion_net({"conv1.weight": OcclusionNet().conv1.weight})
