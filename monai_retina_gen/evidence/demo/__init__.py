"""The demo: what the shipped generators make, on one page; and the whole path from photographs to a report."""
