"""Options for an edit of a few frames within seconds, at low quality."""

TINY = [
    "align.size=256",
    "detect.backend=dlib",
    "invert.refine_steps=4",
    "invert.color_steps=2",
    "invert.refine_passes=1",
    "invert.segment=4",
    "tune.passes=2",
    "tune.batch=2",
    "tune.locality_weight=0",
    "tune.checkpoint_every=2",
    "stitch.steps=2",
    "stitch.settle_steps=1",
    "stitch.learning_rate=3e-5",
    "stitch.stop_below=0",
    "stitch.chunk=2",
    "encode.preset=veryfast",
]
