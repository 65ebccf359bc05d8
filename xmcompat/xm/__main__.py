"""``python -m xmcompat.xm``."""

from xmcompat.xm.main import run

run()
