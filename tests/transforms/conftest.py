"""Fixtures of this folder."""

from miniatures import grader_bundle, in_two_processes, phantom_list, tiny_segmenter

__all__ = ["grader_bundle", "in_two_processes", "phantom_list", "tiny_segmenter"]
