"""Evaluation: label maps read and compared case by case, and the summary of a folder."""
