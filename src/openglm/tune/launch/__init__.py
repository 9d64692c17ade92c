"""Tuning by a trainer of somebody else's: ms-swift, LLaMA-Factory; read ``run.py`` first."""
