"""Masks of photographs as files: by a segmenter, or from the activation maps of a classifier."""
