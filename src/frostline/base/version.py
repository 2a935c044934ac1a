"""The package's version, in a place that every layer may read."""

VERSION = "0.1.0"
