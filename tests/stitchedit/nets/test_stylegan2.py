"""The generator at toy size against formulas written out here, and pickles made as NVIDIA makes them."""

import io
import os
import pickle
import re
import sys
from collections import OrderedDict
from copy import deepcopy
from types import ModuleType

import numpy as np
import pytest
import torch
from scipy.signal import convolve2d, correlate2d, upfirdn

from stitchedit.errors import UnknownNameError, WeightsError
from stitchedit.nets import stylegan2
from stitchedit.nets.nvidia_pickle import ALLOWED, read_stylegan2
from stitchedit.nets.stylegan2 import Noise, StyledConv, StyleGAN2, StyleGAN2Shape

SHAPE = StyleGAN2Shape(z_channels=12, w_channels=10, mapping_layers=3, channels=(8, 6, 5))
TAPS = np.array([1, 3, 3, 1])


@pytest.fixture
def generator():
    """Every weight random, none at its starting value."""
    return random_generator(SHAPE)


def random_generator(shape, noise=Noise.CONSTANT):
    torch.manual_seed(0)
    generator = StyleGAN2(shape, noise).requires_grad_(False)
    for value in (*generator.parameters(), *generator.buffers()):
        value.add_(torch.randn_like(value), alpha=0.3)
    return generator


def codes_of(generator, frames=2):
    return generator.codes(torch.randn(frames, SHAPE.z_channels, generator=torch.Generator().manual_seed(1)))


def modulated_weight(conv, style):
    """One frame's own convolution, in float64: modulate, then every output channel to unit norm."""
    weight = conv.weight.double().numpy() * style[None, :, None, None]
    return weight / np.sqrt((weight**2).sum(axis=(1, 2, 3), keepdims=True) + 1e-8)


def activated(conv, features):
    features = features + conv.noise_image.numpy() * conv.noise_strength.item() + conv.bias.numpy()[:, None, None]
    return np.where(features > 0, features, 0.2 * features) * np.sqrt(2)


def convolved(features, weight):
    return [sum(correlate2d(f, w, mode="same") for f, w in zip(features, row, strict=True)) for row in weight]


def convolved_to_twice_the_size(features, weight):
    """Zeros between the samples, full convolution, low-pass filter."""
    sparse = np.zeros((len(features), 2 * features.shape[1] - 1, 2 * features.shape[2] - 1))
    sparse[:, ::2, ::2] = features
    low_pass = np.outer(TAPS, TAPS) / 16
    maps = [sum(convolve2d(f, w) for f, w in zip(sparse, row, strict=True)) for row in weight]
    return [convolve2d(each, low_pass)[2:-2, 2:-2] for each in maps]


@pytest.mark.parametrize(
    ("convolve", "formula", "size"),
    [(stylegan2.convolve_same, convolved, 7), (stylegan2.convolve_doubled, convolved_to_twice_the_size, 14)],
)
def test_styled_convolution_is_each_frames_own_normalised_convolution(convolve, formula, size):
    torch.manual_seed(0)
    conv = StyledConv(4, 3, size, SHAPE).requires_grad_(False)
    conv.convolve = convolve
    conv.bias += torch.randn(3)
    conv.noise_strength += 0.7
    features, style = torch.randn(2, 4, 7, 7), torch.randn(2, 4)
    for frame, ours in enumerate(conv(features, style)):
        weight = modulated_weight(conv, style[frame].double().numpy())
        direct = activated(conv, np.stack(formula(features[frame].double().numpy(), weight)))
        np.testing.assert_allclose(ours.numpy(), direct, atol=1e-5)


def test_image_is_doubled_by_the_low_pass_filter():
    image = torch.randn(1, 3, 5, 5)
    rows = upfirdn(TAPS / 4, image.numpy(), up=2, axis=2)[:, :, 1:-1]
    both = upfirdn(TAPS / 4, rows, up=2, axis=3)[:, :, :, 1:-1]
    np.testing.assert_allclose(stylegan2.double_size(image).numpy(), both, atol=1e-6)


