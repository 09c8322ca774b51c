"""Manifests of the predecessor: how they are recognised, and what its loader ignored or meant.

The predecessor is the runtime that this one replaces (MozaiksAI). Its loader ignored unknown keys and
skipped what it could not use. Such manifests are read leniently: what its loader ignored or skipped is a
warning here, and what it meant is read so. In all other manifests the same is an error.
"""
