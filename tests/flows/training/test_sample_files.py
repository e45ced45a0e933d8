"""Samples and training states on disk."""

import numpy as np
import pytest
import torch

from flows.training.checkpoints import StateFile
from flows.training.sample_files import open_samples, write_samples


def test_writing_resumes_after_an_interruption(tmp_path):
    codes = torch.arange(5.0)[:, None, None].expand(5, 16, 512)
    generated = []

    def generate_until(end):
        def generate(remaining):
            for code in remaining:
                value = int(code[0, 0])
                if value == end:
                    raise KeyboardInterrupt
                generated.append(value)
                yield np.full((8, 8, 3), value, np.uint8)

        return generate

    with pytest.raises(KeyboardInterrupt):
        write_samples(tmp_path, codes, 8, generate_until(3))
    assert len(open_samples(tmp_path)) == 3
    write_samples(tmp_path, codes, 8, generate_until(None))
    assert generated == [0, 1, 2, 3, 4]
    samples = open_samples(tmp_path)
    assert [int(samples.image(row, 4)[0, 0, 0]) for row in range(5)] == [0, 1, 2, 3, 4]
    torch.testing.assert_close(samples.images(torch.tensor([4]), 2), torch.full((1, 3, 2, 2), 4 / 127.5 - 1))


def test_the_last_state_is_loaded(tmp_path):
    saved = StateFile(tmp_path / "state.pt")
    assert saved.load() is None
    for step in (1, 2):
        saved.save({"network": {"weight": torch.full((2,), float(step))}, "step": step})
    state = saved.load()
    assert state is not None
    assert state["step"] == 2
    assert torch.equal(state["network"]["weight"], torch.tensor([2.0, 2.0]))
    assert [path.name for path in tmp_path.iterdir()] == ["state.pt"]
