"""Everything a run can be told. One field per group of options, each typed where it is used."""

from dataclasses import dataclass, field

from stitchedit.align import AlignOptions
from stitchedit.composite import CompositeOptions
from stitchedit.edit import EditOptions
from stitchedit.invert import InvertOptions
from stitchedit.landmarks import LandmarkOptions
from stitchedit.masks import MaskOptions
from stitchedit.occlusion import OcclusionOptions
from stitchedit.quality import MeasureOptions
from stitchedit.shots import ShotOptions
from stitchedit.stitch import StitchOptions
from stitchedit.tracks import TrackOptions
from stitchedit.tune import TuneOptions
from storage.video_index import DecodeOptions
from storage.video_writer import EncodeOptions


@dataclass(frozen=True)
class RunConfig:
    decode: DecodeOptions = field(default_factory=DecodeOptions)
    shots: ShotOptions = field(default_factory=ShotOptions)
    landmarks: LandmarkOptions = field(default_factory=LandmarkOptions)
    tracks: TrackOptions = field(default_factory=TrackOptions)
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
