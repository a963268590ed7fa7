"""Lhotse cuts, crops, augmentation and teacher-target reading."""

#: samples per second of all audio inside svtk
SAMPLE_RATE = 16_000
#: samples per frame of 20 ms
FRAME = 320
#: seconds by which a segment may end after its recording
END_TOLERANCE = 0.01
