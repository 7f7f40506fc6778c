"""Label maps: uint8 [H, W]; 0 is background, 1 to 254 are categories."""

#: The label value of a pixel of which nobody knows, or says, what it is.
UNKNOWN = 255
