"""The xm program: one module a family of verbs; parse arguments, call the toolstack, render."""
