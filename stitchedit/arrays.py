"""Array types shared by every stage. Axis names are the vocabulary of the project.

Points are (x, y) in source pixels; whole numbers are pixel centers, as face detectors report them.
Images are RGB in 8-bit levels, uint8 in [0, 255], and float32 RGB in [-1, 1] inside a network. Those of a source of
more than 8 bits are float32 levels, and on disk as `depth` packs them.
A `face` is one track in one frame: the row of every array from alignment to compositing.
"""

import numpy as np
from jaxtyping import Bool, Float, Shaped, UInt8

Frame = UInt8[np.ndarray, "height width rgb"]
Pixels = Shaped[np.ndarray, "height width *channel"]  # uint8 or float32, up to four channels
Landmarks = Float[np.ndarray, "face 68 xy"]
Boxes = Float[np.ndarray, "box ltrb"]  # left, top, right, bottom
Embeddings = Float[np.ndarray, "face 128"]  # of unit length
Quads = Float[np.ndarray, "face 4 xy"]  # corners: top-left, bottom-left, bottom-right, top-right
Crop = UInt8[np.ndarray, "size size rgb"]
Labels = UInt8[np.ndarray, "face 512 512"]  # face parsing classes 0..18
Alpha = Float[np.ndarray, "height width"]  # 0 = source, 1 = edited
Flags = Bool[np.ndarray, " face"]
