"""``python -m xmcompat.tour``: what ./tour runs when everything is installed."""

import sys

try:
    from xmcompat.tour.program import main

    status = main(sys.argv[1:])
except KeyboardInterrupt:  # before there was anything to remove
    status = 130
sys.exit(status)