def test_image_is_the_sum_of_the_images_of_every_size():
    torch.manual_seed(0)
    block = stylegan2.SynthesisBlock(4, 5, 8, SHAPE).requires_grad_(False)
    block.image.bias += torch.randn(3)
    features, image, styles = torch.randn(2, 4, 4, 4), torch.randn(2, 3, 4, 4), torch.randn(3, 2, 5)
    inner, result = block(features, image, [styles[0, :, :4], *styles[1:]])
    weight = block.image.weight[:, :, 0, 0] / 5**0.5
    generated = torch.einsum("oc,fc,fchw->fohw", weight, styles[2], inner) + block.image.bias[:, None, None]
    torch.testing.assert_close(result, stylegan2.double_size(image) + generated)


def test_sizes_and_rows_follow_from_the_channels(generator):
    assert (generator.sizes, generator.layers, generator.channels) == ((16,), 6, 10)
    assert generator.coarse_layers(16) == 6
    assert codes_of(generator).shape == (2, 6, 10)
    assert generator(codes_of(generator), 16).shape == (2, 3, 16, 16)


def test_a_size_it_cannot_draw_is_refused(generator):
    with pytest.raises(UnknownNameError, match=r"size '32'. There are: 16"):
        generator(codes_of(generator), 32)


def test_a_code_always_gives_the_same_image(generator):
    codes = codes_of(generator)
    image = generator(codes, 16)
    assert torch.equal(deepcopy(generator).train()(codes, 16), image)
    torch.testing.assert_close(generator(codes[1:], 16), image[1:])


def test_no_noise_is_noise_of_no_strength(generator):
    silent = random_generator(SHAPE, Noise.NONE)
    codes = codes_of(generator)
    assert not torch.allclose(silent(codes, 16), generator(codes, 16))
    for module in generator.modules():
        if isinstance(module, StyledConv):
            module.noise_strength.zero_()
    assert torch.equal(silent(codes, 16), generator(codes, 16))


def test_clamp_limits_every_layer_and_not_their_sum():
    generator = random_generator(StyleGAN2Shape(12, 10, 3, (8, 6, 5), clamp=0.05))
    largest = []
    for module in generator.modules():
        if isinstance(module, StyledConv | stylegan2.ImageLayer):
            module.register_forward_hook(lambda module, inputs, output: largest.append(output.abs().max().item()))
    image = generator(codes_of(generator), 16)
    assert largest == pytest.approx([0.05] * 8)
    assert image.abs().max() > 0.05


def test_truncation_moves_the_first_rows_towards_the_mean(generator):
    z = torch.randn(2, 12)
    codes, half = generator.codes(z), generator.codes(z, truncation=0.5, cutoff=4)
    torch.testing.assert_close(half[:, :4], (codes[:, :4] + generator.w_mean) / 2)
    assert torch.equal(half[:, 4:], codes[:, 4:])
    assert torch.equal(generator.codes(z, truncation=0.0), generator.w_mean.expand(2, 6, 10))


def test_mapping_learns_at_a_hundredth_of_the_rate(generator):
    z = torch.randn(2, 12)
    w = z / z.square().mean(dim=1, keepdim=True).sqrt()
    for layer in generator.mapping.layers:
        w = w @ (0.01 * layer.weight.T / w.shape[1] ** 0.5) + 0.01 * layer.bias
        w = torch.where(w > 0, w, 0.2 * w) * 2**0.5
    torch.testing.assert_close(generator.mapping(z), w)


def test_a_image_layer_shares_its_row_with_the_next_convolution(generator):
    codes = codes_of(generator)
    for row, changed in [(0, [0]), (1, [1, 2]), (2, [3]), (3, [4, 5]), (4, [6]), (5, [7])]:
        other = codes.clone()
        other[:, row] += 1
        pairs = zip(generator.styles(codes), generator.styles(other), strict=True)
        assert [index for index, (before, after) in enumerate(pairs) if not torch.equal(before, after)] == changed


