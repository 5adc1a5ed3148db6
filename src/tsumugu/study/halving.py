"""Which trials are behind: asynchronous successive halving, by Optuna."""

from collections.abc import Sequence
from typing import Any

from tsumugu.errors import TsumuguError
from tsumugu.study.config import StudyConfig
from tsumugu.study.outcomes import Curve, curve_of
from tsumugu.study.trials import Trial


class Halving:
    """Optuna's pruner, told of curves as they grow.

    A step of its scale is a measurement of the held-out loss. Trials of earlier processes are told first, so
    that a study that goes on after a stop knows them.
    """

    def __init__(self, study: StudyConfig, trials: Sequence[Trial]) -> None:
        """
        Raises:
            TsumuguError: Optuna is not installed.
        """
        try:
            import optuna
        except ImportError as error:
            raise TsumuguError(
                f'search: halving needs Optuna ({error}): pip install "tsumugu[study]", or search: grid'
            ) from error
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        measurements = min(_measurements(trial) for trial in trials)
        self._study: Any = optuna.create_study(
            direction="minimize",
            sampler=optuna.samplers.RandomSampler(seed=0),
            pruner=optuna.pruners.SuccessiveHalvingPruner(
                min_resource=max(1, round(measurements * study.halving.first_share)),
                reduction_factor=study.halving.factor,
            ),
        )
        self._trials: dict[str, Any] = {}
        self._told: dict[str, int] = {}
        self._behind: set[str] = set()
        for trial in trials:
            self.should_stop(trial, curve_of(trial))

    def should_stop(self, trial: Trial, curve: Curve) -> bool:
        """Whether `trial` is behind the others that have got as far."""
        if not curve.bits_per_byte:
            return False
        key = str(trial.folder)
        if key not in self._trials:
            self._trials[key] = self._study.ask()
        asked = self._trials[key]
        for step in range(self._told.get(key, 0), len(curve.bits_per_byte)):
            asked.report(curve.bits_per_byte[step], step + 1)
            # The pruner looks at the last report alone, so it is asked at each.
            if asked.should_prune():
                # The pruner forgets; who was behind once stays so.
                self._behind.add(key)
        self._told[key] = len(curve.bits_per_byte)
        return key in self._behind and len(curve.bits_per_byte) < _measurements(trial)


def _measurements(trial: Trial) -> int:
    config = trial.recipe.pretrain
    return -(-config.steps // config.validation_every)
