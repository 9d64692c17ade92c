"""The version of openglm, in one place; it is released with openmaas, and a test holds the two equal."""

VERSION = "0.1.0"
