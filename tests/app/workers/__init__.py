"""Tests of `wsecho.app.workers`."""
