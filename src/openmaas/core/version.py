"""The version of openmaas, in one place."""

VERSION = "0.1.0"
