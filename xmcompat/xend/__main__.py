"""``python -m xmcompat.xend``."""

from xmcompat.xend.main import run

run()