def test_synthesis_parameters_are_those_a_image_depends_on(generator):
    generator.requires_grad_(True)
    generator(codes_of(generator).detach(), 16).square().sum().backward()
    reached = {name for name, parameter in generator.named_parameters() if parameter.grad is not None}
    assert {name for name, _ in generator.synthesis_parameters(16)} == reached
    assert not any(name.startswith("mapping.") for name in reached)


# Pickles


class Run:
    """What a malicious pickle holds: a call of `function`."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.fixture
def nvidia(monkeypatch):
    """The two modules whose names the pickles have."""
    persistence, util = ModuleType("torch_utils.persistence"), ModuleType("dnnlib.util")

    def _reconstruct_persistent_obj(meta):
        raise AssertionError("only its name is to be read")

    _reconstruct_persistent_obj.__module__ = persistence.__name__
    _reconstruct_persistent_obj.__qualname__ = "_reconstruct_persistent_obj"
    persistence._reconstruct_persistent_obj = _reconstruct_persistent_obj
    util.EasyDict = type("EasyDict", (dict,), {"__module__": util.__name__})
    for module in (ModuleType("torch_utils"), ModuleType("dnnlib"), persistence, util):
        monkeypatch.setitem(sys.modules, module.__name__, module)

    def persistent(class_name, state):
        source = "raise SystemExit('module_src was executed')"
        meta = util.EasyDict(type="class", version=6, module_src=source, class_name=class_name, state=state)
        return Run(_reconstruct_persistent_obj, meta)

    return persistent


def published_name(name):
    size = re.match(r"blocks\.(\d+)\.", name)
    name = re.sub(r"^blocks\.\d+\.", f"synthesis.b{8 << int(size[1])}." if size else "", name)
    name = re.sub(r"^mapping\.layers\.", "mapping.fc", name)
    name = re.sub(r"^stem\.", "synthesis.b4.conv1.", name)
    name = re.sub(r"^stem_image\.", "synthesis.b4.torgb.", name)
    name = {"input": "synthesis.b4.const", "w_mean": "mapping.w_avg"}.get(name, name)
    return name.replace(".image.", ".torgb.").replace("noise_image", "noise_const")


def pickled(persistent, generator, **attributes):
    """`generator` as NVIDIA pickles it; `attributes` take the place of every module's own."""
    tree = {}
    for name, value in generator.state_dict().items():
        *path, leaf = published_name(name).split(".")
        node = tree
        for part in path:
            node = node.setdefault(part, {})
        node[leaf] = value

    def module(name, node):
        own = {"weight_gain": np.float64(0.1), "_forward_hooks": OrderedDict(), "_non_persistent_buffers_set": set()}
        if name.startswith(("conv", "torgb")):
            own |= {"conv_clamp": generator.shape.clamp, "activation": "lrelu"}
        if name.startswith("fc"):
            own |= {"bias_gain": 0.01, "activation": "lrelu"}
        tensors = {leaf: torch.nn.Parameter(value) for leaf, value in node.items() if isinstance(value, torch.Tensor)}
        modules = {child: module(child, inner) for child, inner in node.items() if isinstance(inner, dict)}
        filters = {"resample_filter": torch.from_numpy(np.outer(TAPS, TAPS) / 64).float()} if name == "conv0" else {}
        contents = {"_parameters": OrderedDict(tensors), "_buffers": filters, "_modules": OrderedDict(modules)}
        return persistent(name, own | attributes | contents)

    return module("", tree)


def written(path, value):
    path.write_bytes(pickle.dumps(value))
    return path


