#!/usr/bin/env python3
"""Answers of `tandem serve` against the packages jsonschema and prometheus_client: tests/serve/serve.sh with a client that
asks both of them, too. Without them it says so.

    TANDEM=build/tandem MAKE_SHAPES=build/tests/eval/make_shapes python3 tests/reference/serve.py
"""
import os
import pathlib
import sys

try:
    import jsonschema  # noqa: F401 pylint: disable=unused-import
    import prometheus_client  # noqa: F401 pylint: disable=unused-import
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)  # tells ctest

script = pathlib.Path(__file__).resolve().parents[1] / "serve" / "serve.sh"
os.execve(script, [str(script)], {**os.environ, "CLIENT_PYTHON": sys.executable})
