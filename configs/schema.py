"""All options of a run: one field per group, each defined beside the code that uses it."""

from dataclasses import dataclass, field

from stitchedit.options.align import AlignOptions
from stitchedit.options.composite import CompositeOptions
from stitchedit.options.detect import DetectOptions
from stitchedit.options.edit import EditOptions
from stitchedit.options.invert import InvertOptions
from stitchedit.options.masks import MaskOptions
from stitchedit.options.measure import MeasureOptions
from stitchedit.options.occlude import OcclusionOptions
from stitchedit.options.shots import ShotOptions
from stitchedit.options.stitch import StitchOptions
from stitchedit.options.tune import TuneOptions
from storage.video.decode_options import DecodeOptions
from storage.video.writer import EncodeOptions


@dataclass(frozen=True)
class RunConfig:
    decode: DecodeOptions = field(default_factory=DecodeOptions)
    shots: ShotOptions = field(default_factory=ShotOptions)
    detect: DetectOptions = field(default_factory=DetectOptions)
    align: AlignOptions = field(default_factory=AlignOptions)
    occlude: OcclusionOptions = field(default_factory=OcclusionOptions)
    invert: InvertOptions = field(default_factory=InvertOptions)
    tune: TuneOptions = field(default_factory=TuneOptions)
    edit: EditOptions = field(default_factory=EditOptions)
    masks: MaskOptions = field(default_factory=MaskOptions)
    stitch: StitchOptions = field(default_factory=StitchOptions)
    composite: CompositeOptions = field(default_factory=CompositeOptions)
    encode: EncodeOptions = field(default_factory=EncodeOptions)
    measure: MeasureOptions = field(default_factory=MeasureOptions)