@pytest.mark.parametrize("clamp", [None, 0.5])
def test_pickle_gives_the_generator_that_was_averaged(nvidia, tmp_path, clamp):
    averaged = random_generator(StyleGAN2Shape(12, 10, 3, (8, 6, 5), clamp))
    networks = {"G": pickled(nvidia, StyleGAN2(SHAPE)), "G_ema": pickled(nvidia, averaged)}
    generator = read_stylegan2(written(tmp_path / "network.pkl", networks))
    assert generator.shape == averaged.shape
    assert torch.equal(generator(codes_of(averaged), 16), averaged(codes_of(averaged), 16))
    assert not any(parameter.requires_grad for parameter in generator.parameters())


def test_strided_tensors_are_copied_to_contiguous_ones(nvidia, tmp_path, generator):
    tied = torch.randn(200)
    generator.input = torch.nn.Parameter(tied.as_strided((8, 4, 4), (13, 7, 3), storage_offset=5), requires_grad=False)
    read = read_stylegan2(written(tmp_path / "network.pkl", {"G_ema": pickled(nvidia, generator)}))
    assert read.input.is_contiguous()
    assert torch.equal(read.input, generator.input)


def test_pickle_that_runs_code_is_refused_before_it_runs(tmp_path):
    victim = tmp_path / "victim"
    command = Run(os.system, f"touch {victim}")
    stream = io.BytesIO()
    torch.save(command, stream, _use_new_zipfile_serialization=False)
    for evil in (command, Run(torch.storage._load_from_bytes, stream.getvalue())):
        with pytest.raises(WeightsError, match=rf"{os.system.__module__}\.system"):
            read_stylegan2(written(tmp_path / "network.pkl", {"G_ema": evil}))
    assert not victim.exists()


@pytest.mark.parametrize("function", [eval, getattr, torch.load, pickle.loads])
def test_pickle_may_not_name_what_no_network_needs(tmp_path, function):
    with pytest.raises(WeightsError, match=rf"\.{function.__name__}\b.*no network needs"):
        read_stylegan2(written(tmp_path / "network.pkl", Run(function, "1")))


def test_pickle_cannot_change_what_it_is_allowed_to_name(tmp_path):
    name = "torch._utils._rebuild_tensor_v2"
    attributes = pickle.dumps((None, {"__defaults__": (1, 2, 3)}), protocol=0).removesuffix(pickle.STOP)
    named = pickle.GLOBAL + "\n".join([*name.rsplit(".", 1), ""]).encode()
    (tmp_path / "network.pkl").write_bytes(named + attributes + pickle.BUILD + pickle.STOP)
    with pytest.raises(WeightsError):
        read_stylegan2(tmp_path / "network.pkl")
    assert ALLOWED[name].__defaults__ is None


def test_tensor_beyond_the_end_of_its_storage_is_refused(tmp_path):
    storage = torch.zeros(4)._typed_storage()
    beyond = Run(torch._utils._rebuild_tensor_v2, storage, 0, (5,), (1,), False, OrderedDict())
    with pytest.raises(WeightsError, match="out of bounds"):
        read_stylegan2(written(tmp_path / "network.pkl", {"G_ema": beyond}))


def test_missing_and_damaged_files_are_named(nvidia, tmp_path, generator):
    with pytest.raises(WeightsError, match=r"no network file .*absent\.pkl"):
        read_stylegan2(tmp_path / "absent.pkl")
    path = written(tmp_path / "network.pkl", {"G_ema": pickled(nvidia, generator)})
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(WeightsError, match=r"network\.pkl cannot be read"):
        read_stylegan2(path)
    with pytest.raises(WeightsError, match="no network 'G_ema'"):
        read_stylegan2(written(path, {"G": pickled(nvidia, generator)}))


@pytest.mark.parametrize("attributes", [{"activation": "relu"}, {"bias_gain": 1.0}])
def test_network_of_another_kind_is_refused(nvidia, tmp_path, generator, attributes):
    path = written(tmp_path / "network.pkl", {"G_ema": pickled(nvidia, generator, **attributes)})
    with pytest.raises(WeightsError, match="not the StyleGAN2"):
        read_stylegan2(path)
