"""Measuring codecs and language models: data sets in their published layouts, systems, metrics, tables and pages."""
