"""Lhotse cuts, crops, augmentation and teacher-target reading."""
