"""Engines that connect nodes: each implements `wsecho.hub.engine.IEngine` upon something that others run."""
