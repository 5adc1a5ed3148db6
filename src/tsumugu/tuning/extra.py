"""Whether the packages of the extra `tune` are installed: asked before the first stage does any work."""

from importlib.util import find_spec

from tsumugu.errors import TsumuguError

_PACKAGES = ("trl", "peft", "accelerate", "datasets")


def check_extra() -> None:
    """See that TRL and PEFT are there.

    Raises:
        TsumuguError: they are not.
    """
    missing = [name for name in _PACKAGES if find_spec(name) is None]
    if missing:
        raise TsumuguError(
            f"the recipe's section tune needs what is not installed here: {', '.join(missing)}. "
            f"Run pip install 'tsumugu[tune]', or leave the section out (tune=null)"
        )
