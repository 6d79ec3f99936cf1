"""Edits judged: directions, inversions of photographs, strength against label, and phantoms with a known truth."""
