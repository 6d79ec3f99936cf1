"""Generative augmentation: what is drawn for an image, where the new image comes from, and the transforms' forms."""
