"""Curation: which images of a generator without grades are realistic and clearly of a grade."""
