"""Deaths of a process where a test wants them.

As a program it is the `tsumugu` command as a worker of torchrun. The first argument is JSON: what
happens, by attempt and rank, such as {"0/1": ["kill in step", 7]}; the others are the command's.
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any


def prepare(what: str, number: int) -> None:
    """Let this process do `what` in its step, or in its save, number `number` (from 1)."""
    from tsumugu.training import checkpoint
    from tsumugu.training import step as steps
    from tsumugu.training.checkpoint_files import ShardWriter

    # The step is computed then, and the processes have not met.
    in_step = (steps, "squared_norm", number)
    if what == "kill in step":
        _before(*in_step, _kill)
    elif what == "error in step":
        _before(*in_step, _fail)
    elif what == "SIGTERM in step":
        _before(*in_step, lambda *arguments: os.kill(os.getpid(), signal.SIGTERM))
    elif what == "SIGTERM torchrun in step":
        _before(*in_step, lambda *arguments: os.kill(os.getppid(), signal.SIGTERM))
    elif what == "kill while writing":
        _before(ShardWriter, "write_data", number, _write_half_and_die)
    elif what == "kill when all have written":
        _before(ShardWriter, "finish", number, _kill)
    elif what == "kill before the name is given":
        _before(checkpoint, "_put_in_place", number, _kill)
    elif what == "kill before the old ones go":
        # Called when a run begins, too.
        _before(checkpoint, "flush_folder", number, _kill)
    else:
        raise ValueError(what)


def _before(owner: ModuleType | type, name: str, number: int, act: Callable[..., Any]) -> None:
    """Do it before the call number `number` of something."""
    original, calls = getattr(owner, name), 0

    def counted(*arguments: Any, **more: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == number:
            act(*arguments, **more)
        return original(*arguments, **more)

    setattr(owner, name, counted)


def _kill(*arguments: Any, **more: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _fail(*arguments: Any) -> None:
    raise OSError(5, "Input/output error", "/somewhere/tokens.npy")


def _write_half_and_die(writer: Any, plan: Any, planner: Any) -> None:
    folder = writer._folder
    folder.mkdir(exist_ok=True)
    (folder / f"shard-{plan.storage_data:05d}.safetensors").write_bytes(b"half of a share")
    _kill()


if __name__ == "__main__":
    attempt, rank = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"), os.environ.get("RANK", "0")
    wanted = json.loads(sys.argv[1]).get(f"{attempt}/{rank}")
    if wanted:
        prepare(*wanted)
    from tsumugu.cli import main

    raise SystemExit(main(sys.argv[2:]))
