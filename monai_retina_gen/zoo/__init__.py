"""Packing, index and verification of bundles: for now the schema that bundle metadata is checked with."""
