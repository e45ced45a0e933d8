"""`stitchedit train` from the command line, with a few steps."""

import json
import re

import pytest
import torch
from typer.testing import CliRunner

from flows.cli.train import app
from stitchedit.errors import InputError, UnknownNameError
from stitchedit.nets.encoder import load_encoder
from storage.weights.state_dict import load_tensors, read_metadata
from tasks.runtime import networks

ENCODER = ["encoder.steps=2", "encoder.batch=2", "encoder.generated=1", "encoder.held_out=2"]
ENCODER += ["encoder.start_samples=6", "samples.count=8", "drawn_size=256", "processes=1"]
HEADS = ["heads.steps=2", "heads.batch=1", "heads.held_out=1", "heads.start_samples=2", "samples.count=4"]
HEADS += ["processes=1"]


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return re.sub(r"\s+", " ", result.output)


def test_an_encoder_is_trained_saved_in_float16_and_trained_further(tmp_path):
    first, again = tmp_path / "first.safetensors", tmp_path / "again.safetensors"
    output = run("encoder", first, *ENCODER, "--work", tmp_path / "work", "--device", "cpu")
    assert "held out" in output
    assert (tmp_path / "work" / "encoder.png").exists()
    tensors = load_tensors(first)
    assert {str(value.dtype) for value in tensors.values()} == {"float16"}
    facts = json.loads(read_metadata(first)["facts"])
    assert facts["plan"]["encoder"]["steps"] == 2
    assert facts["held_out"]["lpips"] > 0

    (tmp_path / "work" / "encoder.pt").unlink()
    run("encoder", again, *ENCODER, "--work", tmp_path / "work", "--device", "cpu", "--from", first)
    trained = load_encoder({name: torch.from_numpy(value) for name, value in load_tensors(again).items()})
    initial = load_encoder({name: torch.from_numpy(value) for name, value in tensors.items()})
    difference = (trained.base.weight - initial.base.weight).norm() / initial.base.weight.norm()
    assert 0 < difference < 0.1  # it started from these weights


def test_a_finished_training_is_not_repeated(tmp_path):
    for name in ("first", "second"):
        run("encoder", tmp_path / name, *ENCODER, "--work", tmp_path / "work", "--device", "cpu")
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


def test_heads_are_trained(tmp_path):
    path = tmp_path / "heads.safetensors"
    output = run("heads", path, *HEADS, "--work", tmp_path / "work", "--device", "cpu")
    assert "PSNR" in output
    shipped = {name: value.shape for name, value in networks.generator("cpu").heads.state_dict().items()}
    assert {name: value.shape for name, value in load_tensors(path).items() if "1024" not in name} == {
        name: shape for name, shape in shipped.items() if "1024" not in name
    }


@pytest.mark.parametrize(
    ("option", "error", "message"),
    [
        ("encoder.stpes=3", InputError, "stpes"),
        ("encoder.steps=many", InputError, "many"),
        ("encoder.batch=0", InputError, "batch"),
        ("smaples.count=3", UnknownNameError, "smaples"),
    ],
)
def test_an_invalid_option_is_reported(tmp_path, option, error, message):
    with pytest.raises(error, match=message):
        run("encoder", tmp_path / "no.safetensors", option, "--work", tmp_path)
