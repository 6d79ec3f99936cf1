"""Graders as judges: cross-fitting, the search for settings of a training, and the limits of the label gate."""
