"""Photographs in the style space of a StyleGAN3: inversion, contribution scores, lesion directions, edits."""
