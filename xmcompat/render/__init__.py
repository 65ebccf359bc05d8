"""Typed results to text, byte for byte as xm prints it. Pure."""
