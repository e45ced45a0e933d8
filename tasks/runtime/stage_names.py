"""Names of the stages, in the order of an edit; readable without PyTorch."""

STAGES = (
    "decode", "detect", "align", "occlude", "invert", "tune",
    "edit", "stitch", "composite", "encode", "measure", "report",
)  # fmt: skip
ON_DEVICE = frozenset({"invert", "tune", "stitch"})  # compute on the device most of the time, so runs take turns there
