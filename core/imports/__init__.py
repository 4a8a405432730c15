"""Imports: files of other programs become tasks, row by row, and what was wrong with which row is told."""
