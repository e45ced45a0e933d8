"""Codes that samples are generated from, and the folder they are kept in."""

import numpy as np
import pytest
import torch

from stitchedit.train.samples import SampleOptions, Samples, sample_codes, write_samples
from tasks.runtime import networks


def draw(**options):
    return sample_codes(networks.generator("cpu"), SampleOptions(**options))


def test_more_samples_leave_the_first_ones_as_they_were():
    assert torch.equal(draw(count=9)[:4], draw(count=4))


def test_another_seed_gives_other_faces():
    assert not torch.allclose(draw(count=2, seed=5)[0], draw(count=2, seed=6)[0])


def test_without_mixing_every_row_is_the_same_w():
    codes = draw(count=5, mixed=0.0)
    assert torch.equal(codes, codes[:, :1].expand_as(codes))


def test_mixed_codes_differ_between_rows():
    codes = draw(count=5, mixed=1.0)
    assert ((codes - codes[:, :1]).abs().amax(dim=(1, 2)) > 0).all()


def test_truncation_pulls_towards_the_mean():
    mean = networks.generator("cpu").w_mean
    far, near = (draw(count=3, mixed=0.0, truncation=(psi,))[:, 0] - mean for psi in (1.0, 0.5))
    torch.testing.assert_close(near, far / 2, atol=1e-5, rtol=1e-5)


def test_writing_goes_on_where_it_was_cut_off(tmp_path):
    codes = torch.arange(5.0)[:, None, None].expand(5, 16, 512)
    asked = []

    def draw_until(end):
        def draw_all(left):
            for code in left:
                value = int(code[0, 0])
                if value == end:
                    raise KeyboardInterrupt
                asked.append(value)
                yield np.full((8, 8, 3), value, np.uint8)

        return draw_all

    with pytest.raises(KeyboardInterrupt):
        write_samples(tmp_path, codes, 8, draw_until(3))
    assert len(Samples(tmp_path)) == 3
    write_samples(tmp_path, codes, 8, draw_until(None))
    assert asked == [0, 1, 2, 3, 4]
    samples = Samples(tmp_path)
    assert [int(samples.image(row, 4)[0, 0, 0]) for row in range(5)] == [0, 1, 2, 3, 4]
    torch.testing.assert_close(samples.images(torch.tensor([4]), 2), torch.full((1, 3, 2, 2), 4 / 127.5 - 1))
