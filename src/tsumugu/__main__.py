"""`python -m tsumugu` is the `tsumugu` command."""

from tsumugu.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
