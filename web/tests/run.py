"""Runs the tests of the pages: all, or those whose names contain one of the words given."""

import sys

import harness
import test_access  # noqa: F401
import test_admin  # noqa: F401
import test_chat  # noqa: F401
import test_text  # noqa: F401

if __name__ == "__main__":
    sys.exit(harness.run(sys.argv[1:]))
