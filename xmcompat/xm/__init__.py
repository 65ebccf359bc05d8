"""The xm program: one module a family of verbs; parse arguments, call the toolstack, render."""

import sys

# The first module of the program: from here until ``main.run``, Ctrl-C ends it without Python's traceback. Only where it
# is the program; whoever imports it for something else keeps his own handler.
if sys.argv and (sys.argv[0] == "-m" or sys.argv[0].rpartition("/")[2] == "xm"):
    import _signal  # the module signal takes as long to load as all that xm does of its own

    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
