"""``python -m xmcompat.tool`` is the xmcompat program."""

from xmcompat.tool.program import run

if __name__ == "__main__":
    run()
