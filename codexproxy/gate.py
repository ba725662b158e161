"""placeholder"""
from __future__ import annotations
def admits(request): return True
