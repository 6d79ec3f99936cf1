"""`model`: what those who train or adapt generators, graders and the label gate need."""
