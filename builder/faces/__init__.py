"""Drawn faces: their factors, and how they are painted."""
